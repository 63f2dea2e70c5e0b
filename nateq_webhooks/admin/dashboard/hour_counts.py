"""Deliveries by webhook, status and hour: hours that are over as they were stored once, the rest counted now.

Each statement reads a limited number of rows. If there are too many, the newest hours are counted, and the result says
from when on.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import DatabaseError, connections, router
from django.db.models import QuerySet

from nateq_webhooks.admin.permissions import is_narrowed
from nateq_webhooks.database.keyset.skip_scan import MAX_COMBINATIONS, Combinations, SkipScan
from nateq_webhooks.dispatch.selection_queries import COLUMNS
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.hourly_count import (
    HourlyCount,
    HourRange,
    StatusCount,
    WebhookHour,
    count,
    key_ranges,
    last_hours,
    newest_within,
    store,
    stored_hours,
)

MAX_KEYS: Final = 100_000
"""Keys whose deliveries a page counts: of hours that are not over, and of those that are not stored yet."""

MAX_KEYS_OF_AN_HOUR: Final = 500_000
"""The same for a single hour that has more than `MAX_KEYS`; one with more still is left to a worker."""

MAX_UNSETTLED: Final = 300_000
"""Deliveries of the stored hours that are counted by their status now: unfinished and failed ones."""

MAX_VISIBLE: Final = 20_000
"""Keys that are looked through for a user who does not see every row."""

_PROCESSED: Final = Delivery.Status.PROCESSED.value
_IGNORED: Final = Delivery.Status.IGNORED.value
_INVALID: Final = Delivery.Status.INVALID.value


@dataclass(frozen=True, kw_only=True, slots=True)
class HourCounts:
    """The counts of consecutive hours, the last one being the current one."""

    hours: Sequence[HourRange]
    counts: Sequence[StatusCount]
    since: datetime | None = None
    "If not None, only deliveries that came later are counted."
    is_unfinished: bool = False
    "Whether the older hours will be counted by a later request, or by a worker."


def read_hour_counts(
    rows: QuerySet[Delivery], now: datetime, combinations: Combinations | None, webhook_id: uuid.UUID | None = None
) -> HourCounts:
    """Count the rows that the user may see, of all webhooks or of one: then those of the others are not complete.

    `combinations` are those of status, event and webhook, if they are few.
    """
    alias, hours = rows.db, last_hours(now)
    stored = stored_hours(alias, hours)
    ranges = key_ranges(alias, hours, stored)
    if not ranges:
        return HourCounts(hours=[HourRange(hour, 0, 0) for hour in hours], counts=())
    if is_narrowed(rows):
        return _count_newest(rows, ranges, MAX_VISIBLE)
    unknown = [hour for hour in ranges if hour.start not in stored]
    if webhook_id is not None and combinations is not None:
        own = combinations.only({COLUMNS[-1]: [webhook_id]})
        counted_by_index = _count_by_index(rows, unknown, own, MAX_KEYS)
        if counted_by_index is not None:
            return _with_stored(rows, ranges, stored, unknown, counted_by_index, own)
    running = [hour for hour in unknown if not hour.is_over(now)]
    if sum(hour.width for hour in running) > MAX_KEYS:
        return _count_newest(rows, ranges, MAX_KEYS)
    over = [hour for hour in unknown if hour.is_over(now)]
    missing = newest_within(over, MAX_KEYS) or newest_within(over[-1:], MAX_KEYS_OF_AN_HOUR)
    counted = _count_all(rows, [*missing, *running], combinations)
    _store(alias, missing, counted)
    return _with_stored(rows, ranges, stored, [*missing, *running], counted, combinations)


def _with_stored(
    rows: QuerySet[Delivery],
    ranges: Sequence[HourRange],
    stored: Mapping[datetime, HourlyCount],
    just_counted: Sequence[HourRange],
    counts: Sequence[StatusCount],
    combinations: Combinations | None,
) -> HourCounts:
    """Return the counts of some hours together with those of the stored ones."""
    known = [row.keys for row in stored.values()]
    unsettled = _count_unsettled(rows, known, combinations)
    are_too_many = unsettled is None
    if unsettled is None:
        known = newest_within(known, MAX_UNSETTLED)
        unsettled = count(rows.filter(status__in=Delivery.UNSETTLED), known)
    found = _consecutive(ranges, {hour.start for hour in [*just_counted, *known]})
    starts = {hour.start for hour in found}
    return HourCounts(
        hours=found,
        counts=[each for each in [*counts, *_of_stored(stored, unsettled)] if each.start in starts],
        since=found[0].start if len(found) < len(ranges) else None,
        is_unfinished=not are_too_many,
    )


def _consecutive(ranges: Sequence[HourRange], counted: set[datetime]) -> list[HourRange]:
    """Return the hours up to now that are all counted."""
    found: list[HourRange] = []
    for hour in reversed(ranges):
        if hour.start not in counted:
            break
        found.insert(0, hour)
    return found


def _count_newest(rows: QuerySet[Delivery], ranges: Sequence[HourRange], most: int) -> HourCounts:
    """Count the deliveries with the newest keys; of the first hour only a part."""
    first = ranges[-1].high - most
    low = max(first, ranges[0].low)
    found = [HourRange(hour.start, max(hour.low, low), hour.high) for hour in ranges if hour.high > low]
    found = found or [ranges[-1]]
    since = None
    if first > ranges[0].low:
        older = Delivery.objects.using(rows.db).filter(pk__lt=low).order_by("-pk")
        since = older.values_list("received_at", flat=True).first()
    return HourCounts(hours=found if since else ranges, counts=count(rows, found), since=since)


def _store(alias: str, hours: Sequence[HourRange], counts: Iterable[StatusCount]) -> None:
    """Store hours, if the page reads the database that is written to: a replica may lag behind."""
    if not hours or router.db_for_write(HourlyCount) != alias:
        return
    try:
        store(alias, hours, counts)
    except DatabaseError:
        return  # a database that can only be read: the page counts again each time


def _count_all(
    rows: QuerySet[Delivery], hours: Sequence[HourRange], combinations: Combinations | None
) -> Sequence[StatusCount]:
    """Count the deliveries of hours that are not over, and of those that are not stored yet."""
    if connections[rows.db].vendor == "postgresql":
        return count(rows, hours)  # it would look at each new row all the same, to see whether it is visible
    found = _count_by_index(rows, hours, combinations, MAX_KEYS + MAX_KEYS_OF_AN_HOUR + 1)
    return count(rows, hours) if found is None else found


def _count_unsettled(
    rows: QuerySet[Delivery], hours: Sequence[HourRange], combinations: Combinations | None
) -> Sequence[StatusCount] | None:
    """Count by their current status the deliveries that receivers may still change; None if there are too many."""
    unsettled = combinations and combinations.only({"status": list(Delivery.UNSETTLED)})
    found = _count_by_index(rows, hours, unsettled, MAX_UNSETTLED)
    if found is None and sum(hour.width for hour in hours) <= MAX_UNSETTLED:
        return count(rows.filter(status__in=Delivery.UNSETTLED), hours)
    return found


def _count_by_index(
    rows: QuerySet[Delivery], hours: Sequence[HourRange], combinations: Combinations | None, limit: int
) -> Sequence[StatusCount] | None:
    """Count the deliveries of some combinations without reading their rows.

    None if looking up each combination would take longer than reading each row, or if there are `limit` or more.
    """
    hours = sorted(hours, key=lambda hour: hour.start)
    if not hours:
        return ()
    width = sum(hour.width for hour in hours)
    if combinations is None or len(combinations.tails or ()) > MAX_COMBINATIONS or len(combinations) > width:
        return None
    within = rows.filter(pk__gte=hours[0].low, pk__lt=hours[-1].high)
    statement = SkipScan(within, combinations).rows(("webhook_id", "status", "id"), limit)
    if statement is None:
        return ()
    places = dict[int, int]()
    for number, hour in enumerate(hours):
        places[hour.low] = number
        places[hour.high] = -1  # unless the next hour follows at once
    place = " ".join(f"WHEN id >= {low:d} THEN {number:d}" for low, number in reversed(places.items()))
    sql = (
        f"SELECT webhook_id, status, CASE {place} END, COUNT(*), MIN(id), MAX(id) "  # noqa: S608 - numbers only
        f"FROM ({statement[0]}) AS found GROUP BY 1, 2, 3"
    )
    with connections[rows.db].cursor() as cursor:
        cursor.execute(sql, statement[1])
        grouped = cursor.fetchall()
    if sum(row[3] for row in grouped) >= limit:
        return None
    return [
        StatusCount(_as_uuid(webhook_id), status, hours[place].start, *numbers)
        for webhook_id, status, place, *numbers in grouped
        if place >= 0
    ]


def _as_uuid(value: uuid.UUID | str) -> uuid.UUID:
    return value if isinstance(value, uuid.UUID) else uuid.UUID(value)


def _of_stored(stored: Mapping[datetime, HourlyCount], unsettled: Iterable[StatusCount]) -> Iterator[StatusCount]:
    """Yield the counts of the stored hours: what is neither ignored, invalid nor unsettled now is processed."""
    unsettled_of: dict[tuple[datetime, uuid.UUID], list[StatusCount]] = {}
    for each in unsettled:
        unsettled_of.setdefault((each.start, each.webhook_id), []).append(each)
    webhook_ids: dict[str, uuid.UUID] = {}
    for start, row in stored.items():
        for key, numbers in row.numbers.items():
            webhook_id = webhook_ids.get(key) or webhook_ids.setdefault(key, uuid.UUID(key))
            hour = WebhookHour(*numbers)
            now = unsettled_of.get((start, webhook_id), ())
            yield from now
            settled = {_IGNORED: hour.ignored, _INVALID: hour.invalid}
            settled[_PROCESSED] = hour.total - sum(settled.values()) - sum(each.number for each in now)
            for status, number in settled.items():
                if number > 0:
                    yield StatusCount(webhook_id, status, start, number, hour.first, hour.last)
