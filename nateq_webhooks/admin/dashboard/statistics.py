"""The figures of webhooks: how many deliveries came in each hour, what became of them, the newest one, how fast.

A table of ten million rows is never counted. Each number is exact for what the page says it is about: hours that are
over are stored (`models/hourly_count.py`), and the newest delivery of each webhook is looked up in an index.
"""

import itertools
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from django.db.models import QuerySet
from django.utils import timezone

from nateq_webhooks.admin.dashboard.health import Health, Hour
from nateq_webhooks.admin.dashboard.hour_counts import MAX_VISIBLE, HourCounts, read_hour_counts
from nateq_webhooks.admin.dashboard.processing_times import ProcessingTimes, grouped, processing_times, spans_of
from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope, is_narrowed
from nateq_webhooks.database.keyset.date_ranges import KeyRange, first_keys
from nateq_webhooks.database.keyset.newest import NewestOfEach
from nateq_webhooks.database.keyset.skip_scan import Combinations, read_combinations
from nateq_webhooks.dispatch.selection_queries import COLUMNS
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hourly_count import HOURS

MAX_TIMED: Final = 300
"""The newest processed deliveries from which the processing times of one webhook, or of all together, are computed."""

MAX_TIMED_EACH: Final = 30
"""The same where many webhooks are shown."""

MAX_WEBHOOKS: Final = 50
"""Webhooks whose figures are read if none are named."""

MIN_PACED: Final = 5
"""The number of deliveries from which a pace can be computed."""

MIN_PERIOD: Final = timedelta(hours=6)
"""The time over which they must have come: a burst has no pace."""

MAX_PACED: Final = 10_000
"""Deliveries that are counted at most for the pace of a webhook that got few or none in the hours of the chart."""


_Numbers = Mapping[uuid.UUID | None, Mapping[datetime, Mapping[str, int]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Activity:
    """Consecutive deliveries of a webhook, up to its newest one."""

    first: datetime
    last: datetime
    number: int
    longest_pause: timedelta
    "The longest time between two hours with deliveries."

    @property
    def pace(self) -> timedelta | None:
        """The mean time between two deliveries; None if they were too few, or came in too short a time."""
        if self.number < MIN_PACED or self.last - self.first < MIN_PERIOD:
            return None
        return (self.last - self.first) / (self.number - 1)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The figures of some webhooks, and of all together."""

    now: datetime
    hours: Sequence[datetime]
    "The beginnings of the chart's hours, the oldest first."
    counted_from: datetime | None
    is_unfinished: bool
    is_last_known: bool
    "Whether the newest delivery of each webhook was looked for among all deliveries, and not only in these hours."
    numbers: _Numbers
    "By webhook, and under None of all together: the deliveries of each status in each hour that has any."
    activities: Mapping[uuid.UUID, Activity]
    newest: datetime | None
    "When the newest delivery of all came; None if only those of one webhook were looked for."
    times: Mapping[uuid.UUID | None, ProcessingTimes] = field(default_factory=dict)
    "The processing times of each webhook, and under None of all together."

    def health(self, webhook_id: uuid.UUID | None = None) -> Health:
        """Return the health of one webhook, or of all together."""
        counted = self.numbers.get(webhook_id, {})
        activity = webhook_id and self.activities.get(webhook_id)
        return Health(
            hours=[Hour(start=start, numbers=counted.get(start, {})) for start in self.hours],
            last=self.newest if webhook_id is None else activity.last if activity else None,
            times=self.times.get(webhook_id),
            counted_from=self.counted_from,
            is_unfinished=self.is_unfinished,
            is_last_known=self.is_last_known,
        )


def read_statistics(
    webhook_id: uuid.UUID | None = None, among: RowScope = ALL_ROWS, webhook_ids: Sequence[uuid.UUID] | None = None
) -> Statistics:
    """Read the figures of one webhook, or of all together and of each of `webhook_ids` (None: the first ones).

    Only deliveries that the user may see count. The number of statements does not grow with that of the webhooks.
    """
    if webhook_id is None and webhook_ids is None:
        webhook_ids = list(among.of(Webhook).order_by("name").values_list("pk", flat=True)[:MAX_WEBHOOKS])
    return _Reader(among, webhook_id, webhook_ids or ()).read()


class _Reader:
    """Reads the figures of one webhook, or of all together and of some of them."""

    def __init__(self, among: RowScope, only: uuid.UUID | None, webhook_ids: Sequence[uuid.UUID]) -> None:
        self._now = timezone.now()
        self._rows: QuerySet[Delivery] = among.of(Delivery).select_related(None).order_by()
        self._runs: QuerySet[Run] = among.of(Run).select_related(None).order_by()
        self._only = only
        self._webhook_ids = webhook_ids if only is None else [only]
        self._timed = MAX_TIMED_EACH if only is None else MAX_TIMED
        self._moments: dict[int, datetime] = {}
        self._combinations: Combinations | None = None
        if not is_narrowed(self._rows):
            self._combinations = read_combinations(Delivery, self._rows.db, COLUMNS)

    def read(self) -> Statistics:
        counts = read_hour_counts(self._rows, self._now, self._combinations, self._only)
        if self._only is not None:
            counts = replace(counts, counts=[each for each in counts.counts if each.webhook_id == self._only])
        numbers = _numbers(counts)
        newest = max((each.last for each in counts.counts), default=0)
        if self._only is None and self._combinations is not None:
            newest = max(newest, counts.hours[-1].high - 1)
        activities = self._activities(counts, numbers, newest)
        return Statistics(
            now=self._now,
            hours=[hour.start for hour in counts.hours],
            counted_from=counts.since,
            is_unfinished=counts.is_unfinished,
            is_last_known=self._combinations is not None,
            numbers=numbers,
            activities=activities,
            newest=_latest(self._newest_moment(newest), activities) if self._only is None else None,
            times=self._times(counts, numbers),
        )

    def _read_moments(self, pks: Iterable[int]) -> dict[int, datetime]:
        """Return when deliveries came; those that the user may not see, or that are gone, are left out."""
        if unknown := set(pks) - self._moments.keys():
            self._moments |= self._rows.filter(pk__in=unknown).values_list("pk", "received_at")
        return self._moments

    def _newest_moment(self, key: int) -> datetime | None:
        if key and key not in self._moments:  # it has just been deleted
            return self._rows.order_by("-pk").values_list("received_at", flat=True).first()
        return self._moments.get(key)

    def _activities(self, counts: HourCounts, numbers: _Numbers, newest: int) -> dict[uuid.UUID, Activity]:
        """Return when the deliveries of each webhook came: in the hours counted, or before its newest one."""
        keys: dict[uuid.UUID, tuple[int, int]] = {}
        for webhook_id, _status, _start, _number, first, last in counts.counts:
            lowest, highest = keys.get(webhook_id, (first, last))
            keys[webhook_id] = (min(first, lowest), max(last, highest))
        keys = {webhook_id: keys[webhook_id] for webhook_id in self._webhook_ids if webhook_id in keys}
        moments = self._read_moments(itertools.chain([newest], *keys.values()))
        activities = {
            webhook_id: Activity(
                first=moments[first],
                last=moments[last],
                number=sum(sum(hour.values()) for hour in numbers[webhook_id].values()),
                longest_pause=_longest_pause(numbers[webhook_id]),
            )
            for webhook_id, (first, last) in keys.items()
            if first in moments and last in moments
        }
        lasts = {key: last for key, (_first, last) in keys.items()}
        return activities | self._earlier_activities(activities, lasts, KeyRange(0, counts.hours[-1].high - 1))

    def _earlier_activities(
        self, recent: Mapping[uuid.UUID, Activity], last_keys: Mapping[uuid.UUID, int], keys: KeyRange
    ) -> dict[uuid.UUID, Activity]:
        """Return that of webhooks with too few deliveries in the hours counted: in `HOURS` before their last one."""
        each = self._newest_of_each()
        unpaced = [key for key in self._webhook_ids if key not in recent or recent[key].pace is None]
        if each is None or not unpaced:
            return {}
        last_keys = {key: last_keys[key] for key in unpaced if key in last_keys}
        last_keys = last_keys | each.last_keys([key for key in unpaced if key not in last_keys])
        if not last_keys:
            return {}
        moments = self._read_moments(last_keys.values())
        lasts = {key: moments[pk] for key, pk in last_keys.items() if pk in moments}
        begins = [last - timedelta(hours=HOURS) for last in lasts.values()]
        lows = first_keys(Delivery, self._rows.db, "received_at", begins, keys) if begins else ()
        counted = each.counts(dict(zip(lasts, lows, strict=True)), MAX_PACED)
        moments = self._read_moments(first for _number, first in counted.values())
        return {
            key: Activity(
                first=moments.get(counted[key][1], lasts[key]),
                last=lasts[key],
                number=counted[key][0],
                longest_pause=recent[key].longest_pause if key in recent else timedelta(),
            )
            for key in lasts
            if key in counted
        }

    def _newest_of_each(self, status: str | None = None) -> NewestOfEach | None:
        if self._combinations is None:
            return None
        [index] = [index for index in Delivery._meta.indexes if index.name == "nateq_delivery_browse"]
        heads = [head for head in self._combinations.heads if status is None or head[0] == status]
        return NewestOfEach(Delivery, self._rows.db, index, heads)

    def _times(self, counts: HourCounts, numbers: _Numbers) -> dict[uuid.UUID | None, ProcessingTimes]:
        """Return the processing times of the newest deliveries in the hours counted; without runs there is none."""
        each = self._newest_of_each(Delivery.Status.PROCESSED)
        keys: dict[uuid.UUID | None, list[int]] = {}
        if self._only is None or each is None:
            newest = self._newest_processed(counts)
            keys = grouped(newest) | {None: [pk for _webhook_id, pk in newest]}
        if each is not None:
            lows = {key: _low(counts, numbers[key], self._timed) for key in self._webhook_ids if key in numbers}
            keys = {None: keys.get(None, []), **grouped(each.newest_keys(lows, self._timed))}
        spans = spans_of(self._runs, {pk for pks in keys.values() for pk in pks})
        timed = {key: processing_times([spans[pk] for pk in pks if pk in spans]) for key, pks in keys.items()}
        return {key: times for key, times in timed.items() if times is not None}

    def _newest_processed(self, counts: HourCounts) -> list[tuple[uuid.UUID, int]]:
        """Return webhook and key of the newest processed deliveries of all."""
        since = max(counts.hours[0].low, counts.hours[-1].high - MAX_VISIBLE)
        rows = self._rows.filter(pk__gte=since)
        if self._only is not None:
            rows = rows.filter(webhook=self._only)
        # By the key alone: with the status, SQLite and MariaDB would read and sort every processed one.
        newest = rows.order_by("-pk").values_list("webhook_id", "pk", "status")[: 3 * MAX_TIMED]
        return [(key, pk) for key, pk, status in newest if status == Delivery.Status.PROCESSED][:MAX_TIMED]


def _latest(newest: datetime | None, activities: Mapping[uuid.UUID, Activity]) -> datetime | None:
    """Return when the newest delivery of all came; the clocks of two servers may differ from the order of the keys."""
    moments = [newest, *(activity.last for activity in activities.values())]
    return max((moment for moment in moments if moment is not None), default=None)


def _numbers(counts: HourCounts) -> dict[uuid.UUID | None, dict[datetime, dict[str, int]]]:
    found: dict[uuid.UUID | None, dict[datetime, dict[str, int]]] = {None: {}}
    totals = found[None]
    for webhook_id, status, start, number, _first, _last in counts.counts:
        for hours in (found.setdefault(webhook_id, {}), totals):
            numbers = hours.setdefault(start, {})
            numbers[status] = numbers.get(status, 0) + number
    return found


def _longest_pause(hours: Iterable[datetime]) -> timedelta:
    return max((later - earlier for earlier, later in itertools.pairwise(sorted(hours))), default=timedelta())


def _low(counts: HourCounts, numbers: Mapping[datetime, Mapping[str, int]], wanted: int) -> int:
    """Return a key from which on a webhook has so many processed deliveries, or all that are counted."""
    seen = 0
    for hour in reversed(counts.hours):
        seen += numbers.get(hour.start, {}).get(Delivery.Status.PROCESSED, 0)
        if seen >= wanted:
            return hour.low
    return counts.hours[0].low
