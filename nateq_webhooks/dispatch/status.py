"""How dispatch stands: what waits, what fails, what was given up, by receiver; who works; what is paused."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Case, Count, Exists, OuterRef, QuerySet, When
from django.utils import timezone

from nateq_webhooks.dispatch import backlog
from nateq_webhooks.dispatch.claim import PARKED
from nateq_webhooks.dispatch.gates import HELD, LONG_AGO
from nateq_webhooks.dispatch.progress import Progress, under_way
from nateq_webhooks.models import Delivery, Gate, Heartbeat, Run
from nateq_webhooks.models.gate import TURN_LANE

MOST_COUNTED: Final = 1_000_000
"""Rows that are counted before it is said to be more: a second's worth."""

MOST_REPLAYS: Final = 20
"""Replays that are shown: the newest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverStatus:
    """The unfinished runs of one receiver, and those given up that no later replay has mended."""

    waiting: int = 0
    running: int = 0
    failing: int = 0
    dead: int = 0
    held: int = 0
    "Of those waiting or failing: behind a pause, that of everything too, or an earlier delivery of the same key."
    orphaned: int = 0
    "Of those waiting: no process knows the receiver."


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """How dispatch stands at `now`."""

    now: datetime
    undispatched: int
    "Deliveries whose runs are still to be made, and that are due."
    oldest_due: datetime | None
    "Since when the longest waiting delivery or run could have been started; None while everything is paused."
    receivers: Mapping[str, ReceiverStatus]
    paused: Sequence[Gate]
    workers: Sequence[Heartbeat] = field(default_factory=tuple)
    replays: Sequence[Progress] = field(default_factory=tuple)
    "Those whose runs are still to be made or to finish."

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
    lanes = backlog.lanes(alias)
    undispatched = Delivery.objects.using(alias).filter(dispatch_at__lte=now)
    return Status(
        now=now,
        undispatched=undispatched[:MOST_COUNTED].count(),
        oldest_due=backlog.oldest_due(alias, now, lanes),
        receivers=_receivers(alias, lanes),
        paused=[gate for gate in lanes.gates if gate.paused_at is not None],
        workers=list(backlog.workers(alias, now)),
        replays=under_way(alias, MOST_REPLAYS),
    )


def dead_runs(alias: str) -> QuerySet[Run]:
    """Return the runs that were given up and that no later replay of the same delivery and receiver has replaced."""
    later = Run.objects.using(alias).filter(
        delivery_id=OuterRef("delivery_id"), receiver=OuterRef("receiver"), round__gt=OuterRef("round")
    )
    return Run.objects.using(alias).filter(~Exists(later), status=Run.Status.DEAD)


def _receivers(alias: str, lanes: backlog.Lanes) -> dict[str, ReceiverStatus]:
    """Count the unfinished runs lane by lane, which is what the index of what is due begins with."""
    counts: dict[str, dict[str, int]] = {}

    def add(receiver: str, what: str, count: int) -> None:
        of_one = counts.setdefault(receiver, {})
        of_one[what] = of_one.get(what, 0) + count

    for lane in (*lanes.with_parked, TURN_LANE):
        rows = Run.objects.using(alias).filter(lane=lane, next_try_at__gte=LONG_AGO, status__in=list(_WORDS)).order_by()
        is_parked = Case(When(next_try_at__gte=PARKED, then=True), default=False)
        of_lane = rows.annotate(is_parked=is_parked).values_list("receiver", "status", "is_parked")
        for receiver, state, is_orphan, count in of_lane.annotate(Count("pk")):
            add(receiver, _WORDS[state], count)
            if is_orphan and lane != TURN_LANE:
                add(receiver, "orphaned", count)
            elif lane in lanes.closed and state in HELD:
                add(receiver, "held", count)
    for receiver, count in dead_runs(alias).order_by().values_list("receiver").annotate(Count("pk")):
        add(receiver, "dead", count)
    return {receiver: ReceiverStatus(**counts[receiver]) for receiver in sorted(counts)}


_WORDS: Final[Mapping[str, str]] = {
    Run.Status.WAITING: "waiting",
    Run.Status.RUNNING: "running",
    Run.Status.FAILED: "failing",
}
