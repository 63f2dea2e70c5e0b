"""The filters of the lists: by status, event, webhook, receiver and date, with counts that stop at a limit."""
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

from nateq_webhooks.admin.biglist.date_ranges import EARLIEST, LATEST, SLACK, Ends, Period, by_keys, ends_of
from nateq_webhooks.admin.biglist.time_limit import TookTooLongError, limited
from nateq_webhooks.admin.permissions import Permitted, is_narrowed
from nateq_webhooks.models import Webhook
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.invisible_chars import visible
from nateq_webhooks.receivers import registry


class ColumnFilter:
    """A filter by one column of the index that the list is found through (admin.biglist.skip_scan)."""

    column: str
    request: HttpRequest

    def chosen(self) -> list[Any]:
        """Return the values that were chosen; none means all."""
        raise NotImplementedError

    def facet_values(self) -> dict[str, Any]:
        """Return the column's value for each count, by the name that Django's filter has for it."""
        raise NotImplementedError

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_value(self)
        return counts


class StatusFilter(ColumnFilter, admin.ChoicesFieldListFilter):
    """By status."""

    column = "status"

    def chosen(self) -> list[Any]:
        """Return the statuses that were chosen."""
        return [str(value) for value in self.lookup_val or []]

    def facet_values(self) -> dict[str, Any]:
        """Return the statuses."""
        return {f"{place}__c": value for place, (value, _label) in enumerate(self.field.flatchoices)}


class ChoiceFilter(ColumnFilter, admin.SimpleListFilter):
    """By a text of which the likely values are known without asking the table."""

    def known(self) -> list[str]:
        """Return the values to choose from."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values to choose from, the chosen one among them."""
        values = self.known()
        extra = [value for value in self.chosen() if value not in values]
        return [(value, value) for value in [*values, *extra]]

    def chosen(self) -> list[Any]:
        """Return the value that was chosen."""
        return [self.value()] if self.value() else []

    def facet_values(self) -> dict[str, Any]:
        """Return the values."""
        return {f"{place}__c": value for place, (value, _label) in enumerate(self.lookup_choices)}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows with the chosen value."""
        return queryset.filter(**{self.column: self.value()}) if self.value() else queryset


class EventFilter(ChoiceFilter):
    """By event: the published ones and those that a webhook names."""

    title = _("event")
    parameter_name = "event"
    column = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the events to choose from; of webhooks those that the user may see are asked."""
        self.permitted = Permitted(model_admin.admin_site, request)
        return super().lookups(request, model_admin)

    def known(self) -> list[str]:
        """Return the published events, then those of the catalogue and those that a webhook names."""
        named = _in_time(self.permitted.of(Webhook).order_by().values_list("events", flat=True).distinct())
        known = known_events()
        unknown = {name for names in named if isinstance(names, list) for name in names if is_text(name)} - known.keys()
        return [*known, *sorted(unknown)]


class ReceiverFilter(ChoiceFilter):
    """By receiver: those connected in this process."""

    title = _("receiver")
    parameter_name = "receiver"
    column = "receiver"

    def known(self) -> list[str]:
        """Return the receivers' names."""
        return sorted({receiver.name for receiver in registry})


def is_text(name: object) -> bool:
    """Say whether a name is text that an address can hold: half of a surrogate pair is not, and is no event's name."""
    return isinstance(name, str) and visible(name) == name


def _in_time(rows: QuerySet[Any, Any]) -> list[Any]:
    """Read the choices of a filter; none where a project's condition takes the database too long."""
    try:
        with limited(rows.db) if is_narrowed(rows) else nullcontext():
            return list(rows)
    except TookTooLongError:
        return []


FIND_WEBHOOK: Final = "find_webhook"
"""The query parameter that holds a part of a webhook's name, where there are too many to choose from."""

MAX_WEBHOOKS: Final = 50
"""Webhooks to choose from; of more, those whose name is searched for."""


def wanted_name(request: HttpRequest) -> str:
    """Return the part of a webhook's name that is searched for; empty without one."""
    return request.GET.get(FIND_WEBHOOK, "").replace("\0", "").strip()[:100]


class NamedWebhookFilter(admin.RelatedFieldListFilter):
    """By webhook; only their names are read, not their secrets. Where there are many, their names can be searched."""

    template = "admin/nateq_webhooks/webhook_filter.html"
    has_more = False
    "Whether there are more webhooks than are to choose from."

    def __init__(self, field: Any, request: HttpRequest, params: Any, *args: Any, **kwargs: Any) -> None:
        params.pop(FIND_WEBHOOK, None)
        self.wanted = wanted_name(request)
        self._request = request
        super().__init__(field, request, params, *args, **kwargs)

    def field_choices(self, field: Any, request: HttpRequest, model_admin: Any) -> list[Any]:
        """Return the webhooks to choose from, those that the user may see."""
        rows = Permitted(model_admin.admin_site, request).of(Webhook).order_by("name").values_list("pk", "name")
        named = rows.filter(name__icontains=self.wanted) if self.wanted else rows
        found = _in_time(named[: MAX_WEBHOOKS + 1])
        self.has_more = len(found) > MAX_WEBHOOKS
        chosen = _in_time(rows.filter(pk__in=self._keys())) if self._keys() else []
        choices = dict(chosen) | dict(found[:MAX_WEBHOOKS])
        return [(key, visible(name)) for key, name in choices.items()]

    def _keys(self) -> list[Any]:
        """Return the webhooks that were chosen, which are always among the choices; of what is no key none."""
        try:
            return [Webhook._meta.pk.to_python(value) for value in self.lookup_val or []]
        except ValidationError:
            return []

    @property
    def is_searched(self) -> bool:
        """Whether the names can be searched: where there are many, or a search is on."""
        return self.has_more or bool(self.wanted)

    @property
    def field_name(self) -> str:
        """The name of the search's field."""
        return FIND_WEBHOOK

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield what else the address says, for the form that searches."""
        for name, values in self._request.GET.lists():
            if name not in (FIND_WEBHOOK, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    def has_output(self) -> bool:
        """Say whether there is a choice, or one was made: a filter without output does not filter either."""
        return super().has_output() or bool(self.lookup_val) or bool(self.wanted)


class WebhookFilter(ColumnFilter, NamedWebhookFilter):
    """By webhook, through the list's index."""

    column = "webhook_id"

    def chosen(self) -> list[Any]:
        """Return the keys that were chosen. Raises `IncorrectLookupParameters` for what is none."""
        try:
            return [Webhook._meta.pk.to_python(value) for value in self.lookup_val or []]
        except ValidationError as error:
            raise IncorrectLookupParameters(error) from error

    def facet_values(self) -> dict[str, Any]:
        """Return the webhooks' keys."""
        return {f"{key}__c": key for key, _name in self.lookup_choices}


class PeriodFilter(admin.DateFieldListFilter):
    """By date: some periods to choose, and any other by its two ends. Found through the keys (biglist.date_ranges)."""

    template = "admin/nateq_webhooks/period_filter.html"
    date_params: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.period = Period(self._moment(self.lookup_kwarg_since), self._moment(self.lookup_kwarg_until))

    def _moment(self, parameter: str) -> datetime | None:
        """Return the moment that a parameter names, in the user's time zone when it names none."""
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
    def _ends(self) -> Ends | None:
        return ends_of(self._table)

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
        return rows if self._ends is None or self._ends.are_near else rows.filter(self._wide)

    @cached_property
    def _wide(self) -> Q:
        return self._by_keys([self.period], SLACK)[0]

    def _by_keys(self, periods: Sequence[Period], slack: timedelta) -> list[Q]:
        if self._ends is None:
            return [Q()] * len(periods)
        return by_keys(periods, self.field.model, self._table.db, self.field.name, self._ends, slack)

    def roughly(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the period by their keys alone: a count does not look up the time of each."""
        return queryset.filter(self._narrow)

    @cached_property
    def _narrow(self) -> Q:
        return self.conditions([self.period])[0]

    def conditions(self, periods: Sequence[Period]) -> list[Q]:
        """Return the condition for each period: by key, or by time while there are few rows."""
        if self._ends is None or self._ends.are_near:
            return [period.exactly(self.field.name) for period in periods]
        return self._by_keys(periods, timedelta(0))

    def facet_periods(self) -> dict[str, Period]:
        """Return the period of each choice, by the name that Django's filter has for its count."""
        links: Any = self.links
        return {
            f"{place}__c": Period(values.get(self.lookup_kwarg_since), values.get(self.lookup_kwarg_until))
            for place, (_label, values) in enumerate(links)
        }

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_period(self)
        return counts

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield what else is filtered by, for the form that asks for the two ends."""
        for name, values in self.request.GET.lists():
            if name not in (self.lookup_kwarg_since, self.lookup_kwarg_until, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    def day(self, moment: datetime | None) -> str:
        """Return the day of a moment, as a date input wants it."""
        return timezone.localtime(moment).date().isoformat() if moment else ""

    @property
    def since_day(self) -> str:
        """The first day chosen."""
        return self.day(self.period.since)

    @property
    def until_day(self) -> str:
        """The day before which it ends."""
        return self.day(self.period.until)
