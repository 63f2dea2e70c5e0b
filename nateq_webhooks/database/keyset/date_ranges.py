"""Date ranges as key ranges: keys ascend with the time of receipt.

So no index on the time is needed, which each insert would maintain: a binary search finds the key, in about 25 steps
for ten million rows. Concurrent requests and clock skew put adjacent rows slightly out of order; `SLACK` covers that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connections
from django.db.models import Max, Min, Model, Q, QuerySet

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The range of valid times: databases refuse the extreme ones."""

SLACK: Final = timedelta(minutes=1)
"""How far the times of adjacent rows may be out of order."""

PARTS: Final = 16
"""Parts that a range of keys is divided into where each step of the search takes a statement."""

MAX_SMALL: Final = 10_000
"""Up to so many keys the time of each row is compared, whatever their order."""


@dataclass(frozen=True, slots=True)
class KeyRange:
    """The lowest and the highest key of a table."""

    lowest: int
    highest: int

    @property
    def is_small(self) -> bool:
        """Whether the table is small."""
        return self.highest - self.lowest < MAX_SMALL


def key_range_of(rows: QuerySet[Any]) -> KeyRange | None:
    """Return the lowest and the highest key; None if there are no rows."""
    found = rows.order_by().aggregate(lowest=Min("pk"), highest=Max("pk"))
    return None if found["lowest"] is None else KeyRange(found["lowest"], found["highest"])


def first_keys(
    model: type[Model], alias: str, column: str, moments: Sequence[datetime], key_range: KeyRange
) -> list[int]:
    """Return for each time the first key whose row is not older; one above the highest key if all are older."""
    connection = connections[alias]
    values = [connection.ops.adapt_datetimefield_value(moment) for moment in moments]
    if connection.vendor == "mysql":
        return _search_by_parts(model, alias, column, values, key_range)
    quote = connection.ops.quote_name
    at = (
        f"(SELECT r.{quote(column)} FROM {quote(model._meta.db_table)} r "  # noqa: S608 - the names are of the package's own columns
        "WHERE r.id >= (low + high) >> 1 ORDER BY r.id LIMIT 1) < %s"
    )
    searches = ", ".join(
        f"search_{number} (low, high) AS (SELECT {key_range.lowest:d}, {key_range.highest + 1:d} UNION ALL "  # noqa: S608
        f"SELECT CASE WHEN {at} THEN ((low + high) >> 1) + 1 ELSE low END, "
        f"CASE WHEN {at} THEN high ELSE (low + high) >> 1 END FROM search_{number} WHERE low < high)"
        for number in range(len(values))
    )
    results = ", ".join(f"(SELECT low FROM search_{number} WHERE low >= high)" for number in range(len(values)))  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"WITH RECURSIVE {searches} SELECT {results}", [value for value in values for _ in range(2)])
        return list(cursor.fetchone())


def _search_by_parts(
    model: type[Model], alias: str, column: str, values: Sequence[Any], key_range: KeyRange
) -> list[int]:
    """Search with constant bounds, because MariaDB does not use values of a recursive query for an index range.

    Each statement divides the range by `PARTS`: six statements for ten million rows.
    """
    connection = connections[alias]
    quote = connection.ops.quote_name
    at = f"(SELECT {quote(column)} FROM {quote(model._meta.db_table)} WHERE id >= %s ORDER BY id LIMIT 1) < %s"  # noqa: S608
    ranges = [(key_range.lowest, key_range.highest + 1)] * len(values)
    with connection.cursor() as cursor:
        while any(low < high for low, high in ranges):
            probes = [(number, point) for number, (low, high) in enumerate(ranges) for point in _points(low, high)]
            parameters = [parameter for number, point in probes for parameter in (point, values[number])]
            cursor.execute(f"SELECT {', '.join([at] * len(probes))}", parameters)
            for (number, point), is_older in zip(probes, cursor.fetchone(), strict=True):
                low, high = ranges[number]
                ranges[number] = (max(low, point + 1), high) if is_older else (low, min(high, point))
    return [low for low, _high in ranges]


def _points(low: int, high: int) -> list[int]:
    """Return the keys to probe, including the last one: many periods end in the future."""
    if low >= high:
        return []
    return sorted({low + (high - low) * part // PARTS for part in range(PARTS)} | {high - 1})


@dataclass(frozen=True, slots=True)
class Period:
    """A half-open range of time; None is unbounded."""

    since: datetime | None
    until: datetime | None

    def exactly(self, column: str) -> Q:
        """Return the condition on the time."""
        condition = Q()
        if self.since is not None:
            condition &= Q(**{f"{column}__gte": self.since})
        if self.until is not None:
            condition &= Q(**{f"{column}__lt": self.until})
        return condition


def key_conditions(
    periods: Sequence[Period], model: type[Model], alias: str, column: str, key_range: KeyRange, slack: timedelta
) -> list[Q]:
    """Return for each period the condition on the key, with slack on both sides."""
    moments = [
        moment
        for period in periods
        for moment in (period.since and period.since - slack, period.until and period.until + slack)
        if moment is not None
    ]
    keys = iter(first_keys(model, alias, column, moments, key_range) if moments else ())
    conditions = []
    for period in periods:
        condition = Q()
        if period.since is not None:
            condition &= Q(pk__gte=next(keys))
        if period.until is not None:
            condition &= Q(pk__lt=next(keys))
        conditions.append(condition)
    return conditions
