"""From moments to keys: deliveries are numbered as they come, so a date range is a range of keys.

No index on the time is needed, which each insert would pay for: the key is found by halving, some 25 steps for ten
million rows. Processes and their clocks put neighbours out of order by a little; `SLACK` covers that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import connections
from django.db.models import Max, Min, Model, Q, QuerySet

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""The moments that are asked for; what lies beyond is no date of a delivery, and databases refuse the most extreme."""

SLACK: Final = timedelta(minutes=1)
"""How far a delivery's time may be from those of its neighbours: requests take a while, clocks differ."""

PARTS: Final = 16
"""Parts that a range of keys is cut in, where halving takes a statement each time."""

SMALL: Final = 10_000
"""Up to so many keys the times are compared one by one, and their order does not matter."""


@dataclass(frozen=True, slots=True)
class Ends:
    """The lowest and the highest key of a table."""

    lowest: int
    highest: int

    @property
    def are_near(self) -> bool:
        """Whether the table is small."""
        return self.highest - self.lowest < SMALL


def ends_of(rows: QuerySet[Any]) -> Ends | None:
    """Return the lowest and the highest key; None for an empty table."""
    found = rows.order_by().aggregate(lowest=Min("pk"), highest=Max("pk"))
    return None if found["lowest"] is None else Ends(found["lowest"], found["highest"])


def first_keys(model: type[Model], alias: str, column: str, moments: Sequence[datetime], ends: Ends) -> list[int]:
    """Return for each moment the key from which on rows are not older; one more than the highest when all are."""
    connection = connections[alias]
    values = [connection.ops.adapt_datetimefield_value(moment) for moment in moments]
    if connection.vendor == "mysql":
        return _narrowed(model, alias, column, values, ends)
    quote = connection.ops.quote_name
    at = (
        f"(SELECT r.{quote(column)} FROM {quote(model._meta.db_table)} r "  # noqa: S608 - names of our own only
        "WHERE r.id >= (low + high) >> 1 ORDER BY r.id LIMIT 1) < %s"
    )
    searches = ", ".join(
        f"search_{number} (low, high) AS (SELECT {ends.lowest:d}, {ends.highest + 1:d} UNION ALL "  # noqa: S608
        f"SELECT CASE WHEN {at} THEN ((low + high) >> 1) + 1 ELSE low END, "
        f"CASE WHEN {at} THEN high ELSE (low + high) >> 1 END FROM search_{number} WHERE low < high)"
        for number in range(len(values))
    )
    results = ", ".join(f"(SELECT low FROM search_{number} WHERE low >= high)" for number in range(len(values)))  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"WITH RECURSIVE {searches} SELECT {results}", [value for value in values for _ in range(2)])
        return list(cursor.fetchone())


def _narrowed(model: type[Model], alias: str, column: str, values: Sequence[Any], ends: Ends) -> list[int]:
    """Find the same by statements with plain bounds: MariaDB takes none from a recursive query for its ranges.

    Each statement leaves a `PARTS`th of the keys: six of them for ten million rows.
    """
    connection = connections[alias]
    quote = connection.ops.quote_name
    at = f"(SELECT {quote(column)} FROM {quote(model._meta.db_table)} WHERE id >= %s ORDER BY id LIMIT 1) < %s"  # noqa: S608
    ranges = [(ends.lowest, ends.highest + 1)] * len(values)
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
    """Return the keys to look at, the last one among them: many a period ends in the future."""
    if low >= high:
        return []
    return sorted({low + (high - low) * part // PARTS for part in range(PARTS)} | {high - 1})


@dataclass(frozen=True, slots=True)
class Period:
    """A range of time, its end not included; open where there is None."""

    since: datetime | None
    until: datetime | None

    def exactly(self, column: str) -> Q:
        """Return the condition on the time itself."""
        condition = Q()
        if self.since is not None:
            condition &= Q(**{f"{column}__gte": self.since})
        if self.until is not None:
            condition &= Q(**{f"{column}__lt": self.until})
        return condition


def by_keys(
    periods: Sequence[Period], model: type[Model], alias: str, column: str, ends: Ends, slack: timedelta
) -> list[Q]:
    """Return for each period the condition on the key that holds it, with some slack on both sides."""
    moments = [
        moment
        for period in periods
        for moment in (period.since and period.since - slack, period.until and period.until + slack)
        if moment is not None
    ]
    keys = iter(first_keys(model, alias, column, moments, ends) if moments else ())
    conditions = []
    for period in periods:
        condition = Q()
        if period.since is not None:
            condition &= Q(pk__gte=next(keys))
        if period.until is not None:
            condition &= Q(pk__lt=next(keys))
        conditions.append(condition)
    return conditions
