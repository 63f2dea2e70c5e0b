"""The filter by date: periods that move with the time, and any other by its two ends."""
# ruff: noqa: ARG002 - the signatures are Django's

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import DateTimeField, Q, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from nateq_webhooks.admin import formatting
from nateq_webhooks.database.keyset.date_ranges import (
    EARLIEST,
    LATEST,
    SLACK,
    KeyRange,
    Period,
    key_conditions,
    key_range_of,
)

TODAY: Final = "today"
"""The value of a parameter for the beginning of the day."""

_AGO: Final = re.compile(r"-(\d{1,4})([mhd])")
"""The value of a parameter for so many minutes, hours or days ago."""

_CLOCK: Final = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)")
"""The value of a parameter for the last time that the clock showed this."""

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def moment_of(text: str, now: datetime) -> datetime | None:
    """Return the time that a parameter means relative to `now`; None if it is not a relative time.

    An address with one can be bookmarked: it means the last hour whenever it is opened.
    """
    local = timezone.localtime(now)
    if text == TODAY:
        return local.replace(hour=0, minute=0, second=0, microsecond=0)
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    if clock := _CLOCK.fullmatch(text):
        moment = local.replace(hour=int(clock[1]), minute=int(clock[2]), second=0, microsecond=0)
        return moment if moment <= local else moment - timedelta(days=1)
    return None


def absolute(text: str) -> str:
    """Return the value of a parameter with a relative time as the time that it means now; others as they are."""
    moment = moment_of(text, timezone.now())
    return text if moment is None else moment.isoformat()


class PeriodFilter(admin.DateFieldListFilter):
    """A filter by date. Rows are found by key (date_ranges)."""

    template = "admin/nateq_webhooks/period_filter.html"
    date_params: dict[str, str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.links: Any
        any_date, _today, _week, *further = self.links
        since = self.lookup_kwarg_since
        self.links = (
            any_date,
            (gettext_lazy("Last 15 minutes"), {since: "-15m"}),
            (gettext_lazy("Last hour"), {since: "-1h"}),
            (gettext_lazy("Today"), {since: TODAY}),
            (gettext_lazy("Last 7 days"), {since: "-7d"}),
            *further,
        )
        self.period = Period(self._moment(self.lookup_kwarg_since), self._moment(self.lookup_kwarg_until))

    def _moment(self, parameter: str) -> datetime | None:
        """Return the time of a parameter, in the user's time zone if it names none."""
        text = self.date_params.get(parameter, "")
        if not text:
            return None
        return moment_of(text, timezone.now()) or self._absolute(text)

    def _absolute(self, text: str) -> datetime:
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
        return {
            f"{index}__c": Period(*(_resolved(values.get(name)) for name in self.expected_parameters()))
            for index, (_label, values) in enumerate(self.links)
        }

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """Return the counts; Django would count the whole table."""
        counts: dict[str, Any] = changelist.facets.by_period(self)
        return counts

    def selected_labels(self) -> list[str]:
        """Return the selected period in words."""
        chosen = [str(label) for label, values in self.links if values and self._values(values) == self.date_params]
        if chosen or self.period == Period(None, None):
            return chosen
        texts = {"since": self.period.since, "until": self.period.until}
        shown = {name: formatting.moment_text(moment) if moment else "" for name, moment in texts.items()}
        if self.period.until is None:
            return [_("since %(since)s") % shown]
        return [(_("%(since)s to %(until)s") if self.period.since else _("before %(until)s")) % shown]

    @staticmethod
    def _values(values: dict[str, Any]) -> dict[str, str]:
        return {name: str(value) for name, value in values.items()}

    def other_parameters(self) -> Iterator[tuple[str, str]]:
        """Yield the other parameters of the address, for the form with the two ends."""
        for name, values in self.request.GET.lists():
            if name not in (self.lookup_kwarg_since, self.lookup_kwarg_until, "cursor", "p", "e"):
                yield from ((name, value) for value in values)

    @property
    def since_input(self) -> str:
        """The beginning of the selected period in the format of an input for a date and a time."""
        return _input_value(self.period.since)

    @property
    def until_input(self) -> str:
        """The end of the selected period in the same format."""
        return _input_value(self.period.until)


def _resolved(value: datetime | str | None) -> datetime | None:
    """Return the time of a choice of the filter."""
    return moment_of(value, timezone.now()) if isinstance(value, str) else value


def _input_value(moment: datetime | None) -> str:
    return f"{timezone.localtime(moment):%Y-%m-%dT%H:%M}" if moment else ""
