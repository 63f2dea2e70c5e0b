"""Sending a test event: an example that can be edited goes the way of a delivery, in this process and without HTTP.

It is signed with the webhook's own secret, verified, stored and dispatched; only the door in front is left out. Its
delivery id begins with `test_`, and no two are the same.
"""

import json
import uuid
from typing import Any, Final
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import connections, router, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import dispatch, inbox
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import has_runs
from nateq_webhooks.admin.permissions import Permitted, may_replay
from nateq_webhooks.admin.webhooks.page import PageAdmin
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import SecretError, StoreError
from nateq_webhooks.inbox.former_secrets import TEST_ID_PREFIX
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.protocol.signatures import SigningKey

ID_PREFIX: Final = TEST_ID_PREFIX
"""How the delivery id of a test event begins."""

USER_AGENT: Final = "nateq_webhooks test event"


class NotSentError(Exception):
    """A test event was not taken in, and nothing was stored. Its text says why, for a person."""


class TestEventForm(forms.Form):
    """The body of a test event, to be edited."""

    payload = forms.CharField(
        label=gettext_lazy("Payload"),
        strip=False,
        widget=forms.Textarea(
            attrs={"rows": 24, "cols": 100, "dir": "ltr", "spellcheck": "false", "class": "nateq-code"}
        ),
        help_text=gettext_lazy("The whole body as Nateq would post it. Its delivery id is replaced by a new one."),
    )

    def __init__(self, *args: Any, webhook: Webhook, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.webhook = webhook

    def clean_payload(self) -> dict[str, Any]:
        """Read the payload; refuse what would make no run, and say why."""
        try:
            document = load_object(self.cleaned_data["payload"].encode("utf-8", "surrogatepass"))
        except ValueError as error:
            raise ValidationError(_("This is no JSON object: %(error)s") % {"error": error}) from None
        event = document.get("event")
        if not isinstance(event, str) or not event:
            raise ValidationError(_('It names no event. Write one, such as "event": "ticket.created".'))
        if self.webhook.events and event not in self.webhook.events:
            raise ValidationError(
                _("This webhook does not receive %(event)s, so no receiver would run. It receives: %(events)s.")
                % {"event": formatting.visible(event), "events": ", ".join(map(str, self.webhook.events))}
            )
        return document


def example(webhook: Webhook, event: str) -> str:
    """Return the example of an event as a person edits it."""
    envelope = example_envelope(
        event,
        delivery_id=new_id(),
        organization_id=webhook.organization_id or "org_demo",
        timestamp=timezone.now().replace(microsecond=0),
    )
    return json.dumps(envelope, ensure_ascii=False, indent=2)


def new_id() -> str:
    """Return a delivery id that no delivery has."""
    return f"{ID_PREFIX}{uuid.uuid4()}"


def send(webhook: Webhook, document: dict[str, Any]) -> inbox.Receipt:
    """Sign a document with a new delivery id, and verify, store and dispatch it. Raises `NotSentError`."""
    configuration = inbox.find(webhook.pk)
    if configuration is None:
        raise NotSentError(_("The webhook is not active: Nateq would get 404, and nothing would be stored."))
    if configuration.is_pending:
        raise NotSentError(_("The webhook is being registered: Nateq is asked to come back later."))
    body = _body(document)
    if len(body) > settings().max_body_bytes:
        raise NotSentError(
            _("The payload has %(size)s bytes; MAX_BODY_BYTES allows %(limit)s.")
            % {"size": len(body), "limit": settings().max_body_bytes}
        )
    verified = inbox.verify(configuration, _arrival(webhook, configuration, body))
    if isinstance(verified, inbox.Verified):
        receipt = inbox.store(verified, hold=dispatch.runner().hold)
        dispatch.wake(receipt)
        return receipt
    if verified is inbox.Refusal.OTHER_ORGANIZATION:
        raise NotSentError(
            _("It is of another organization than this webhook's, %(organization)s, so it is refused.")
            % {"organization": webhook.organization_id}
        )
    raise NotSentError(_("Its signature was refused: %(reason)s.") % {"reason": verified.value.replace("_", " ")})


def _body(document: dict[str, Any]) -> bytes:
    metadata = document.get("metadata")
    known = metadata if isinstance(metadata, dict) else {"attempt": 1, "version": "1.0"}
    whole = document | {"metadata": known | {"delivery_id": new_id()}}
    try:
        return json.dumps(whole, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which only an escape can write
        return json.dumps(whole).encode()
    except RecursionError:
        raise NotSentError(_("The payload is nested too deeply to be written.")) from None


def _arrival(webhook: Webhook, configuration: inbox.Configuration, body: bytes) -> inbox.IncomingRequest:
    """Return what the door would have made of the request. From no address: nothing was sent over a network."""
    try:
        signature = SigningKey.of(webhook.secret, settings().secret_encoding).sign(body)
    except SecretError as error:
        raise NotSentError(_(str(error))) from None
    meta = {
        configuration.signature_meta_key: signature,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_USER_AGENT": USER_AGENT,
    }
    return inbox.IncomingRequest(body=body, meta=meta, remote_addr=None)


class EventTestAdmin(PageAdmin):
    """Adds the page "Send a test event" to the admin of webhooks."""

    def get_urls(self) -> list[URLPattern]:
        """Add the page."""
        view: Any = self.admin_site.admin_view(self.test_view)
        for alias in connections:  # the delivery is committed by itself, as at the door
            view = transaction.non_atomic_requests(alias)(view)
        return [path("<path:object_id>/test/", view, name="nateq_webhooks_webhook_test"), *super().get_urls()]

    def test_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the example of an event, send what was made of it, and show what came of that."""
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        webhook = self.changeable(request, object_id)
        if not may_replay(request):  # the receivers run
            raise PermissionDenied
        if request.method == "GET":
            return self._offer(request, webhook)
        form = TestEventForm(request.POST, webhook=webhook)
        if form.is_valid():
            try:
                receipt = send(webhook, form.cleaned_data["payload"])
            except (NotSentError, StoreError) as error:
                form.add_error(None, str(error))
            else:
                return self._sent(request, webhook, form.cleaned_data["payload"]["event"], receipt)
        return self._test_page(request, webhook, form, request.GET.get("event", ""))

    def _offer(self, request: HttpRequest, webhook: Webhook) -> HttpResponse:
        names = _names(webhook)
        event = request.GET.get("event", "")
        event = event if event in names else names[0]
        form = TestEventForm(initial={"payload": example(webhook, event)}, webhook=webhook)
        return self._test_page(request, webhook, form, event, self._result(request, webhook))

    def _sent(self, request: HttpRequest, webhook: Webhook, event: str, receipt: inbox.Receipt) -> HttpResponse:
        event = formatting.visible(event)  # may be half of a surrogate pair, which no address and no page holds
        self.log_change(request, webhook, [{"added": {"name": _("test event"), "object": event}}])
        self.message_user(request, _("The test event was taken in like a delivery."), messages.SUCCESS)
        query = urlencode({"event": event, "sent": receipt.pk})
        return HttpResponseRedirect(f"{self.page_url(webhook, 'test')}?{query}")

    def _result(self, request: HttpRequest, webhook: Webhook) -> dict[str, Any]:
        """Return what became of the test event that was sent last."""
        sent = request.GET.get("sent", "")
        permitted = Permitted(self.admin_site, request)
        may_look = permitted.may_view(Delivery)
        if not (may_look and sent.isascii() and sent.isdecimal() and len(sent) < 19):
            return {}
        # Where it was just written: a replica may not have it yet.
        written = permitted.of(Delivery).select_related(None).using(router.db_for_write(Delivery))
        ours = written.filter(webhook=webhook, delivery_id__startswith=ID_PREFIX)
        delivery = ours.only("pk", "status", "delivery_id", "event").filter(pk=int(sent)).first()
        if delivery is None or not permitted.may_view(Delivery, delivery):
            return {}
        its_runs = permitted.of(Run).select_related(None).using(written.db).filter(delivery=delivery.pk)
        runs = its_runs.only("receiver", "status", "delivery_id", "duration").order_by("pk")[:20]
        return {
            "sent": delivery,
            "sent_badge": formatting.delivery_badge(delivery, has_runs=has_runs(delivery)),
            "sent_url": self._delivery_url(delivery),
            "sent_runs": [(run.receiver, formatting.badge(run), formatting.duration(run.duration)) for run in runs],
        }

    def _delivery_url(self, delivery: Delivery) -> str:
        try:
            name = "admin:nateq_webhooks_delivery_change"
            return reverse(name, args=[delivery.pk], current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""

    def _test_page(
        self,
        request: HttpRequest,
        webhook: Webhook,
        form: TestEventForm,
        event: str,
        result: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {"form": form, "names": _names(webhook), "event": event, **(result or {})}
        return self.page(request, webhook, "test_event", _("Send a test event"), context)


def _names(webhook: Webhook) -> list[str]:
    """Return the events to choose from: those that the webhook receives."""
    named = webhook.events if isinstance(webhook.events, list) else []
    return [name for name in named if isinstance(name, str)] or list(known_events())
