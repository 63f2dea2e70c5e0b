"""Date ranges as key ranges: keys ascend with the time of receipt.

So no index on the time is needed, which each insert would maintain: a binary search finds the key, in about 25 steps
for ten million rows. Concurrent requests and clock skew put adjacent rows slightly out of order; `SLACK` covers that.
"""

from collections.abc import Iterable, Sequence
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
    if connection.vendor == "mysql":
        return _search_by_parts(model, alias, column, moments, key_range)
    values = [connection.ops.adapt_datetimefield_value(moment) for moment in moments]
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


_Keys = tuple[int, int]
"""A range of keys: from the first on, below the second."""

_Sample = tuple[int, datetime]
"""A key, and the time of the first row from it on."""


def _search_by_parts(
    model: type[Model], alias: str, column: str, moments: Sequence[datetime], key_range: KeyRange
) -> list[int]:
    """Search with constant keys, because MariaDB does not use values of a recursive query for an index range.

    Each statement reads the rows at some keys, and divides the ranges of all times by `PARTS`: six statements for ten
    million rows. In ranges where none of these keys has a row, the next ones are looked for.
    """
    manager: Any = model._meta.default_manager
    rows: QuerySet[Any, _Sample] = manager.using(alias).order_by("pk").values_list("pk", column)
    ranges = [(key_range.lowest, key_range.highest + 1)] * len(moments)
    while unfinished := {keys for keys in ranges if keys[0] < keys[1]}:
        samples = _samples(rows, unfinished, key_range.highest)
        ranges = [
            _narrowed(keys, samples[keys], moment) if keys in unfinished else keys
            for keys, moment in zip(ranges, moments, strict=True)
        ]
    return [low for low, _high in ranges]


def _samples(rows: QuerySet[Any, _Sample], ranges: Iterable[_Keys], highest: int) -> dict[_Keys, list[_Sample]]:
    """Return some samples of each range; at least one. The highest key is one: many periods end in the future."""
    found = list(rows.filter(pk__in={highest, *(point for keys in ranges for point in _points(*keys))}))
    samples = {(low, high): [row for row in found if low <= row[0] < high] for low, high in ranges}
    without = [keys for keys, its in samples.items() if not its]
    if without:
        wide = [(low, high) for low, high in without if high - low > PARTS]  # of the others each key was read
        samples |= {(low, high): [(low, LATEST)] for low, high in without} | _next_rows(rows, wide)
    return samples


def _next_rows(rows: QuerySet[Any, _Sample], ranges: Sequence[_Keys]) -> dict[_Keys, list[_Sample]]:
    """Return for each range the first row, and the first one of its second half."""
    if not ranges:
        return {}
    connection = connections[rows.db]
    table = connection.ops.quote_name(rows.model._meta.db_table)
    first = f"(SELECT MIN(id) FROM {table} WHERE id >= %s AND id < %s)"  # noqa: S608 - the name is our own table's
    starts = [(start, high) for low, high in ranges for start in (low, (low + high) // 2)]
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join([first] * len(starts))}", [bound for keys in starts for bound in keys])
        pks = cursor.fetchone()
    moments = dict(rows.filter(pk__in={pk for pk in pks if pk is not None}))
    samples: dict[_Keys, list[_Sample]] = {keys: [] for keys in ranges}
    for (start, _high), pk, keys in zip(starts, pks, [keys for keys in ranges for _half in range(2)], strict=True):
        samples[keys].append((pk, moments[pk]) if pk in moments else (start, LATEST))
    return samples


def _narrowed(keys: _Keys, samples: Sequence[_Sample], moment: datetime) -> _Keys:
    """Return the part of a range in which the first key is whose row is not older than a time."""
    low = max((key + 1 for key, time in samples if time < moment), default=keys[0])
    high = min((key for key, time in samples if time >= moment and key >= low), default=keys[1])
    return low, high


def _points(low: int, high: int) -> set[int]:
    """Return the keys to look for: all, or some at equal distances."""
    return {low + (high - low) * part // PARTS for part in range(PARTS)}


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
