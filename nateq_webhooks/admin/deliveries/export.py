"""Exporting deliveries from the admin, as JSON lines or CSV: streamed, portion by portion, however many there are."""

import functools
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin.deliveries.confirmation import ConfirmingAdmin
from nateq_webhooks.admin.deliveries.export_parts import Part, part_of, parts_of
from nateq_webhooks.admin.deliveries.export_slots import slots
from nateq_webhooks.admin.deliveries.export_stream import MAX_SECONDS, AsyncStream, Export, Stream
from nateq_webhooks.admin.deliveries.selection import Chosen, from_action
from nateq_webhooks.admin.deliveries.selection_queries import ends_of_keys
from nateq_webhooks.admin.permissions import Permitted
from nateq_webhooks.models import Delivery

SEND_SECONDS: Final = 20.0
"""How long the server may wait for a client that takes nothing, where it lets us say so (gunicorn)."""

PERMISSION: Final = "nateq_webhooks.export_delivery"
PAYLOAD_PERMISSION: Final = "nateq_webhooks.view_payload"

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
)
"""What everyone who may export gets; `body` follows for those who may see payloads."""

_TYPES: Final = {"jsonl": "application/x-ndjson", "csv": "text/csv; charset=utf-8"}


class ExportActions(ConfirmingAdmin):
    """Adds the action "Export" to the list of deliveries, and the page that confirms it."""

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Say whether the user may take deliveries away."""
        return request.user.has_perm(PERMISSION)

    @admin.action(description=gettext_lazy("Export the selected deliveries"), permissions=["export"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponseBase:
        """Ask in which format."""
        return self.about(
            request,
            lambda: from_action(request, queryset, self.choosable(request)),
            lambda which: self._confirm_export(request, which),
        )

    def get_urls(self) -> list[URLPattern]:
        """Add the page that confirms, and that answers with the export."""
        view = self.admin_site.admin_view(self.export_view)
        return [path("export/", view, name="nateq_webhooks_delivery_export"), *super().get_urls()]

    def export_view(self, request: HttpRequest) -> HttpResponseBase:
        """Show the confirmation page (GET), or answer with the export (POST)."""
        if not (self.has_export_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied
        return self.confirmed(request, self._confirm_export, self._export)

    def _confirm_export(self, request: HttpRequest, which: Chosen) -> HttpResponse:
        try:
            rest = part_of(request.GET.get("part", ""))
        except ValueError:
            return HttpResponseBadRequest(_("These are no deliveries."))
        return self.confirmation(
            request,
            which,
            page="export",
            title=_("Export deliveries"),
            has_payloads=request.user.has_perm(PAYLOAD_PERMISSION),
            rest=rest,
            parts=parts_of(which.selection, which.among.rows) if which.is_many and not rest else [],
        )

    def _export(self, request: HttpRequest, which: Chosen) -> HttpResponseBase:
        kind = request.POST.get("format", "")
        if kind not in _TYPES:
            return HttpResponseBadRequest(_("The format is jsonl or csv."))
        try:
            part = part_of(request.POST.get("part", ""))
        except ValueError:
            return HttpResponseBadRequest(_("These are no deliveries."))
        if not slots.take(request.user.pk):
            return _busy()
        try:
            return self._stream(request, which, kind, part)
        except BaseException:
            slots.give_back(request.user.pk)
            raise

    def _stream(self, request: HttpRequest, which: Chosen, kind: str, part: Part | None) -> HttpResponseBase:
        """Return the answer that is read while the client takes it; it gives the slot back that it was given."""
        _note_export(request, which, kind, part)
        export = Export(
            which=which,
            columns=[*COLUMNS, "body"] if request.user.has_perm(PAYLOAD_PERMISSION) else list(COLUMNS),
            part=_within(ends_of_keys(which.selection, which.among.rows), part),
            is_csv=kind == "csv",
            permitted=Permitted(self.admin_site, request),
            rest_url=functools.partial(self._rest_url, request, which, part),
        )
        stream = Stream(export, functools.partial(slots.give_back, request.user.pk))
        response = StreamingHttpResponse(
            AsyncStream(stream) if isinstance(request, ASGIRequest) else stream, content_type=_TYPES[kind]
        )
        _limit_sending(request)
        which_part = f"-part-{part.number}-of-{part.total}" if part else ""
        name = f"deliveries-{timezone.now():%Y%m%d-%H%M%S}{which_part}.{kind}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["X-Content-Type-Options"] = "nosniff"
        return response

    def _rest_url(self, request: HttpRequest, which: Chosen, part: Part | None, first: int) -> str:
        """Return the page that exports the rest, from a key on; empty for deliveries that were picked one by one."""
        if which.selection.deliveries:
            return ""
        newest = part.last if part else self._newest(which)
        rest = Part(part.number if part else 1, part.total if part else 1, first, max(first, newest))
        query = urlencode({**which.hidden, "part": rest.value})
        url = reverse("admin:nateq_webhooks_delivery_export", current_app=self.admin_site.name)
        return request.build_absolute_uri(f"{url}?{query}")

    def _newest(self, which: Chosen) -> int:
        ends = ends_of_keys(which.selection, which.among.rows)
        return ends[1] if ends else 0


def _busy() -> HttpResponse:
    """Refuse an export beside another one: each keeps a thread of the server."""
    told = _("Another export is still running. It ends after %(seconds)d seconds at the latest; try again then.")
    response = HttpResponse(told % {"seconds": MAX_SECONDS}, status=429, content_type="text/plain; charset=utf-8")
    response["Retry-After"] = str(round(MAX_SECONDS))
    return response


def _within(ends: tuple[int, int] | None, part: Part | None) -> Part:
    """Return the range of keys to export: what is there of a part, or of everything."""
    lowest, highest = ends or (1, 0)
    if part is None:
        return Part(1, 1, lowest, highest)
    return Part(part.number, part.total, max(part.first, lowest), min(part.last, highest))


def _limit_sending(request: HttpRequest) -> None:
    """Have the server give up a client that takes nothing: else its thread would wait for it without an end."""
    socket: Any = request.META.get("gunicorn.socket")
    if socket is not None:
        socket.settimeout(SEND_SECONDS)


def _note_export(request: HttpRequest, which: Chosen, kind: str, part: Part | None) -> None:
    """Write into the admin's history who took what away."""
    told = _("Exported %(words)s as %(kind)s.") % {"words": which.words, "kind": kind}
    if part:
        told += " " + _("Part %(number)d of %(total)d.") % {"number": part.number, "total": part.total}
    LogEntry.objects.create(
        user_id=request.user.pk or 0,
        content_type=ContentType.objects.get_for_model(Delivery),
        object_id=None,
        object_repr=which.words[:200],
        action_flag=CHANGE,
        change_message=told,
    )
