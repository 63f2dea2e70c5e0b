"""How the webhooks are, from their newest deliveries: how many came in each hour, what became of them, how fast.

A table of ten million rows is never counted. Deliveries are numbered as they come, so the newest ones are a range of
the primary key. The range of the charts' hours is counted row by row while it is short; a long one is estimated from
deliveries evenly spread over it, each found by its key.
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

from nateq_webhooks.admin.permissions import ALL_ROWS, Among
from nateq_webhooks.models import Delivery, Run

HOURS: Final = 48
"""Hours that a chart shows, the current one among them."""

MAX_COUNTED: Final = 20_000
"""The newest keys that are counted one by one; PostgreSQL reads so many rows in about 20 ms."""

SAMPLE: Final = 3_000
"""Keys that are looked up where there are more than `MAX_COUNTED` in the charts' hours."""

PRECISION: Final = 64
"""How exactly the beginning of the charts' hours is searched for: one key in so many may be older."""

MAX_TIMED: Final = 500
"""Processed deliveries, the newest, whose processing times are looked at."""

"""What counts as failed: a receiver is to be tried again, or was given up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """Deliveries of one webhook and status in one hour; what is older than the charts' hours stands before them."""

    webhook_id: uuid.UUID | None
    "None: of all webhooks together."
    status: str
    hour: datetime
    number: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """How long deliveries took from being stored until their last receiver was done."""

    median: timedelta
    p95: timedelta
    number: int
    "How many were looked at."


@dataclass(frozen=True, kw_only=True, slots=True)
class Hour:
    """What came in the hour that begins at `start`: how many deliveries of each status."""

    start: datetime
    numbers: Mapping[str, int]

    @property
    def total(self) -> int:
        """How many deliveries came."""
        return sum(self.numbers.values())


@dataclass(frozen=True, kw_only=True)
class Health:
    """The last `HOURS` hours of one webhook, or of all of them."""

    hours: Sequence[Hour]
    last: datetime | None
    "When the newest delivery came; None when none is among those looked at."
    times: Times | None
    step: int
    "1: every delivery was counted; else the numbers are estimated from every so many-th one."

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
        """How many of them have failed, for now or for good."""
        return sum(self.numbers.get(status, 0) for status in Delivery.FAILING)

    @property
    def share_failed(self) -> float | None:
        """The share that has failed, from 0 to 1; None when none came."""
        return self.failed / self.total if self.total else None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What the newest deliveries tell, of one webhook or of all."""

    now: datetime
    hours: Sequence[datetime]
    "The beginnings of the charts' hours, the oldest first."
    seen_from: datetime | None
    "When the newest delivery came that is too old to be looked at; None when all were."
    step: int
    shares: Sequence[Share]
    "Of each webhook that was asked for."
    totals: Sequence[Share]
    "Of all webhooks."
    times: Mapping[uuid.UUID | None, Times]
    "The processing times of each webhook, and under None of all together."

    @cached_property
    def of_webhook(self) -> Mapping[uuid.UUID | None, Sequence[Share]]:
        """The shares by webhook."""
        found: dict[uuid.UUID | None, list[Share]] = {}
        for share in self.shares:
            found.setdefault(share.webhook_id, []).append(share)
        return found

    def health(self, webhook_id: uuid.UUID | None = None) -> Health:
        """Return the health of one webhook, or of all together."""
        shares = self.totals if webhook_id is None else self.of_webhook.get(webhook_id, ())
        counted: dict[datetime, Counter[str]] = {start: Counter() for start in self.hours}
        for share in shares:
            if share.hour in counted:
                counted[share.hour][share.status] += share.number
        return Health(
            hours=[Hour(start=start, numbers=numbers) for start, numbers in counted.items()],
            last=max((share.last for share in shares), default=None),
            times=self.times.get(webhook_id),
            step=self.step,
        )


def survey(
    webhook_id: uuid.UUID | None = None,
    among: Among = ALL_ROWS,
    each_of: Collection[uuid.UUID] | None = None,
) -> Survey:
    """Look at the newest deliveries, of one webhook or of all: a bounded number of rows, however many there are.

    What is looked at is a range of keys; of the deliveries in it those count that may be seen. Where there are very
    many webhooks, `each_of` names those that are told apart (None: all); the others count in the totals only.

    Five statements; where the charts' hours have more than `MAX_COUNTED` keys, one more for each doubling of the table.
    """
    now = timezone.now()
    # Hours as the database itself cuts them, so that it needs no table of time zones.
    zone = connections[Delivery.objects.db].timezone
    this_hour = now.astimezone(zone).replace(minute=0, second=0, microsecond=0)
    hours = [this_hour - timedelta(hours=ago) for ago in range(HOURS - 1, -1, -1)]
    newest: int = Delivery.objects.aggregate(newest=Max("pk"))["newest"] or 0
    seen_from = _received_at(newest - MAX_COUNTED)
    rows: QuerySet[Delivery] = among.of(Delivery).select_related(None)
    recent = rows.filter(pk__gt=newest - MAX_COUNTED)
    looked_at, step = recent, 1
    if seen_from is not None and seen_from >= hours[0]:
        first = _first_key_since(hours[0], newest - MAX_COUNTED)
        step = -(-(newest - first + 1) // SAMPLE)
        looked_at = rows.filter(pk__in=_spread(first, newest, step))
    if webhook_id is not None:
        recent, looked_at = recent.filter(webhook=webhook_id), looked_at.filter(webhook=webhook_id)
    apart = looked_at if each_of is None else looked_at.filter(webhook__in=each_of)
    shares = _shares(_counted(apart, hours[0]), step)
    totals = shares if each_of is None else _shares(_counted(looked_at, hours[0], together=True), step)
    return Survey(
        now=now,
        hours=hours,
        seen_from=seen_from,
        step=step,
        shares=shares,
        totals=totals,
        times=_times(recent.filter(status=Delivery.Status.PROCESSED), among.of(Run)),
    )


_Counted = Iterable[tuple[uuid.UUID | None, str, datetime, int, datetime, datetime]]


def _shares(counted: _Counted, step: int) -> list[Share]:
    return [
        Share(webhook_id=whose, status=status, hour=hour, number=number * step, first=first, last=last)
        for whose, status, hour, number, first, last in counted
    ]


def _received_at(pk: int) -> datetime | None:
    """Return when the delivery of this key came, or the next older one that there is."""
    older = Delivery.objects.filter(pk__lte=pk).order_by("-pk")
    return older.values_list("received_at", flat=True).first()


def _first_key_since(moment: datetime, high: int) -> int:
    """Return a key, at most `high`, shortly before the first one of what came since `moment`.

    Halves the keys, each time by one look-up in the primary key, until all but one in `PRECISION` are of those wanted:
    what is older is told apart by its time anyway.
    """
    low: int = Delivery.objects.aggregate(oldest=Min("pk"))["oldest"] or 0
    while (high - low) * PRECISION > high + MAX_COUNTED - low:
        middle = (low + high) // 2
        received_at = _received_at(middle)
        if received_at is None or received_at < moment:
            low = middle + 1
        else:
            high = middle
    return low


def _spread(first: int, last: int, step: int) -> list[int]:
    """Return one key of every `step`, each at another place: what comes in turns must not be met always, or never."""
    places = range((last - first) // step + 1)
    return [last - place * step - (place * _GOLDEN % 2**32 * step >> 32) for place in places]


_GOLDEN: Final = 0x9E3779B1
"""2 ** 32 by the golden ratio: its multiples, cut to 32 bits, spread evenly."""


def _counted(deliveries: QuerySet[Delivery], since: datetime, *, together: bool = False) -> _Counted:
    """Count the deliveries by webhook, status and hour; what came before `since` as one hour, the one before it.

    `together` counts those of all webhooks, under None.
    """
    zone = since.tzinfo
    hour = TruncHour(Greatest("received_at", Value(since - timedelta(hours=1))), tzinfo=zone)
    names = ["status"] if together else ["webhook_id", "status"]
    grouped = deliveries.order_by().values(*names, hour=hour)
    counted = grouped.annotate(number=Count("pk"), first=Min("received_at"), last=Max("received_at"))
    found = counted.values_list(*names, "hour", "number", "first", "last")
    return [(None, *row) for row in found] if together else found


def _times(processed: QuerySet[Delivery], among: QuerySet[Run]) -> dict[uuid.UUID | None, Times]:
    """Measure the newest of these by the end of their last run; one that no receiver ran for took no time."""
    rows = list(processed.order_by("-pk").values_list("pk", "webhook_id", "received_at")[:MAX_TIMED])
    runs = among.filter(delivery_id__in=[pk for pk, _, _ in rows], round=0).order_by()
    ends = dict(runs.values_list("delivery_id").annotate(Max("finished_at")))
    measured: dict[uuid.UUID | None, list[timedelta]] = {}
    for pk, webhook_id, received_at in rows:
        if (end := ends.get(pk)) is not None:
            for whose in (webhook_id, None):
                measured.setdefault(whose, []).append(max(end - received_at, timedelta()))
    return {
        whose: Times(median=_percentile(spans, 50), p95=_percentile(spans, 95), number=len(spans))
        for whose, spans in measured.items()
    }


def _percentile(spans: Sequence[timedelta], percent: int) -> timedelta:
    """Return the smallest span that at least `percent` of a hundred do not exceed."""
    ranked = sorted(spans)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]
