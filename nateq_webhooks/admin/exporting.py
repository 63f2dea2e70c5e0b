"""Exporting deliveries from the admin, as JSON lines or CSV: streamed, portion by portion, however many there are."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin.confirming import ConfirmingAdmin
from nateq_webhooks.admin.csv_cells import csv_lines
from nateq_webhooks.admin.export_parts import Part, part_of, parts_of
from nateq_webhooks.admin.selected import ends_of_keys
from nateq_webhooks.admin.selecting import Chosen, from_action
from nateq_webhooks.models import Delivery

PORTION: Final = 500
"""Deliveries that are read at a time."""

SPAN: Final = 50_000
"""Keys of deliveries that are looked through at a time, so that a filter that finds few reads no more at once."""

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
        return self.about(lambda: from_action(request, queryset), lambda which: self._confirm_export(request, which))

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
        return self.confirmation(
            request,
            which,
            page="export",
            title=_("Export deliveries"),
            has_payloads=request.user.has_perm(PAYLOAD_PERMISSION),
            parts=parts_of(which.selection) if which.is_many else [],
        )

    def _export(self, request: HttpRequest, which: Chosen) -> HttpResponseBase:
        kind = request.POST.get("format", "")
        if kind not in _TYPES:
            return HttpResponseBadRequest(_("The format is jsonl or csv."))
        try:
            part = part_of(request.POST.get("part", ""))
        except ValueError:
            return HttpResponseBadRequest(_("These are no deliveries."))
        columns = [*COLUMNS, "body"] if request.user.has_perm(PAYLOAD_PERMISSION) else list(COLUMNS)
        _note_export(request, which, kind, part)
        chunks = _Chunks(which, columns, part, is_csv=kind == "csv")
        response = StreamingHttpResponse(
            chunks.later() if isinstance(request, ASGIRequest) else iter(chunks), content_type=_TYPES[kind]
        )
        which_part = f"-part-{part.number}-of-{part.total}" if part else ""
        name = f"deliveries-{timezone.now():%Y%m%d-%H%M%S}{which_part}.{kind}"
        response["Content-Disposition"] = f'attachment; filename="{name}"'
        response["X-Content-Type-Options"] = "nosniff"
        return response


class _Chunks:
    """What is sent of an export at a time: read when the client takes them, under WSGI and ASGI alike."""

    def __init__(self, which: Chosen, columns: list[str], part: Part | None, *, is_csv: bool) -> None:
        self._which = which
        self._part = part
        self._columns = columns
        self._is_csv = is_csv

    def __iter__(self) -> Iterator[bytes]:
        if self._is_csv:
            yield csv_lines([self._columns])
        for rows in _portions(self._which, self._columns, self._part):
            if self._is_csv:
                yield csv_lines([row[column] for column in self._columns] for row in rows)
            else:
                yield _json_lines(rows)

    async def later(self) -> AsyncIterator[bytes]:
        """Yield the same without keeping the event loop from others."""
        chunks = iter(self)

        def next_chunk() -> bytes | None:
            return next(chunks, None)

        while (chunk := await sync_to_async(next_chunk)()) is not None:
            yield chunk


def _portions(which: Chosen, columns: list[str], part: Part | None) -> Iterator[list[dict[str, Any]]]:
    """Yield rows in the order they came, up to the newest at the start, or those of a part."""
    ends = (part.first, part.last) if part else ends_of_keys(which.selection)
    after, newest = (ends[0] - 1, ends[1]) if ends else (0, 0)
    while after < newest:
        end = min(after + SPAN, newest)
        span = which.selection.of(Delivery.objects.filter(pk__gt=after, pk__lte=end))
        rows = [_row(values) for values in span.order_by("pk").values(*_needed(columns))[:PORTION]]
        if rows:
            yield rows
        after = rows[-1]["id"] if len(rows) == PORTION else end


def _needed(columns: list[str]) -> list[str]:
    return ["webhook__name" if column == "webhook" else column for column in columns]


def _row(values: dict[str, Any]) -> dict[str, Any]:
    """Return a row as it is written: moments as ISO 8601, the body as text, which stands for bytes that are none."""
    row = {("webhook" if name == "webhook__name" else name): value for name, value in values.items()}
    for name in ("timestamp", "received_at", "last_received_at"):
        if row[name] is not None:
            row[name] = row[name].isoformat()
    if "body" in row:
        row["body"] = bytes(row["body"]).decode("utf-8", "backslashreplace")
    return row


def _json_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8", "backslashreplace")


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
