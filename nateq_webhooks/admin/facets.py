"""The counts beside a filter's choices, each up to a limit: never a count over the whole table."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from nateq_webhooks.admin.bounds import Period
from nateq_webhooks.admin.combinations import Combined
from nateq_webhooks.admin.counting import LIMIT, Count, Kind, capped
from nateq_webhooks.admin.filters import ColumnFilter, PeriodFilter
from nateq_webhooks.admin.rows import Merged, counted_together

if TYPE_CHECKING:
    from nateq_webhooks.admin.record_list import RecordList


class Facets:
    """Counts for the choices of each filter, with the other filters and the search applied."""

    def __init__(self, listing: "RecordList") -> None:
        self._listing = listing
        self._samples: dict[object, list[dict[str, Any]]] = {}

    def by_value(self, spec: ColumnFilter) -> dict[str, Count]:
        """Return the count of each of a column's values."""
        values = spec.facet_values()
        rows = self._listing.find(without=spec, roughly=True)
        if not isinstance(rows, Combined):
            sample = self._sample(spec, chosen=bool(spec.chosen()))
            return self._in_sample(sample, {key: lambda row, v=v: row[spec.column] == v for key, v in values.items()})
        counts = counted_together(
            [rows.only({spec.column: [value]}) for value in values.values()], LIMIT + 1, self._listing.alias
        )
        return {key: capped(number) for key, number in zip(values, counts, strict=True)}

    def by_period(self, spec: PeriodFilter) -> dict[str, Count]:
        """Return the count of each period."""
        periods = spec.facet_periods()
        rows = self._listing.find(without=spec, roughly=True)
        if self._listing.is_narrow or not isinstance(rows, Combined | Merged):
            sample = self._sample(spec, chosen=spec.period != Period(None, None))
            name = spec.field.name
            return self._in_sample(
                sample, {key: lambda row, p=period: _is_in(p, row[name]) for key, period in periods.items()}
            )
        conditions = spec.conditions(list(periods.values()))
        several = [_filtered(rows, condition) for condition in conditions]
        counts = counted_together(several, LIMIT + 1, self._listing.alias)
        return {key: capped(number) for key, number in zip(periods, counts, strict=True)}

    def _sample(self, spec: object, *, chosen: bool) -> list[dict[str, Any]]:
        """Return the columns of the newest rows, without one filter; the same for all filters that choose nothing."""
        key = spec if chosen else None
        if key not in self._samples:
            pks = self._listing.find(without=spec, roughly=True).pks(LIMIT + 1, descending=True)
            rows = self._listing.root_queryset.order_by().filter(pk__in=pks)
            self._samples[key] = list(rows.values(*self._listing.model_admin.facet_columns)) if pks else []
        return self._samples[key]

    def _in_sample(self, sample: Sequence[dict[str, Any]], conditions: Mapping[str, Any]) -> dict[str, Count]:
        kind = Kind.AT_LEAST if len(sample) > LIMIT else Kind.EXACT
        return {key: Count(sum(map(holds, sample)), kind) for key, holds in conditions.items()}


def _filtered(rows: Combined | Merged, condition: Any) -> Combined | Merged:
    if isinstance(rows, Combined):
        return Combined(rows.queryset.filter(condition), rows.columns, rows.present)
    return Merged([branch.filter(condition) for branch in rows.branches])


def _is_in(period: Period, moment: datetime) -> bool:
    return (period.since is None or period.since <= moment) and (period.until is None or moment < period.until)
