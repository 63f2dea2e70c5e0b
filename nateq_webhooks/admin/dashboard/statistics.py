"""The figures of the webhooks, from their newest deliveries: how many came in each hour, what became of them, how fast.

A table of ten million rows is never counted. The primary key numbers deliveries as they come, so the newest ones are a
range of it, and only they are counted. Where they do not reach back through all hours of a chart, the chart is shorter.
"""

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

from django.db import connections
from django.db.models import Count, Max, Min, QuerySet, Value
from django.db.models.functions import Greatest, TruncHour
from django.utils import timezone

from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope
from nateq_webhooks.models import Delivery, Run

HOURS: Final = 48
"""Hours that a chart shows at most, including the current one."""

MAX_COUNTED: Final = 20_000
"""The newest keys whose deliveries are counted; PostgreSQL reads so many rows in about 20 ms."""

MAX_TIMED: Final = 500
"""The newest processed deliveries, from which the processing times are computed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HourlyCount:
    """Deliveries of one webhook and status in one hour; those before the chart's hours are in one hour before it."""

    webhook_id: uuid.UUID | None
    "None for all webhooks together."
    status: str
    hour: datetime
    number: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class ProcessingTimes:
    """How long deliveries took from being stored until their last receiver was done."""

    median: timedelta
    p95: timedelta
    number: int
    "How many deliveries they are computed from."


@dataclass(frozen=True, kw_only=True, slots=True)
class Hour:
    """The number of deliveries of each status that came in the hour that begins at `start`."""

    start: datetime
    numbers: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many deliveries came."""
        return sum(self.numbers.values())


@dataclass(frozen=True, kw_only=True)
class Health:
    """The last hours of one webhook, or of all of them."""

    hours: Sequence[Hour]
    last: datetime | None
    "When the newest delivery came; None if none of those counted did."
    times: ProcessingTimes | None
    counted_from: datetime | None
    "If not None, only deliveries that came later are counted: there are more than `MAX_COUNTED` in `HOURS`."

    @cached_property
    def numbers(self) -> Mapping[str, int]:
        """How many deliveries of each status came."""
        counted: Counter[str] = Counter()
        for hour in self.hours:
            counted.update(hour.numbers)
        return counted

    @property
    def total(self) -> int:
        """How many deliveries came."""
        return sum(self.numbers.values())

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return sum(self.numbers.get(status, 0) for status in Delivery.FAILING)

    @property
    def share_failed(self) -> float | None:
        """The share that failed, from 0 to 1; None if none came."""
        return self.failed / self.total if self.total else None


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The figures from the newest deliveries, of one webhook or of all."""

    now: datetime
    hours: Sequence[datetime]
    "The beginnings of the chart's hours, the oldest first."
    counted_after: datetime | None
    "When the newest delivery came that is not counted; None if all are."
    is_cut: bool
    "Whether the hours are fewer than `HOURS`, as more deliveries came than are counted."
    counts: Sequence[HourlyCount]
    "The counts of each webhook that was asked for."
    totals: Sequence[HourlyCount]
    "The counts of all webhooks together."
    times: Mapping[uuid.UUID | None, ProcessingTimes]
    "The processing times of each webhook, and under None of all together."

    @cached_property
    def counts_by_webhook(self) -> Mapping[uuid.UUID | None, Sequence[HourlyCount]]:
        """The counts by webhook."""
        found: dict[uuid.UUID | None, list[HourlyCount]] = {}
        for count in self.counts:
            found.setdefault(count.webhook_id, []).append(count)
        return found

    def health(self, webhook_id: uuid.UUID | None = None) -> Health:
        """Return the health of one webhook, or of all together."""
        counts = self.totals if webhook_id is None else self.counts_by_webhook.get(webhook_id, ())
        counted: dict[datetime, Counter[str]] = {start: Counter() for start in self.hours}
        for count in counts:
            if count.hour in counted:
                counted[count.hour][count.status] += count.number
        return Health(
            hours=[Hour(start=start, numbers=numbers) for start, numbers in counted.items()],
            last=max((count.last for count in counts), default=None),
            times=self.times.get(webhook_id),
            counted_from=self.counted_after if self.is_cut else None,
        )


def read_statistics(
    webhook_id: uuid.UUID | None = None,
    among: RowScope = ALL_ROWS,
    webhook_ids: Collection[uuid.UUID] | None = None,
) -> Statistics:
    """Count the newest deliveries, of one webhook or of all: at most `MAX_COUNTED` rows, with five statements.

    Only deliveries that the user may see are counted. Where there are very many webhooks, `webhook_ids` names those
    that are counted one by one (None: all); the others count in the totals only.
    """
    now = timezone.now()
    # Hours as the database itself cuts them, so that it needs no table of time zones.
    zone = connections[Delivery.objects.db].timezone
    this_hour = _hour_of(now.astimezone(zone))
    newest: int = Delivery.objects.aggregate(newest=Max("pk"))["newest"] or 0
    counted_after = _received_at(newest - MAX_COUNTED)
    hours = [this_hour - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
    is_cut = counted_after is not None and counted_after >= hours[0]
    if counted_after is not None and is_cut:
        hours = [hour for hour in hours if hour >= _hour_of(counted_after.astimezone(zone))] or [this_hour]
    recent: QuerySet[Delivery] = among.of(Delivery).select_related(None).filter(pk__gt=newest - MAX_COUNTED)
    if webhook_id is not None:
        recent = recent.filter(webhook=webhook_id)
    counts = _hourly_counts(
        _counted(recent if webhook_ids is None else recent.filter(webhook__in=webhook_ids), hours[0])
    )
    totals = counts if webhook_ids is None else _hourly_counts(_counted(recent, hours[0], together=True))
    return Statistics(
        now=now,
        hours=hours,
        counted_after=counted_after,
        is_cut=is_cut,
        counts=counts,
        totals=totals,
        times=_times(recent.filter(status=Delivery.Status.PROCESSED), among.of(Run)),
    )


_Counted = Iterable[tuple[uuid.UUID | None, str, datetime, int, datetime, datetime]]


def _hourly_counts(counted: _Counted) -> list[HourlyCount]:
    return [
        HourlyCount(webhook_id=webhook_id, status=status, hour=hour, number=number, first=first, last=last)
        for webhook_id, status, hour, number, first, last in counted
    ]


def _hour_of(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _received_at(pk: int) -> datetime | None:
    """Return when the delivery of this key came, or the last one before it."""
    older = Delivery.objects.filter(pk__lte=pk).order_by("-pk")
    return older.values_list("received_at", flat=True).first()


def _counted(deliveries: QuerySet[Delivery], since: datetime, *, together: bool = False) -> _Counted:
    """Count the deliveries by webhook, status and hour; those before `since` all in the hour before it.

    `together` counts those of all webhooks, with None as the webhook.
    """
    zone = since.tzinfo
    hour = TruncHour(Greatest("received_at", Value(since - timedelta(hours=1))), tzinfo=zone)
    names = ["status"] if together else ["webhook_id", "status"]
    grouped = deliveries.order_by().values(*names, hour=hour)
    counted = grouped.annotate(number=Count("pk"), first=Min("received_at"), last=Max("received_at"))
    found = counted.values_list(*names, "hour", "number", "first", "last")
    return [(None, *row) for row in found] if together else found


def _times(processed: QuerySet[Delivery], among: QuerySet[Run]) -> dict[uuid.UUID | None, ProcessingTimes]:
    """Return the processing times of the newest of these, which end with the last run; without runs there is none."""
    rows = list(processed.order_by("-pk").values_list("pk", "webhook_id", "received_at")[:MAX_TIMED])
    runs = among.filter(delivery_id__in=[pk for pk, _, _ in rows], round=0).order_by()
    ends = dict(runs.values_list("delivery_id").annotate(Max("finished_at")))
    measured: dict[uuid.UUID | None, list[timedelta]] = {}
    for pk, webhook_id, received_at in rows:
        if (end := ends.get(pk)) is not None:
            for key in (webhook_id, None):
                measured.setdefault(key, []).append(max(end - received_at, timedelta()))
    return {webhook_id: processing_times(spans) for webhook_id, spans in measured.items()}


def processing_times(spans: Sequence[timedelta]) -> ProcessingTimes:
    """Return the median and the 95th percentile of some durations; at least one is needed."""
    return ProcessingTimes(median=_percentile(spans, 50), p95=_percentile(spans, 95), number=len(spans))


def _percentile(spans: Sequence[timedelta], percent: int) -> timedelta:
    """Return the smallest span that `percent` of a hundred spans do not exceed."""
    ranked = sorted(spans)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
