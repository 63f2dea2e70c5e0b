"""The page that exports deliveries as JSON lines or CSV: one download, streamed, limited in time and in number."""

import functools
from typing import Any, Final

from django import forms
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks import audit
from nateq_webhooks.admin.deliveries.confirmation import ConfirmationPage
from nateq_webhooks.admin.deliveries.export_slots import slots
from nateq_webhooks.admin.deliveries.export_stream import MAX_SECONDS, AsyncStream, Export, Stream
from nateq_webhooks.admin.deliveries.selection import SelectedDeliveries
from nateq_webhooks.admin.permissions import PermittedRows, may_see_payload
from nateq_webhooks.database.keyset.cursor import MAX_KEY
from nateq_webhooks.dispatch.selection_queries import ends_of_keys
from nateq_webhooks.models import Delivery

SEND_SECONDS: Final = 20.0
"""How long the server may wait for a client that reads nothing, if it lets us say so (gunicorn)."""

PERMISSION: Final = "nateq_webhooks.export_delivery"

COLUMNS: Final = (
    "id",
    "webhook",
    "delivery_id",
    "event",
    "resource_id",
    "organization_id",
    "timestamp",
    "attempt",
    "attempts_seen",
    "version",
    "status",
    "received_at",
    "last_received_at",
    "content_change",
)
"""The columns for every user who may export; `body` follows for those who may see payloads."""

_TYPES: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class ExportForm(forms.Form):
    """The format, and the key after which an earlier export is continued."""

    format = forms.ChoiceField(
        choices=[("jsonl", gettext_lazy("JSON lines")), ("csv", "CSV")],
        error_messages=dict.fromkeys(("required", "invalid_choice"), gettext_lazy("The format is jsonl or csv.")),
    )
    after = forms.IntegerField(required=False, min_value=0, max_value=MAX_KEY)


class ExportPage(ConfirmationPage):
    """The page "Export deliveries"."""

    route = "export/"
    name = "export"
    permission = PERMISSION
    title = gettext_lazy("Export deliveries")
    form_class = ExportForm

    def extra_context(self, selected: SelectedDeliveries) -> dict[str, Any]:  # noqa: ARG002
        """Return whether payloads are exported, and after which key an export that the address continues begins."""
        continued = ExportForm(self.request.POST if self.request.method == "POST" else self.request.GET)
        continued.is_valid()
        return {
            "has_payloads": may_see_payload(self.request),
            "after": continued.cleaned_data.get("after") or 0,
            "seconds": round(MAX_SECONDS),
        }

    def perform(self, selected: SelectedDeliveries, form: ExportForm) -> HttpResponseBase:
        """Return the export, unless too many run already."""
        user = self.request.user.pk
        if not slots.acquire(user):
            return _busy()
        try:
            return self._stream(selected, form.cleaned_data["format"], form.cleaned_data["after"] or 0)
        except BaseException:
            slots.release(user)
            raise

    def _stream(self, selected: SelectedDeliveries, kind: str, after: int) -> HttpResponseBase:
        """Return the response, which reads deliveries while the client reads it, and releases the slot at its end."""
        request = self.request
        _log(request, selected, kind, after)
        lowest, highest = ends_of_keys(selected.selection, selected.among.rows) or (1, 0)
        export = Export(
            selected=selected,
            columns=[*COLUMNS, "body"] if may_see_payload(request) else list(COLUMNS),
            first=max(lowest, after + 1),
            last=highest,
            is_csv=kind == "csv",
            permitted=PermittedRows(self.model_admin.admin_site, request),
            continue_url=functools.partial(self._continue_url, selected),
        )
        stream = Stream(export, functools.partial(slots.release, request.user.pk))
        response = StreamingHttpResponse(
            AsyncStream(stream) if isinstance(request, ASGIRequest) else stream, content_type=_TYPES[kind]
        )
        _limit_sending(request)
        continued = f"-after-{after}" if after else ""
        name = f"deliveries-{timezone.now():%Y%m%d-%H%M%S}{continued}.{kind}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def _continue_url(self, selected: SelectedDeliveries, after: int) -> str:
        """Return the page that exports what follows a key; empty for a list of keys: it is too long for an address."""
        if selected.selection.deliveries:
            return ""
        return self.request.build_absolute_uri(self.url("export", **selected.form_fields, after=after))


def _busy() -> HttpResponse:
    """Refuse an export beside another one: each keeps a thread of the server."""
    text = _("Another export is still running. It ends after %(seconds)d seconds at the latest; try again then.")
    response = HttpResponse(text % {"seconds": MAX_SECONDS}, status=429, content_type="text/plain; charset=utf-8")
    response["Retry-After"] = str(round(MAX_SECONDS))
    return response


def _limit_sending(request: HttpRequest) -> None:
    """Let the server give up a client that reads nothing: otherwise its thread would wait for it without an end."""
    socket: Any = request.META.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(SEND_SECONDS)


def _log(request: HttpRequest, selected: SelectedDeliveries, kind: str, after: int) -> None:
    """Write into the audit log and the admin's history who exported what, before anything is handed out."""
    details = {
        "deliveries": selected.count,
        "is_more": selected.is_many,
        "format": kind,
        "after": after,
        "bodies": may_see_payload(request),
        "filters": selected.selection.audited(),
    }
    audit.record(audit.Action.EXPORTED, details=details)
    text = _("Exported %(words)s as %(kind)s.") % {"words": selected.count_text, "kind": kind}
    if after:
        text += " " + _("Continued after delivery %(number)d.") % {"number": after}
    LogEntry.objects.create(
        user_id=request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(Delivery),
        object_id=None,
        object_repr=selected.count_text[:200],
        action_flag=CHANGE,
        change_message=text,
    )
