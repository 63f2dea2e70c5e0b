"""The state of dispatch: what is due, held and parked, what fails or was given up, which workers run, what is paused.

The dashboard, the checks and `nateq_status` ask the functions of this module what is due. Each has a limit of its own
for how long work may be overdue: a minute on the dashboard (`OVERDUE`), `--max-lag` of `nateq_status` (five minutes),
and `MAX_IDLE` of the check W005 (a quarter of an hour), which is read only now and then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.db import connections
from django.db.models import Case, Count, Manager, Min, Q, QuerySet, When
from django.utils import timezone

from nateq_webhooks.dispatch.holds import HoldState, of_scope, read_holds
from nateq_webhooks.dispatch.progress import Progress, under_way
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import EVERYTHING, Heartbeat, Hold
from nateq_webhooks.models.run import EARLIEST, HELD_BY_ORDER, IS_PARKED, NOT_PARKED, RunQuerySet

Runs = QuerySet[Run] | Manager[Run]
"""A queryset or a manager of runs, of any class."""

MAX_COUNTED: Final = 1_000_000
"""Rows that are counted before it is said to be more: a second's worth."""

MAX_REPLAYS: Final = 20
"""Replays that are shown: the newest."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverStatus:
    """The unfinished runs of one receiver, and those given up that no later replay has replaced."""

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
    """The state of dispatch at `now`."""

    now: datetime
    undispatched: int
    "Due deliveries whose runs are still to be created."
    oldest_due: datetime | None
    "Since when the longest waiting delivery or run could have been started; None while everything is paused."
    receivers: Mapping[str, ReceiverStatus]
    paused: Sequence[Hold]
    workers: Sequence[Heartbeat] = field(default_factory=tuple)
    replays: Sequence[Progress] = field(default_factory=tuple)
    "Those whose runs are still to be created or to finish."

    @property
    def lag(self) -> timedelta:
        """How long the oldest due has been waiting."""
        return self.now - self.oldest_due if self.oldest_due else timedelta()

    def troubles(self, *, max_lag: timedelta, max_dead: int) -> list[str]:
        """Return what monitoring should report, as codes: `lag`, `dead`, `paused`, `orphaned`."""
        dead = sum(one.dead for one in self.receivers.values())
        found = {
            "lag": self.lag > max_lag,
            "dead": dead > max_dead,
            "paused": bool(self.paused),
            "orphaned": any(one.orphaned for one in self.receivers.values()),
        }
        return [code for code, is_so in found.items() if is_so]


def status(alias: str) -> Status:
    """Return the state of dispatch. Every figure comes through an index; none reads the finished runs."""
    now = timezone.now()
    state = read_holds(alias)
    undispatched = Delivery.objects.using(alias).filter(dispatch_at__lte=now)
    return Status(
        now=now,
        undispatched=undispatched[:MAX_COUNTED].count(),
        oldest_due=oldest_due(alias, now, state),
        receivers=_receivers(alias, state),
        paused=state.paused,
        workers=list(Heartbeat.objects.using(alias).running(now)),
        replays=under_way(alias, MAX_REPLAYS),
    )


def due_runs(rows: Runs, moment: datetime, state: HoldState | None = None) -> RunQuerySet:
    """Return those of the runs that could have been started at this moment or earlier: nothing holds them back.

    They are new, waiting for a try whose time has come, or left by a dead worker.
    """
    started_from = list((state or read_holds(rows.db)).open_since(moment))
    return _runs(rows).unfinished().filter(held_by__in=started_from, next_try_at__lte=moment)


def due_of_hold(rows: Runs, moment: datetime, hold_pk: int) -> RunQuerySet:
    """Return those of a hold's runs that were due at this moment or earlier, the longest due first.

    Finished runs that still have to be finalized are among them. The index of what is due is read in its order, so
    that the oldest ones are found without sorting the others.
    """
    if connections[rows.db].vendor != "mysql":
        return _runs(rows).due(moment, held_by=hold_pk).order_by("next_try_at")
    # With an equality MariaDB reads the index from the hold's beginning, where the finished runs are, which have NULL.
    found = _runs(rows).filter(held_by__gte=hold_pk, held_by__lte=hold_pk)
    return found.filter(next_try_at__gte=EARLIEST, next_try_at__lte=moment).order_by("held_by", "next_try_at")


def due_deliveries(rows: QuerySet[Delivery], moment: datetime, state: HoldState | None = None) -> QuerySet[Delivery]:
    """Return those of the deliveries whose runs could have been created at this moment or earlier.

    None while everything is paused.
    """
    return rows.none() if (state or read_holds(rows.db)).is_paused else rows.filter(dispatch_at__lte=moment)


def oldest_due(alias: str, now: datetime, state: HoldState) -> datetime | None:
    """Return since when the longest waiting delivery or run could have been started; None if nothing waits."""
    deliveries = due_deliveries(Delivery.objects.using(alias), now, state)
    moments = [deliveries.aggregate(oldest=Min("dispatch_at"))["oldest"]]
    for hold_pk, slot in state.open_since(now).items():  # one look-up in the index each
        runs = due_of_hold(Run.objects.using(alias), now, hold_pk).unfinished()
        oldest = runs.values_list("next_try_at", flat=True).first()
        moments.append(oldest if oldest is None or slot is None else max(oldest, slot))
    return min((moment for moment in moments if moment is not None), default=None)


def held_runs(rows: Runs, hold: Hold, state: HoldState | None = None) -> RunQuerySet:
    """Return those of the runs that a paused hold has; of the pause of everything, which has none, all pending ones."""
    if hold.scope != EVERYTHING:
        return _runs(rows).held(hold.pk)
    every = [*(state or read_holds(rows.db)).all_pks, HELD_BY_ORDER]
    return _runs(rows).pending().filter(NOT_PARKED, held_by__in=every)


def runs_held_elsewhere(rows: Runs, hold: Hold, state: HoldState | None = None) -> tuple[RunQuerySet, Q]:
    """Return the runs that another pause or the order has, and which of them this pause holds back, too.

    A run has one hold only. The condition is on `receiver` and `delivery__webhook`.
    """
    others = (state or read_holds(rows.db)).paused_pks - {hold.pk}
    return _runs(rows).pending().filter(NOT_PARKED, held_by__in=sorted(others)), of_scope(hold)


def parked_runs(rows: Runs, state: HoldState | None = None) -> RunQuerySet:
    """Return those of the runs whose receiver no process knows."""
    return _runs(rows).parked((state or read_holds(rows.db)).all_pks)


def _runs(rows: Runs) -> RunQuerySet:
    """Return the same rows with the methods of `RunQuerySet`, whatever class a project's manager or admin gave them."""
    if not issubclass(rows.model, Run):
        raise TypeError(f"Expected runs, got rows of {rows.model.__name__}.")
    found = rows.all()
    return found if isinstance(found, RunQuerySet) else RunQuerySet(found.model, query=found.query, using=found.db)


def has_workers(alias: str) -> bool:
    """Return whether a worker runs."""
    return Heartbeat.objects.using(alias).running(timezone.now()).exists()


def dead_runs(alias: str) -> RunQuerySet:
    """Return the runs that were given up and that no later replay of the same delivery and receiver has replaced."""
    return Run.objects.using(alias).filter(status=Run.Status.DEAD).latest_rounds()


def _receivers(alias: str, state: HoldState) -> dict[str, ReceiverStatus]:
    """Count the unfinished runs by what holds them back, which is what the index of what is due begins with."""
    counts: dict[str, dict[str, int]] = {}

    def add(receiver: str, what: str, count: int) -> None:
        of_one = counts.setdefault(receiver, {})
        of_one[what] = of_one.get(what, 0) + count

    for hold_pk in (*state.all_pks, HELD_BY_ORDER):
        rows = Run.objects.using(alias).not_finalized(hold_pk).unfinished().order_by()
        is_orphan = Case(When(IS_PARKED, then=True), default=False)
        counted = rows.annotate(is_orphan=is_orphan).values_list("receiver", "status", "is_orphan")
        for receiver, run_status, orphaned, count in counted.annotate(Count("pk")):
            add(receiver, _FIELDS[run_status], count)
            if orphaned and hold_pk != HELD_BY_ORDER:
                add(receiver, "orphaned", count)
            elif hold_pk in state.paused_pks and run_status in Run.PENDING:
                add(receiver, "held", count)
    for receiver, count in dead_runs(alias).order_by().values_list("receiver").annotate(Count("pk")):
        add(receiver, "dead", count)
    return {receiver: ReceiverStatus(**counts[receiver]) for receiver in sorted(counts)}


_FIELDS: Final[Mapping[str, str]] = {
    Run.Status.WAITING: "waiting",
    Run.Status.RUNNING: "running",
    Run.Status.FAILED: "failing",
}
"""The field of `ReceiverStatus` that counts runs of this status."""
