"""The page that sends a test event: an example that can be edited is received in this process, without HTTP.

It is signed with the webhook's own secret, verified, stored and dispatched as the receiver view does it. Its delivery
id begins with `test_`, and no two are the same.
"""

import json
import uuid
from typing import Any, Final

from django import forms
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import router
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import inbox
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.processing import has_runs
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows, may_replay
from nateq_webhooks.admin.webhooks.page import WebhookPage
from nateq_webhooks.conf import settings
from nateq_webhooks.database.keyset.cursor import MAX_KEY
from nateq_webhooks.dispatch import api
from nateq_webhooks.errors import SecretError, StoreError
from nateq_webhooks.inbox.former_secrets import TEST_ID_PREFIX
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.models.signing_keys import problem_text, signing_key
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.protocol.examples import example_envelope

ID_PREFIX: Final = TEST_ID_PREFIX
"""How the delivery id of a test event begins."""

USER_AGENT: Final = "nateq_webhooks test event"

MAX_RUNS_SHOWN: Final = 20


class NotSentError(Exception):
    """A test event was refused and not stored. The text says why, for a person."""


class EventTestForm(forms.Form):
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
        """Parse the payload; refuse one for which no receiver would run, and say why."""
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


class SentForm(forms.Form):
    """The key of the delivery that a test event has become."""

    sent = forms.IntegerField(min_value=1, max_value=MAX_KEY)


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
    """StatusStyle a document with a new delivery id, and verify, store and dispatch it. Raises `NotSentError`."""
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
        receipt = inbox.store(verified, hold=api.runner().hold)
        if isinstance(receipt, inbox.RepeatOfRemoved):  # where the content is the identity
            raise NotSentError(_("A delivery of the same content was removed, so nothing is stored."))
        api.wake(receipt)
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
    """Return the request as the receiver view would read it. It has no address: nothing was sent over a network."""
    try:
        signature = signing_key(webhook.secret).sign(body)
    except SecretError as error:
        raise NotSentError(problem_text(error)) from None
    meta = {
        configuration.signature_meta_key: signature,
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_USER_AGENT": USER_AGENT,
    }
    return inbox.IncomingRequest(body=body, meta=meta, remote_addr=None)


class EventTestPage(WebhookPage):
    """The page "Send a test event"."""

    route = "<path:object_id>/test/"
    name = "test"
    manages_transactions = True  # the delivery is committed by itself, as in the receiver view

    def is_allowed(self) -> bool:
        """Return whether the user may have receivers run: a test event runs them."""
        return may_replay(self.request)

    def get(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Show the example of an event, and what became of the test event that was sent last."""
        names = _names(self.webhook)
        event = request.GET.get("event", "")
        event = event if event in names else names[0]
        form = EventTestForm(initial={"payload": example(self.webhook, event)}, webhook=self.webhook)
        return self._show(form, event, **self._result())

    def post(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Send the payload that was posted."""
        form = EventTestForm(request.POST, webhook=self.webhook)
        if form.is_valid():
            try:
                receipt = send(self.webhook, form.cleaned_data["payload"])
            except (NotSentError, StoreError) as error:
                form.add_error(None, str(error))
            else:
                return self._sent(form.cleaned_data["payload"]["event"], receipt)
        return self._show(form, request.GET.get("event", ""))

    def _sent(self, event: str, receipt: inbox.Receipt) -> HttpResponse:
        event = formatting.visible(event)  # may be half of a surrogate pair, which no address and no page holds
        entry = [{"added": {"name": _("test event"), "object": event}}]
        self.model_admin.log_change(self.request, self.webhook, entry)
        messages.success(self.request, _("The test event was received like a delivery."))
        return HttpResponseRedirect(self.url("test", self.webhook.pk, event=event, sent=receipt.pk))

    def _result(self) -> dict[str, Any]:
        """Return what became of the test event that was sent last."""
        permitted = PermittedRows(self.model_admin.admin_site, self.request)
        form = SentForm(self.request.GET)
        if not (permitted.may_view(Delivery) and form.is_valid()):
            return {}
        # Read where it was just written: a replica may not have it yet.
        written = permitted.of(Delivery).select_related(None).using(router.db_for_write(Delivery))
        sent = written.filter(webhook=self.webhook, delivery_id__startswith=ID_PREFIX)
        delivery = sent.only("pk", "status", "delivery_id", "event").filter(pk=form.cleaned_data["sent"]).first()
        if delivery is None or not permitted.may_view(Delivery, delivery):
            return {}
        its_runs = permitted.of(Run).select_related(None).using(written.db).filter(delivery=delivery.pk)
        runs = its_runs.only("receiver", "status", "delivery_id", "duration").order_by("pk")[:MAX_RUNS_SHOWN]
        return {
            "sent": delivery,
            "sent_badge": formatting.delivery_badge(delivery, has_runs=has_runs(delivery)),
            "sent_url": admin_url(self.model_admin.admin_site, Delivery, "change", delivery.pk),
            "sent_runs": [(run.receiver, formatting.badge(run), formatting.duration(run.duration)) for run in runs],
        }

    def _show(self, form: EventTestForm, event: str, **result: Any) -> HttpResponse:
        names = _names(self.webhook)
        return self.page("test_event", _("Send a test event"), form=form, names=names, event=event, **result)


def _names(webhook: Webhook) -> list[str]:
    """Return the events to choose from: those that the webhook receives."""
    named = webhook.events if isinstance(webhook.events, list) else []
    return [name for name in named if isinstance(name, str)] or list(known_events())
