"""The filters of the lists: by status, event, webhook and receiver, with counts up to a limit."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import conditional_escape
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.admin.permissions import PermittedRows, is_narrowed
from nateq_webhooks.database.keyset.time_limit import TookTooLongError, limited
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.invisible_chars import visible
from nateq_webhooks.receivers import registry


class ColumnFilter:
    """A filter on one column of the list's index (skip_scan)."""

    column: str
    request: HttpRequest

    def selected_values(self) -> list[Any]:
        """Return the selected values; empty for all."""
        raise NotImplementedError

    def selected_labels(self) -> list[str]:
        """Return the selected values in words."""
        return [str(value) for value in self.selected_values()]

    def facet_values(self) -> dict[str, Any]:
        """Return the column's value for each count, by the key of the count in Django's filter."""
        raise NotImplementedError

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_value(self)
        return counts


class ChoicesFilter(ColumnFilter, admin.ChoicesFieldListFilter):
    """A filter by a column with choices."""

    def selected_values(self) -> list[Any]:
        """Return the selected values."""
        return [str(value) for value in self.lookup_val or []]

    def selected_labels(self) -> list[str]:
        """Return the selected values in words."""
        labels = dict(self.field.flatchoices)
        return [str(labels.get(value, value)) for value in self.selected_values()]

    def facet_values(self) -> dict[str, Any]:
        """Return the choices."""
        return {f"{index}__c": value for index, (value, _label) in enumerate(self.field.flatchoices)}


class StatusFilter(ChoicesFilter):
    """A filter by status."""

    column = "status"


class ChoiceFilter(ColumnFilter, admin.SimpleListFilter):
    """A filter by a text whose choices are known without a query on the table."""

    def known(self) -> list[str]:
        """Return the known values."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices, including the selected value."""
        values = self.known()
        extra = [value for value in self.selected_values() if value not in values]
        return [(value, value) for value in [*values, *extra]]

    def selected_values(self) -> list[Any]:
        """Return the selected value."""
        return [self.value()] if self.value() else []

    def facet_values(self) -> dict[str, Any]:
        """Return the values."""
        return {f"{index}__c": value for index, (value, _label) in enumerate(self.lookup_choices)}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the selected value."""
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class EventFilter(ChoiceFilter):
    """A filter by event: the published events and those of the webhooks."""

    title = _("event")
    parameter_name = "event"
    column = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices, with the events of the webhooks that the user may see."""
        self.permitted = PermittedRows(model_admin.admin_site, request)
        return super().lookups(request, model_admin)

    def known(self) -> list[str]:
        """Return the published events, then those of the catalogue and of the webhooks."""
        rows = self.permitted.of(Webhook)
        named = _in_time(rows.order_by().values_list("events", flat=True).distinct(), among=rows)
        known = known_events()
        unknown = {name for names in named if isinstance(names, list) for name in names if is_text(name)} - known.keys()
        return [*known, *sorted(unknown)]


class ReceiverFilter(ChoiceFilter):
    """A filter by receiver: those connected in this process."""

    title = _("receiver")
    parameter_name = "receiver"
    column = "receiver"

    def known(self) -> list[str]:
        """Return the names of the receivers."""
        return sorted({receiver.name for receiver in registry})


def is_text(name: object) -> bool:
    """Return whether a name can be part of a URL; a lone surrogate can not."""
    return isinstance(name, str) and visible(name) == name


def _in_time(rows: QuerySet[Any, Any], *, among: QuerySet[Any]) -> list[Any]:
    """Read the choices of a filter; none if a project's condition on `among` takes the database too long."""
    try:
        with limited(rows.db) if is_narrowed(among) else nullcontext():
            return list(rows)
    except TookTooLongError:
        return []


FIND_WEBHOOK: Final = "find_webhook"
"""The query parameter with a part of a webhook's name, for sites with many webhooks."""

MAX_WEBHOOKS: Final = 50
"""Webhooks to choose from; further ones are found by name."""


def webhook_search_term(request: HttpRequest) -> str:
    """Return the part of a webhook's name that is searched for; empty without a search."""
    return column_text(request.GET.get(FIND_WEBHOOK, "").strip(), 100)


class NamedWebhookFilter(admin.RelatedFieldListFilter):
    """A filter by webhook, with a search by name if there are many. Secrets are not read."""

    template = "admin/nateq_webhooks/webhook_filter.html"
    has_more = False
    "Whether there are more webhooks than choices."

    def __init__(self, field: Any, request: HttpRequest, params: Any, *args: Any, **kwargs: Any) -> None:
        params.pop(FIND_WEBHOOK, None)
        self.search_term = webhook_search_term(request)
        self._request = request
        super().__init__(field, request, params, *args, **kwargs)
        # The choice of rows without a webhook, if there may be such rows.
        self.empty_value_display = conditional_escape(_("Unknown webhook"))

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return the choices among the webhooks that the user may see."""
        among = PermittedRows(model_admin.admin_site, request).of(Webhook)
        rows = among.order_by("name").values_list("pk", "name")
        named = rows.filter(name__icontains=self.search_term) if self.search_term else rows
        found = _in_time(named[: MAX_WEBHOOKS + 1], among=among)
        self.has_more = len(found) > MAX_WEBHOOKS
        selected = _in_time(rows.filter(pk__in=self._keys()), among=among) if self._keys() else []
        choices = dict(selected) | dict(found[:MAX_WEBHOOKS])
        return [(key, visible(name)) for key, name in choices.items()]

    def _keys(self) -> list[Any]:
        """Return the selected webhooks, which are always among the choices; empty for an invalid key."""
        try:
            return [Webhook._meta.pk.to_python(value) for value in self.lookup_val or []]
        except ValidationError:
            return []

    @property
    def is_searched(self) -> bool:
        """Whether the names can be searched: if there are many, or a search is active."""
        return self.has_more or bool(self.search_term)

    @property
    def field_name(self) -> str:
        """The name of the search field."""
        return FIND_WEBHOOK

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield the other parameters of the address, for the search form."""
        for name, values in self._request.GET.lists():
            if name not in (FIND_WEBHOOK, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    def has_output(self) -> bool:
        """Return whether there is a choice, or one was made: Django ignores a filter without output."""
        return super().has_output() or bool(self.lookup_val) or bool(self.search_term)


class WebhookFilter(ColumnFilter, NamedWebhookFilter):
    """A filter by webhook, through the list's index."""

    column = "webhook_id"

    def selected_values(self) -> list[Any]:
        """Return the selected keys. Raises `IncorrectLookupParameters` for an invalid key."""
        try:
            return [Webhook._meta.pk.to_python(value) for value in self.lookup_val or []]
        except ValidationError as error:
            raise IncorrectLookupParameters(error) from error

    def selected_labels(self) -> list[str]:
        """Return the names of the selected webhooks."""
        names = dict(self.lookup_choices)
        return [str(names.get(key, key)) for key in self.selected_values()]

    def facet_values(self) -> dict[str, Any]:
        """Return the keys of the webhooks."""
        return {f"{key}__c": key for key, _name in self.lookup_choices}
