"""The admin of the audit log: who did what to data, secrets and receivers, and when."""
# ruff: noqa: ARG002 - the signatures are Django's

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final
from uuid import UUID

from django.contrib import admin
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.audit_section import OF_WEBHOOK, numbers_text
from nateq_webhooks.admin.changelists.base import RecordAdmin
from nateq_webhooks.admin.changelists.filters import ChoicesFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import ApiKey, AuditEntry, Delivery, Replay, Webhook

_NUMBERED: Final[dict[str, type[Model]]] = {"delivery": Delivery, "replay": Replay}
"""Targets that name a row by its key."""

_NUMBERED_TARGET: Final = re.compile(r"(delivery|replay) (\d{1,18})", re.ASCII)

_API_KEY: Final = frozenset({AuditEntry.Action.API_KEY_CREATED, AuditEntry.Action.API_KEY_REVOKED})


class ActionFilter(ChoicesFilter):
    """A filter by action, through the list's index."""

    column = "action"


class SourceFilter(admin.SimpleListFilter):
    """A filter by the way in. No index has it, so the time of a list with it is limited."""

    title = gettext_lazy("through")
    parameter_name = "source"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        """Return every way in."""
        return [(value, label) for value, label in AuditEntry.Source.choices]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the entries of the chosen one."""
        return queryset.filter(source=self.value()) if self.value() else queryset

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return no counts."""
        return {f"{index}__c": "" for index, _choice in enumerate(self.lookup_choices)}


def _search_alternatives(term: str) -> list[Q]:
    text = term.strip()
    found = Q(actor__icontains=text) | Q(target__icontains=text)
    with suppress(ValueError):
        found |= Q(webhook_id=UUID(text))
    return [found]


_Column = tuple[type[Model], str]
"""A model, and the column by which an entry names one of its rows."""


def _row_of(entry: AuditEntry) -> tuple[_Column, str] | None:
    """Return what an entry is about: the column of a model, and its value. None if that is no row, or deleted by it."""
    if found := _NUMBERED_TARGET.fullmatch(entry.target):
        return (_NUMBERED[found[1]], "pk"), found[2]
    if entry.webhook_id is not None:
        return (Webhook, "pk"), str(entry.webhook_id)
    if entry.action in OF_WEBHOOK - {AuditEntry.Action.WEBHOOK_DELETED}:
        return (Webhook, "name"), entry.target
    return ((ApiKey, "name"), entry.target) if entry.action in _API_KEY else None


def _link_targets(entries: Sequence[AuditEntry], permitted: PermittedRows, _request: HttpRequest) -> None:
    """Find the rows that entries are about, as far as the user may see them: one query for each column."""
    wanted: dict[_Column, set[str]] = {}
    rows = {entry.pk: row for entry in entries if (row := _row_of(entry)) is not None}
    for column, value in rows.values():
        wanted.setdefault(column, set()).add(value)
    found = {column: _keys(column, values, permitted) for column, values in wanted.items()}
    for entry in entries:
        entry.target_row = None  # type: ignore[attr-defined]
        if row := rows.get(entry.pk):
            (model, _name), value = row
            key = found[row[0]].get(value)
            entry.target_row = None if key is None else model(pk=key)  # type: ignore[attr-defined]


def _keys(column: _Column, values: Iterable[str], permitted: PermittedRows) -> dict[str, Any]:
    """Return the keys of the rows that exist and that the user may see, by how entries name them."""
    model, name = column
    if not permitted.may_view(model):
        return {}
    existing = permitted.of(model).filter(**{f"{name}__in": list(values)}).order_by()
    return {str(value): key for value, key in existing.values_list(name, "pk")}


@admin.register(AuditEntry)
class AuditEntryAdmin(RecordAdmin[AuditEntry]):
    """The audit log, to read."""

    list_display = ("shown_at", "shown_action", "shown_target", "shown_actor", "shown_source", "shown_numbers")
    list_filter: ClassVar[Any] = (("action", ActionFilter), SourceFilter, ("at", PeriodFilter))
    search_fields = ("actor", "target")
    search_help_text = gettext_lazy(
        "Searches for a part of who did it, or of what it was done to; a webhook also by its whole id."
    )
    list_spec = ListSpec(
        index=("action",),
        parameters=frozenset({"action__exact", "at__gte", "at__lt"}),
        facet_columns=("action", "at"),
        date_column="at",
        search_alternatives=_search_alternatives,
        is_search_limited=True,
        complete=_link_targets,
    )
    fields = readonly_fields = (
        "shown_at",
        "shown_action",
        "shown_target",
        "shown_actor",
        "shown_source",
        "shown_details",
    )

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the filter by the way in, too: its time is limited."""
        return lookup == SourceFilter.parameter_name or super().lookup_allowed(lookup, value, request)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> AuditEntry | None:
        """Return the entry of a page, with what it is about."""
        entry = super().get_object(request, object_id, from_field)
        if entry is not None:
            _link_targets([entry], PermittedRows(self.admin_site, request), request)
        return entry

    @admin.display(description=gettext_lazy("time"))
    def shown_at(self, entry: AuditEntry) -> str | None:
        """Return when it was done."""
        return formatting.moment(entry.at)

    @admin.display(description=gettext_lazy("action"))
    def shown_action(self, entry: AuditEntry) -> str:
        """Return what was done."""
        return str(entry.get_action_display())

    @admin.display(description=gettext_lazy("what"))
    def shown_target(self, entry: AuditEntry) -> SafeString | str:
        """Return what it was done to, as a link if that still exists."""
        if not entry.target:
            return self.get_empty_value_display()
        row = getattr(entry, "target_row", None)
        return formatting.link(self.page_of(row) if row is not None else "", entry.target)

    @admin.display(description=gettext_lazy("by"))
    def shown_actor(self, entry: AuditEntry) -> SafeString | str:
        """Return who did it."""
        return formatting.text(entry.actor) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("through"))
    def shown_source(self, entry: AuditEntry) -> str:
        """Return the way in."""
        return str(entry.get_source_display())

    @admin.display(description=gettext_lazy("details"))
    def shown_numbers(self, entry: AuditEntry) -> SafeString | str:
        """Return the numbers, for the list."""
        return formatting.text(numbers_text(entry)) or self.get_empty_value_display()

    @admin.display(description=gettext_lazy("details"))
    def shown_details(self, entry: AuditEntry) -> SafeString | str:
        """Return the numbers and names, one per line."""
        lines = [f"{name}: {_value_text(value)}" for name, value in _items(entry)]
        if not lines:
            return self.get_empty_value_display()
        return format_html(
            '<ul class="nateq-details" dir="ltr">{}</ul>',
            format_html_join("", "<li>{}</li>", ((formatting.visible(line),) for line in lines)),
        )


def _items(entry: AuditEntry) -> list[tuple[str, Any]]:
    return list(entry.details.items()) if isinstance(entry.details, dict) else []


def _value_text(value: Any) -> str:
    """Return a value of the details in words."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or _("none")
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return _("none") if value is None else str(value)
