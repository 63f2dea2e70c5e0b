"""The counts beside the choices of a filter, each up to a limit: never a count over the whole table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

from django.utils.functional import cached_property

from nateq_webhooks.admin.changelists.counts import Count, Kind, capped
from nateq_webhooks.admin.changelists.filters import ColumnFilter
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.query import ListQuery
from nateq_webhooks.database.keyset.date_ranges import Period
from nateq_webhooks.database.keyset.key_queries import KeyQuery, count_each_up_to
from nateq_webhooks.database.keyset.skip_scan import SkipScan
from nateq_webhooks.database.keyset.time_limit import TookTooLongError

LIMIT: Final = 1_000
"""The highest exact count of a choice: there may be a hundred choices, and each is counted."""

SAMPLE: Final = 1_000
"""The newest rows of a search that are read for its counts: they may be far apart on the disk."""


@dataclass(frozen=True, slots=True)
class ValuesCondition:
    """A filter by values, applied to a row that was read."""

    column: str
    values: Sequence[Any]

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Return whether the row has one of the values."""
        return row[self.column] in self.values


@dataclass(frozen=True, slots=True)
class PeriodCondition:
    """A filter by a period, applied to a row that was read."""

    column: str
    period: Period

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Return whether the row is in the period."""
        since, until, moment = self.period.since, self.period.until, row[self.column]
        return (since is None or since <= moment) and (until is None or moment < until)


RowCondition = ValuesCondition | PeriodCondition


class Facets:
    """Counts for the choices of each filter, with the other filters and the search applied."""

    def __init__(self, query: ListQuery, time_limit: Callable[[], AbstractContextManager[None]]) -> None:
        self._query = query
        self._time_limit = time_limit

    def by_value(self, spec: ColumnFilter) -> dict[str, Count]:
        """Return the count of each value of a column."""
        return self._in_time(spec.facet_values(), lambda: self._by_value(spec))

    def by_period(self, spec: PeriodFilter) -> dict[str, Count]:
        """Return the count of each period."""
        return self._in_time(spec.facet_periods(), lambda: self._by_period(spec))

    def _in_time(self, names: Iterable[str], count: Callable[[], dict[str, Count]]) -> dict[str, Count]:
        """Count; all are unknown if that takes too long."""
        try:
            with self._time_limit():
                return count()
        except TookTooLongError:
            return dict.fromkeys(names, Count(0, Kind.UNKNOWN))

    def _by_value(self, spec: ColumnFilter) -> dict[str, Count]:
        values = spec.facet_values()
        if self._query.is_narrow:
            return self._in_sample(spec, {key: ValuesCondition(spec.column, (value,)) for key, value in values.items()})
        rows = self._query.key_query(without=spec, by_key=True)
        if not isinstance(rows, SkipScan):  # too many combinations
            return dict.fromkeys(values, Count(0, Kind.UNKNOWN))
        return self._counted({key: rows.only({spec.column: [value]}) for key, value in values.items()})

    def _by_period(self, spec: PeriodFilter) -> dict[str, Count]:
        periods = spec.facet_periods()
        if self._query.is_narrow:
            return self._in_sample(
                spec, {key: PeriodCondition(spec.field.name, period) for key, period in periods.items()}
            )
        rows = self._query.key_query(without=spec, by_key=True)
        conditions = spec.conditions(list(periods.values()))
        return self._counted({key: rows.filter(condition) for key, condition in zip(periods, conditions, strict=True)})

    def _counted(self, queries: Mapping[str, KeyQuery]) -> dict[str, Count]:
        counts = count_each_up_to(list(queries.values()), LIMIT + 1, self._query.rows.db)
        return {key: capped(number, LIMIT) for key, number in zip(queries, counts, strict=True)}

    @cached_property
    def _sample(self) -> list[dict[str, Any]]:
        """The filtered columns of the newest rows that the search leaves, without the filters."""
        pks = self._query.narrow_query().pks(SAMPLE + 1, descending=True)
        rows = self._query.rows.order_by().filter(pk__in=pks)
        return list(rows.values(*self._query.spec.facet_columns)) if pks else []

    def _in_sample(self, without: object, conditions: Mapping[str, RowCondition]) -> dict[str, Count]:
        """Count the rows of the sample that fulfil each condition, with the other filters applied."""
        others = [each for spec in self._query.filters if spec is not without and (each := _condition_of(spec))]
        sample = [row for row in self._sample if all(other.matches(row) for other in others)]
        kind = Kind.AT_LEAST if len(self._sample) > SAMPLE else Kind.EXACT
        return {key: Count(sum(map(each.matches, sample)), kind) for key, each in conditions.items()}


def _condition_of(spec: object) -> RowCondition | None:
    """Return the condition of a filter; None if it selects all rows."""
    if isinstance(spec, PeriodFilter):
        return PeriodCondition(spec.field.name, spec.period)
    if isinstance(spec, ColumnFilter) and spec.selected_values():
        return ValuesCondition(spec.column, spec.selected_values())
    return None
