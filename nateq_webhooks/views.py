"""The receiver view: one POST from Nateq, from its first byte to the answer.

Find the webhook, read the body, verify, store, wake, answer. No transaction is open around it, and no 2xx answer is
sent before the delivery has been committed. Requests that anybody can send without a secret are logged as warnings at
most: Django mails each error to `ADMINS`.
"""

import functools
import logging
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.urls import Resolver404, URLResolver, get_resolver
from django.utils.translation import get_language
from django.views.decorators.csrf import csrf_exempt

from nateq_webhooks import inbox
from nateq_webhooks.conf import settings, wrong_settings
from nateq_webhooks.database.transactions import outside_every_transaction
from nateq_webhooks.dispatch import api
from nateq_webhooks.errors import StoreError

logger: Final = logging.getLogger("nateq_webhooks")

RETRY_AFTER_SECONDS: Final = 30
"""Sent with a 503; the sender's own schedule may differ (Nateq: Retries)."""

_STATUS_OF: Final[Mapping[inbox.Reason, int]] = {
    inbox.Refusal.OTHER_ORGANIZATION: 403,
    inbox.Refusal.TOO_LARGE: 413,
    inbox.Refusal.NO_LENGTH: 411,
    inbox.Refusal.ADDRESS: 403,
    inbox.Refusal.STALE: 403,
    inbox.Refusal.FUTURE: 403,
    inbox.Refusal.NO_TIMESTAMP: 403,
}
"""Every other refusal is about the signature: 401 for every reason."""

_TEXT_OF: Final = {
    400: b'{"error": "not a JSON object"}',
    401: b'{"error": "signature missing or wrong"}',
    403: b'{"error": "another organization"}',
    404: b'{"error": "no such webhook"}',
    405: b'{"error": "POST only"}',
    411: b'{"error": "Content-Length needed"}',
    413: b'{"error": "body too large"}',
    503: b'{"error": "not stored, try again"}',
}

_TEXT_OF_REFUSAL: Final[Mapping[inbox.Reason, bytes]] = {
    inbox.Refusal.ADDRESS: b'{"error": "address not allowed"}',
    inbox.Refusal.STALE: b'{"error": "timestamp too old"}',
    inbox.Refusal.FUTURE: b'{"error": "timestamp in the future"}',
    inbox.Refusal.NO_TIMESTAMP: b'{"error": "no readable timestamp"}',
}
"""Refusals that share a status with another one."""

_MALFORMED: Final = b'{"error": "body malformed"}'

_ALREADY_STORED: Final = b'{"status": "already stored"}'
"""Also for a delivery that was stored and has been removed since."""

_NOT_PROCESSED: Final = b'{"error": "stored, but not processed yet, try again"}'


def _needs_settings(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Answer 503 while the settings are wrong, so that no delivery is lost: a server starts without Django's checks."""

    @functools.wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if wrong_settings():
            return try_again("the settings are wrong.")
        return view(request, *args, **kwargs)

    return checked


@csrf_exempt
@login_not_required
@outside_every_transaction
@_needs_settings
def receive(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    """Receive one delivery. See docs/reference/receiving.md for every answer and what it means."""
    if not inbox.is_address_allowed(request.META):
        return _refuse_address(request, webhook_id)
    if request.method != "POST":
        return _not_allowed(request, webhook_id)
    try:
        webhook = inbox.find(webhook_id)
        if webhook is None:
            inbox.refuse_unknown(webhook_id, meta=request.META)
            return _error(404)
        if webhook.is_pending:
            return try_again(f'Webhook "{webhook.name}" is being registered; its secret is not known yet.')
        incoming = inbox.read_request(request)
    except (StoreError, inbox.BodyLostError) as error:
        return try_again(str(error))
    except inbox.BodyMalformedError as error:
        logger.warning("A request was refused with 400: %s", error)
        return _json(400, _MALFORMED)
    if isinstance(incoming, inbox.Refusal):
        return _refuse(request, webhook, incoming)
    return _receive(request, webhook, incoming)


@csrf_exempt
@login_not_required
@outside_every_transaction
@_needs_settings
def refuse_mangled(request: HttpRequest, mangled_id: str) -> HttpResponse:
    """Answer a request to a URL whose id can't be a webhook's, such as one that was cut, and record a POST."""
    if not inbox.is_address_allowed(request.META):
        return _refuse_address(request, mangled_id)
    if request.method == "POST":
        inbox.refuse_unknown(mangled_id, meta=request.META)
    return _error(404)


def _receive(request: HttpRequest, webhook: inbox.Configuration, incoming: inbox.IncomingRequest) -> HttpResponse:
    verified = inbox.verify(webhook, incoming)
    if verified is inbox.NO_MATCH and webhook.is_rotating:
        return try_again(f'The secret of webhook "{webhook.name}" is being rotated; the new one may be unknown here.')
    if not isinstance(verified, inbox.Verified):
        if verified in inbox.UNVERIFIABLE and (why := webhook.why_unreadable(datetime.now(UTC))):
            return try_again(f'A secret of webhook "{webhook.name}" can\'t be read, and may have signed it. {why}')
        return _refuse(request, webhook, verified, incoming.body)
    try:
        if (refusal := inbox.replay_refusal(verified)) is not None:
            return _refuse(request, webhook, refusal, incoming.body)
        runs = api.runs_to_insert(verified.content.event.name)
        receipt = inbox.store(verified, hold=api.request_hold(), runs=runs)  # committed, or StoreError
    except StoreError as error:
        return _not_stored(str(error))
    if isinstance(receipt, inbox.RepeatOfRemoved):
        return _json(200, _ALREADY_STORED)
    if not _run(receipt):
        return _not_processed()
    return _answer(receipt)


def _run(receipt: inbox.Receipt) -> bool:
    """Have the receivers run; return whether the delivery may be acknowledged.

    The delivery is stored, so no error becomes a 500; only exceptions that end the process are raised.
    """
    waits = settings().ack == "processed" and receipt.is_readable
    try:
        if waits:
            return api.process(receipt)
        api.wake(receipt)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        logger.exception("Delivery %s is stored, but its receivers could not be run now.", receipt.pk)
    return not waits


def _refuse(
    request: HttpRequest, webhook: inbox.Configuration, reason: inbox.Reason, body: bytes | None = None
) -> HttpResponse:
    inbox.refuse(webhook, reason, meta=request.META, body=body)
    return _refusal(reason)


def _refuse_address(request: HttpRequest, webhook_id: uuid.UUID | str) -> HttpResponse:
    inbox.refuse_address(webhook_id, meta=request.META, is_post=request.method == "POST")
    return _refusal(inbox.Refusal.ADDRESS)


def _refusal(reason: inbox.Reason) -> HttpResponse:
    status = _STATUS_OF.get(reason, 401)
    return _json(status, _TEXT_OF_REFUSAL.get(reason, _TEXT_OF[status]))


def _answer(receipt: inbox.Receipt) -> HttpResponse:
    if not receipt.is_readable:
        return _error(400)
    return _json(200, b'{"status": "stored"}' if receipt.is_new else _ALREADY_STORED)


def _not_processed() -> HttpResponse:
    """Answer that not every receiver has succeeded: the sender's next attempt continues with the stored delivery."""
    return _unavailable(_NOT_PROCESSED)


def _not_stored(reason: str) -> HttpResponse:
    """Answer that a genuine delivery was not stored, so that the sender tries again. Logged as an error."""
    logger.error("A signed delivery could not be stored; the answer is 503, so that it is sent again: %s", reason)
    return _unavailable(_TEXT_OF[503])


def try_again(reason: str) -> HttpResponse:
    """Answer that nothing was stored, so that the sender tries again. The request is not verified: only a warning."""
    logger.warning("A request could not be verified yet; the answer is 503, so that it is sent again: %s", reason)
    response = _unavailable(_TEXT_OF[503])
    without_error_log(response)
    return response


def without_error_log(response: HttpResponse) -> None:
    """Keep Django from logging an answer as an error, as it does each 5xx: anybody can send the request."""
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public name for it


def _unavailable(body: bytes) -> HttpResponse:
    response = _json(503, body)
    response["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _not_allowed(request: HttpRequest, webhook_id: uuid.UUID) -> HttpResponse:
    if request.method == "GET":
        inbox.refuse_method(webhook_id, meta=request.META)
    return HttpResponseNotAllowed(["POST"], _TEXT_OF[405], content_type="application/json")


def _error(status: int) -> HttpResponse:
    return _json(status, _TEXT_OF[status])


def _json(status: int, body: bytes) -> HttpResponse:
    return HttpResponse(body, status=status, content_type="application/json")


def webhook_of(request: HttpRequest) -> uuid.UUID | None:
    """Return the webhook whose receiver URL was requested; None if the site's URLs lead the request elsewhere."""
    return webhook_at(request.path_info, getattr(request, "urlconf", None))


def webhook_at(path: str, urlconf: Any = None) -> uuid.UUID | None:
    """Return the webhook whose receiver URL has this path, in the site's URLs or in those of `urlconf`; else None."""
    if _UUID_AT_END.search(path) is None:
        return None
    return _webhook_at(get_resolver(urlconf), get_language(), path)


_UUID_AT_END: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}/?\Z")


@functools.lru_cache(maxsize=1024)
def _webhook_at(resolver: URLResolver, language: str | None, path: str) -> uuid.UUID | None:  # noqa: ARG001 - with i18n_patterns the path has it
    """Resolve a path once: those of a site's webhooks are the same all the time, and Django keeps its resolvers."""
    try:
        match = resolver.resolve(path)
    except Resolver404:
        return None
    return match.kwargs["webhook_id"] if match.func is receive and match.kwargs.keys() == {"webhook_id"} else None
