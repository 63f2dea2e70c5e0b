"""The filters of the lists: by status, event, webhook, receiver and date, with counts up to a limit."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from nateq_webhooks.admin.permissions import PermittedRows, is_narrowed
from nateq_webhooks.database.keyset.date_ranges import (
    EARLIEST,
    LATEST,
    SLACK,
    KeyRange,
    Period,
    key_conditions,
    key_range_of,
)
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

    def facet_values(self) -> dict[str, Any]:
        """Return the column's value for each count, by the key of the count in Django's filter."""
        raise NotImplementedError

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_value(self)
        return counts


class StatusFilter(ColumnFilter, admin.ChoicesFieldListFilter):
    """A filter by status."""

    column = "status"

    def selected_values(self) -> list[Any]:
        """Return the selected statuses."""
        return [str(value) for value in self.lookup_val or []]

    def facet_values(self) -> dict[str, Any]:
        """Return the statuses."""
        return {f"{index}__c": value for index, (value, _label) in enumerate(self.field.flatchoices)}


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
        named = _in_time(self.permitted.of(Webhook).order_by().values_list("events", flat=True).distinct())
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


def _in_time(rows: QuerySet[Any, Any]) -> list[Any]:
    """Read the choices of a filter; none if a project's condition takes the database too long."""
    try:
        with limited(rows.db) if is_narrowed(rows) else nullcontext():
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

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return the choices among the webhooks that the user may see."""
        rows = PermittedRows(model_admin.admin_site, request).of(Webhook).order_by("name").values_list("pk", "name")
        named = rows.filter(name__icontains=self.search_term) if self.search_term else rows
        found = _in_time(named[: MAX_WEBHOOKS + 1])
        self.has_more = len(found) > MAX_WEBHOOKS
        selected = _in_time(rows.filter(pk__in=self._keys())) if self._keys() else []
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

    def facet_values(self) -> dict[str, Any]:
        """Return the keys of the webhooks."""
        return {f"{key}__c": key for key, _name in self.lookup_choices}


class PeriodFilter(admin.DateFieldListFilter):
    """A filter by date: fixed periods, and any other by its two ends. Rows are found by key (date_ranges)."""

    template = "admin/nateq_webhooks/period_filter.html"
    date_params: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.period = Period(self._moment(self.lookup_kwarg_since), self._moment(self.lookup_kwarg_until))

    def _moment(self, parameter: str) -> datetime | None:
        """Return the time of a parameter, in the user's time zone if it names none."""
        text = self.date_params.get(parameter, "")
        if not text:
            return None
        try:
            moment: datetime = DateTimeField().to_python(text)
        except ValidationError as error:
            raise IncorrectLookupParameters(error) from error
        if timezone.is_naive(moment):
            moment = timezone.make_aware(moment)
        if not EARLIEST <= moment <= LATEST:
            raise IncorrectLookupParameters(text)
        return moment

    @cached_property
    def _key_range(self) -> KeyRange | None:
        return key_range_of(self._table)

    @cached_property
    def _table(self) -> QuerySet[Any]:
        model: Any = self.field.model
        manager: QuerySet[Any] = model._meta.default_manager.all()
        return manager

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the period."""
        if self.period == Period(None, None):
            return queryset
        rows = queryset.filter(self.period.exactly(self.field.name))
        return rows if self._key_range is None or self._key_range.is_small else rows.filter(self._with_slack)

    @cached_property
    def _with_slack(self) -> Q:
        return self._key_conditions([self.period], SLACK)[0]

    def _key_conditions(self, periods: Sequence[Period], slack: timedelta) -> list[Q]:
        if self._key_range is None:
            return [Q()] * len(periods)
        return key_conditions(periods, self.field.model, self._table.db, self.field.name, self._key_range, slack)

    def by_key(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the period by key alone, so that a count does not read the time of each row."""
        return queryset.filter(self._without_slack)

    @cached_property
    def _without_slack(self) -> Q:
        return self.conditions([self.period])[0]

    def conditions(self, periods: Sequence[Period]) -> list[Q]:
        """Return the condition of each period: by key, or by time if there are few rows."""
        if self._key_range is None or self._key_range.is_small:
            return [period.exactly(self.field.name) for period in periods]
        return self._key_conditions(periods, timedelta(0))

    def facet_periods(self) -> dict[str, Period]:
        """Return the period of each choice, by the key of its count in Django's filter."""
        links: Any = self.links
        return {
            f"{index}__c": Period(values.get(self.lookup_kwarg_since), values.get(self.lookup_kwarg_until))
            for index, (_label, values) in enumerate(links)
        }

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_period(self)
        return counts

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield the other parameters of the address, for the form with the two ends."""
        for name, values in self.request.GET.lists():
            if name not in (self.lookup_kwarg_since, self.lookup_kwarg_until, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    def day(self, moment: datetime | None) -> str:
        """Return the day of a time in the format of a date input."""
        return timezone.localtime(moment).date().isoformat() if moment else ""

    @property
    def since_day(self) -> str:
        """The first day of the selected period."""
        return self.day(self.period.since)

    @property
    def until_day(self) -> str:
        """The day before which the selected period ends."""
        return self.day(self.period.until)
