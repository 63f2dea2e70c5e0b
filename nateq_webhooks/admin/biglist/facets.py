"""The counts beside a filter's choices, each up to a limit: never a count over the whole table."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.utils.functional import cached_property

from nateq_webhooks.admin.biglist.counts import LIMIT, Count, Kind, capped
from nateq_webhooks.admin.biglist.date_ranges import Period
from nateq_webhooks.admin.biglist.filters import ColumnFilter, PeriodFilter
from nateq_webhooks.admin.biglist.key_queries import Merged, Rows, counted_together
from nateq_webhooks.admin.biglist.skip_scan import Combined
from nateq_webhooks.admin.biglist.time_limit import TookTooLongError

SAMPLE: Final = 2_500
"""Rows of a search that are looked at to count beside the filters: they may be far apart on the disk."""

if TYPE_CHECKING:
    from nateq_webhooks.admin.biglist.changelist import RecordList


class Facets:
    """Counts for the choices of each filter, with the other filters and the search applied."""

    def __init__(self, listing: "RecordList") -> None:
        self._listing = listing

    def by_value(self, spec: ColumnFilter) -> dict[str, Count]:
        """Return the count of each of a column's values."""
        return self._in_time(spec.facet_values(), lambda: self._by_value(spec))

    def by_period(self, spec: PeriodFilter) -> dict[str, Count]:
        """Return the count of each period."""
        return self._in_time(spec.facet_periods(), lambda: self._by_period(spec))

    def _in_time(self, names: Iterable[str], count: Callable[[], dict[str, Count]]) -> dict[str, Count]:
        """Count; unknown is what takes too long."""
        try:
            with self._listing.limited():
                return count()
        except TookTooLongError:
            return dict.fromkeys(names, Count(0, Kind.UNKNOWN))

    def _by_value(self, spec: ColumnFilter) -> dict[str, Count]:
        values = spec.facet_values()
        if self._listing.is_narrow:
            return self._in_sample(spec, {key: Choice(spec.column, (value,)) for key, value in values.items()})
        rows = self._listing.find(without=spec, roughly=True)
        if not isinstance(rows, Combined):  # more combinations than can be looked at
            return dict.fromkeys(values, Count(0, Kind.UNKNOWN))
        counts = counted_together(
            [rows.only({spec.column: [value]}) for value in values.values()], LIMIT + 1, self._listing.alias
        )
        return {key: capped(number) for key, number in zip(values, counts, strict=True)}

    def _by_period(self, spec: PeriodFilter) -> dict[str, Count]:
        periods = spec.facet_periods()
        if self._listing.is_narrow:
            return self._in_sample(spec, {key: Within(spec.field.name, period) for key, period in periods.items()})
        rows = self._listing.find(without=spec, roughly=True)
        several = [_filtered(rows, condition) for condition in spec.conditions(list(periods.values()))]
        counts = counted_together(several, LIMIT + 1, self._listing.alias)
        return {key: capped(number) for key, number in zip(periods, counts, strict=True)}

    @cached_property
    def _sample(self) -> list[dict[str, Any]]:
        """The columns of the newest rows that the search leads to, whatever the filters say."""
        pks = self._listing.find_narrow().pks(SAMPLE + 1, descending=True)
        rows = self._listing.root_queryset.order_by().filter(pk__in=pks)
        return list(rows.values(*self._listing.model_admin.facet_columns)) if pks else []

    def _in_sample(self, without: object, choices: "Mapping[str, Choice | Within]") -> dict[str, Count]:
        """Count within the sample what each choice would leave, the other filters applied."""
        others = [_choice_of(spec) for spec in self._listing.filter_specs if spec is not without]
        sample = [row for row in self._sample if all(other.holds(row) for other in others if other is not None)]
        kind = Kind.AT_LEAST if len(self._sample) > SAMPLE else Kind.EXACT
        return {key: Count(sum(map(choice.holds, sample)), kind) for key, choice in choices.items()}


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter by values, as it applies to a row that was read."""

    column: str
    values: Sequence[Any]

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Say whether the row has one of the values."""
        return row[self.column] in self.values


@dataclass(frozen=True, slots=True)
class Within:
    """A filter by a period, as it applies to a row that was read."""

    column: str
    period: Period

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Say whether the row is in the period."""
        since, until, moment = self.period.since, self.period.until, row[self.column]
        return (since is None or since <= moment) and (until is None or moment < until)


def _choice_of(spec: object) -> Choice | Within | None:
    """Return what a filter does to a row; None when it lets all pass."""
    if isinstance(spec, PeriodFilter):
        return Within(spec.field.name, spec.period)
    if isinstance(spec, ColumnFilter) and spec.chosen():
        return Choice(spec.column, spec.chosen())
    return None


def _filtered(rows: Rows, condition: Any) -> Rows:
    if isinstance(rows, Combined):
        return Combined(rows.queryset.filter(condition), rows.columns, rows.present)
    if isinstance(rows, Merged):
        return Merged([branch.filter(condition) for branch in rows.branches])
    raise TypeError(rows)
