"""A delivery from its bytes to the end of its receivers, within one call."""

import logging
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db import connections, router
from django.http import HttpResponseBase
from django.test import Client, RequestFactory

from nateq_webhooks import dispatch, signals, views
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import api
from nateq_webhooks.errors import DeliveryRefusedError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.webhook import receiver_path
from nateq_webhooks.protocol.envelope import read
from nateq_webhooks.protocol.networks import read_network
from nateq_webhooks.runners.inline import InlineRunner
from nateq_webhooks.testing.events import Body, as_bytes, make_event, sign

logger: Final = logging.getLogger("nateq_webhooks")

_EVENT_NAME: Final = re.compile(r"[A-Za-z][\w.-]*")
"""A `str` of this form is the name of an event; JSON of this form is `true`, `false` or `null`."""


def deliver(
    event_or_body: Body,
    *,
    webhook: Webhook | None = None,
    through_http: bool = False,
    client: Client | None = None,
) -> Delivery:
    """Deliver an event as Nateq does, run its receivers before returning, and return the stored delivery.

    `event_or_body` is what `make_event` returns, the name of an event (`"ticket.created"`), or the exact body as bytes
    or text. It is signed with the secret of `webhook`; without one, the only active webhook is used, or one is created
    if there is none. The receivers run in this thread, whatever `DISPATCH` says; `ACK` is respected. Callbacks that
    they registered with `transaction.on_commit()` run, too, also in a `TestCase`, whose transaction is never committed.

    The request goes straight to the package's view. With `through_http` it is made by Django's test client, and goes
    through your URLs and your middleware, too; it does so with a `client` of yours, such as a tenant's.

    The delivery is read from the database: `status` tells how far it got, `delivery.runs` has a run for each receiver,
    with the traceback of one that raised. A run that may not start (a pause, a rate limit, an earlier delivery of the
    same order) stays as it is, and the status is "received". If the same event is delivered again, no receiver runs:
    the stored delivery is returned, and its `attempts_seen` is one higher.

    Raises `DeliveryRefusedError` if nothing was stored, `Webhook.MultipleObjectsReturned` if there are several active
    webhooks to choose from, `SecretError` if the webhook has no secret to sign with, `ValueError` for a name that no
    event has, and `RuntimeError` inside `transaction.atomic()`, where nothing can be committed.
    """
    is_name = isinstance(event_or_body, str) and _EVENT_NAME.fullmatch(event_or_body)
    body = as_bytes(make_event(str(event_or_body)) if is_name else event_or_body)
    webhook = _current(webhook) if webhook is not None else _only_webhook()
    identity = read(body, by_content=settings().identity == "content").identity
    rows = Delivery.objects.using(router.db_for_write(Delivery)).filter(webhook_id=webhook.pk, identity=identity)
    attempts_before = rows.values_list("attempts_seen", flat=True).first()

    runner = _RecordingInlineRunner()
    with _reasons_of(webhook) as reasons, api.use_runner(runner), _on_commit_callbacks():
        is_whole_request = through_http or client is not None
        response = _post(body, webhook, client or Client()) if is_whole_request else _call_view(body, webhook)
        if runner.error is not None:
            raise runner.error
    delivery = rows.first()
    if delivery is None or delivery.attempts_seen == attempts_before:
        raise _refusal(webhook, response, reasons)
    return delivery


class _RecordingInlineRunner(InlineRunner):
    """Runs the receivers within the request and keeps what went wrong, where `InlineRunner` logs it."""

    def __init__(self) -> None:
        self.error: Exception | None = None

    def wake(self, due: dispatch.Due) -> None:
        try:
            self.run(due)
        except Exception as error:  # noqa: BLE001 - raised by `deliver`
            self.error = error


def _current(webhook: Webhook) -> Webhook:
    """Read the webhook again: what is signed with is the secret that the database has."""
    return Webhook.objects.using(router.db_for_write(Webhook)).get(pk=webhook.pk)


def _only_webhook() -> Webhook:
    """Return the only active webhook; a new one if there is none."""
    alias = router.db_for_write(Webhook)
    active = list(Webhook.objects.using(alias).filter(is_active=True)[:2])
    if len(active) > 1:
        names = ", ".join(repr(webhook.name) for webhook in active)
        raise Webhook.MultipleObjectsReturned(
            f"Several webhooks are active ({names}, ...): pass webhook=... to deliver()."
        )
    return active[0] if active else Webhook.objects.using(alias).create(name=f"testing {uuid.uuid4().hex[:8]}")


def _headers(body: bytes, webhook: Webhook) -> dict[str, str]:
    return {webhook.signature_header or settings().signature_header: sign(body, webhook.secret)}


def _call_view(body: bytes, webhook: Webhook) -> HttpResponseBase:
    headers = _headers(body, webhook)
    request = RequestFactory(**_sender()).post("/", body, content_type="application/json", headers=headers, secure=True)
    response: HttpResponseBase = views.receive(request, webhook.pk)
    return response


def _post(body: bytes, webhook: Webhook, client: Client) -> HttpResponseBase:
    headers = _headers(body, webhook)
    path = receiver_path(webhook.pk)
    return client.post(path, body, content_type="application/json", headers=headers, secure=True, **_sender())


def _sender() -> dict[str, Any]:
    """Return where a delivery comes from if `ALLOWED_NETWORKS` is set: the first address that it allows."""
    networks = [network for entry in settings().allowed_networks if (network := read_network(entry))]
    return {"REMOTE_ADDR": str(networks[0].network_address)} if networks else {}


@contextmanager
def _reasons_of(webhook: Webhook) -> Iterator[list[str]]:
    """Collect why requests to the webhook are refused."""
    reasons: list[str] = []

    def note(*, webhook_id: uuid.UUID, reason: str, **kwargs: Any) -> None:  # noqa: ARG001 - a signal receiver
        if webhook_id == webhook.pk:
            reasons.append(reason)

    signals.delivery_rejected.connect(note, weak=False)
    try:
        yield reasons
    finally:
        signals.delivery_rejected.disconnect(note)


@contextmanager
def _on_commit_callbacks() -> Iterator[None]:
    """Run the callbacks of `transaction.on_commit` at the end; inside a `TestCase` Django never runs them.

    They are taken out of the list, so that `TestCase.captureOnCommitCallbacks` does not run them again.
    """
    before = {alias: len(connections[alias].run_on_commit) for alias in connections}
    yield
    for alias, count in before.items():
        pending = connections[alias].run_on_commit
        while len(pending) > count:
            entry: Any = pending.pop(count)
            _savepoints, callback, is_robust = entry
            try:
                callback()
            except Exception:
                if not is_robust:
                    raise
                logger.exception("A robust callback of transaction.on_commit() raised an exception.")


_HINTS: Final = {
    404: "The webhook is switched off, or the site's URLs lead elsewhere.",
    503: "The webhook is being registered, or the database can't be written: see the log of nateq_webhooks.",
}


def _refusal(webhook: Webhook, response: HttpResponseBase, reasons: list[str]) -> DeliveryRefusedError:
    status, reason = response.status_code, ", ".join(reasons)
    why = f" ({reason})" if reason else ""
    hint = f"It redirects to {response.headers['Location']}." if "Location" in response.headers else _HINTS.get(status)
    message = f'A delivery to webhook "{webhook.name}" was not stored: the answer is {status}{why}. {hint or ""}'
    return DeliveryRefusedError(message.rstrip(), status=status, reason=reason)
