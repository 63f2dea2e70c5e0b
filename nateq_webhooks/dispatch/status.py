"""How dispatch stands: what waits, what fails, what was given up, by receiver; who works; what is paused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, Exists, Min, OuterRef, QuerySet
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.claim import PARKED
from nateq_webhooks.dispatch.gates import LONG_AGO
from nateq_webhooks.models import Delivery, Gate, Heartbeat, Replay, Run
from nateq_webhooks.models.gate import OPEN_LANE, TURN_LANE

MOST_COUNTED: Final = 1_000_000
"""Rows that are counted before it is said to be more: a second's worth."""

SEEN_LATELY: Final = timedelta(seconds=60)
"""A worker that was seen so long ago is at work."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverStatus:
    """The unfinished runs of one receiver, and those given up that no later replay has mended."""

    waiting: int = 0
    running: int = 0
    failing: int = 0
    dead: int = 0
    held: int = 0
    "Of those waiting or failing: behind a pause or an earlier delivery of the same key."
    orphaned: int = 0
    "Of those waiting: no process knows the receiver."


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How dispatch stands at `now`."""

    now: datetime
    undispatched: int
    "Deliveries whose runs are still to be made, and that are due."
    oldest_due: datetime | None
    "Since when the longest waiting delivery or run could have been started."
    receivers: Mapping[str, ReceiverStatus]
    paused: Sequence[Gate]
    workers: Sequence[Heartbeat] = field(default_factory=tuple)
    replays: Sequence[Replay] = field(default_factory=tuple)
    "Those whose runs are still being made."

    @property
    def lag(self) -> timedelta:
        """How long the oldest due has been waiting."""
        return self.now - self.oldest_due if self.oldest_due else timedelta()

    def troubles(self, *, max_lag: timedelta, max_dead: int) -> list[str]:
        """Return what monitoring should know of, as codes: `lag`, `dead`, `paused`, `orphaned`."""
        dead = sum(one.dead for one in self.receivers.values())
        found = {
            "lag": self.lag > max_lag,
            "dead": dead > max_dead,
            "paused": bool(self.paused),
            "orphaned": any(one.orphaned for one in self.receivers.values()),
        }
        return [code for code, is_so in found.items() if is_so]


def status(alias: str) -> Status:
    """Return how dispatch stands. Every figure comes through an index; none reads the finished runs."""
    now = timezone.now()
    gates = list(Gate.objects.using(alias))
    due = Delivery.objects.using(alias).filter(dispatch_at__lte=now)
    return Status(
        now=now,
        undispatched=due[:MOST_COUNTED].count(),
        oldest_due=_oldest_due(alias, now),
        receivers=_receivers(alias, gates),
        paused=[gate for gate in gates if gate.paused_at is not None],
        workers=list(Heartbeat.objects.using(alias).filter(seen_at__gte=now - SEEN_LATELY)),
        replays=list(Replay.objects.using(alias).filter(finished_at__isnull=True, is_cancelled=False)[:20]),
    )


def dead_runs(alias: str) -> QuerySet[Run]:
    """Return the runs that were given up and that no later replay of the same delivery and receiver has replaced."""
    later = Run.objects.using(alias).filter(
        delivery_id=OuterRef("delivery_id"), receiver=OuterRef("receiver"), round__gt=OuterRef("round")
    )
    return Run.objects.using(alias).filter(~Exists(later), status=Run.Status.DEAD)


def _oldest_due(alias: str, now: datetime) -> datetime | None:
    deliveries = Delivery.objects.using(alias).filter(dispatch_at__lte=now)
    runs = Run.objects.using(alias).filter(lane=OPEN_LANE, next_try_at__lte=now)
    moments = [
        deliveries.aggregate(oldest=Min("dispatch_at"))["oldest"],
        runs.aggregate(oldest=Min("next_try_at"))["oldest"],
    ]
    return min((moment for moment in moments if moment is not None), default=None)


def _receivers(alias: str, gates: Sequence[Gate]) -> dict[str, ReceiverStatus]:
    """Count the unfinished runs lane by lane, which is what the index of what is due begins with."""
    counts: dict[str, dict[str, int]] = {}

    def add(receiver: str, what: str, count: int) -> None:
        of_one = counts.setdefault(receiver, {})
        of_one[what] = of_one.get(what, 0) + count

    for lane in (OPEN_LANE, TURN_LANE, *(gate.pk for gate in gates)):
        rows = Run.objects.using(alias).filter(lane=lane, next_try_at__gte=LONG_AGO, status__in=list(_WORDS)).order_by()
        for receiver, state, count in rows.values_list("receiver", "status").annotate(Count("pk")):
            add(receiver, _WORDS[state], count)
            if lane != OPEN_LANE and state != Run.Status.RUNNING and lane not in _limited(gates):
                add(receiver, "held", count)
    lanes = [OPEN_LANE, *(gate.pk for gate in gates)]
    parked = Run.objects.using(alias).filter(lane__in=lanes, next_try_at__gte=PARKED).order_by()
    for receiver, count in parked.values_list("receiver").annotate(Count("pk")):
        add(receiver, "orphaned", count)
    for receiver, count in dead_runs(alias).order_by().values_list("receiver").annotate(Count("pk")):
        add(receiver, "dead", count)
    return {receiver: ReceiverStatus(**counts[receiver]) for receiver in sorted(counts)}


_WORDS: Final[Mapping[str, str]] = {
    Run.Status.WAITING: "waiting",
    Run.Status.RUNNING: "running",
    Run.Status.FAILED: "failing",
}


def _limited(gates: Sequence[Gate]) -> set[int]:
    """Return the lanes of rate limits that are not closed: what is in them starts as the rate allows."""
    limited = settings().rate_limits
    return {g.pk for g in gates if g.paused_at is None and g.scope.removeprefix("receiver:") in limited}
