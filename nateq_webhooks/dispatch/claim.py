"""Claiming runs, so that no other process has them: those that are due and that nothing holds back.

A claim is a lease: it sets `next_try_at` to the lease's end, and a token that only this claim knows. While a worker
lives it renews the lease. When it dies the lease ends, and the run is due again by the same column and index.

A claimed run is `running` and has no `started_at` until its receiver is about to be called; only that counts a try.
"""

import copy
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.db import Error, connections, models, transaction
from django.db.models import Q
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.failed_tries import record_abandoned
from nateq_webhooks.dispatch.failure import has_tries_left
from nateq_webhooks.dispatch.first_due import runs_from_first_due
from nateq_webhooks.dispatch.holds import HoldState, hold_cache
from nateq_webhooks.dispatch.pauses import move_runs, move_to_hold
from nateq_webhooks.dispatch.throttle import is_free, take_probe, take_slot
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import EARLIEST, HELD_BY_ORDER, NOT_HELD, NOT_PARKED, RunQuerySet
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")

DUE_STEP: Final = timedelta(microseconds=1)
"""The time between two runs that become due together and are to start in that order."""

MAX_PER_DELIVERY: Final = 100
"""Runs of one delivery that are claimed at once: more than a site has receivers."""

_Row = TypeVar("_Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What one claim took: runs to execute, all under one lease, and what only has to be finalized.

    In memory the runs have the `tries` and `started_at` of before the claim.
    """

    alias: str
    lease: uuid.UUID
    runs: Sequence[Run] = ()
    started: Run | None = None
    "The run that the claim has marked as started, and whose try it has counted."
    finished: Sequence[Run] = ()
    "Finished runs that no process has finalized."
    without_receivers: Sequence[int] = ()
    "Keys of deliveries that had no receivers for so long that they are given up."
    moved: int = 0
    "How many runs were only moved to the hold that holds them back."
    waiting: int = 0
    "How many runs were created that may not start yet."

    def __bool__(self) -> bool:
        return self.found > 0

    @property
    def found(self) -> int:
        """How much there was to do."""
        return len(self.runs) + len(self.finished) + len(self.without_receivers) + self.moved + self.waiting


def claim_runs(alias: str, limit: int, *, untried_since: datetime | None = None) -> Claimed:
    """Claim up to `limit` runs that are due and that nothing holds back.

    They are new, failed and to be tried again, or left by a dead worker. A run that a worker left on its last try is
    given up instead: it may be what kills the workers. With `untried_since`: only runs that nobody has started since.
    """
    now = timezone.now()
    due = runs_from_first_due(alias, now, untried_since=untried_since)
    if due is None:
        return Claimed(alias=alias, lease=uuid.uuid4())
    return _claim(alias, due, limit, hold_cache.get(alias), now)


def claim_throttled(alias: str, delivery_pk: int | None = None, *, untried_since: datetime | None = None) -> Claimed:
    """Claim one run that a rate limit, or a probe of the circuit breaker, lets start now: of any delivery, or of one.

    Only one, to be started at once: a slot that is kept is a burst later.
    """
    state = hold_cache.get(alias)
    if state.is_idle or state.is_paused:
        return Claimed(alias=alias, lease=uuid.uuid4())
    now = timezone.now()

    def due_of(hold_pk: int) -> RunQuerySet | None:
        if delivery_pk is None:
            return runs_from_first_due(alias, now, held_by=hold_pk, untried_since=untried_since)
        due = _due_of(alias, delivery_pk, now, untried_since).filter(held_by=hold_pk)
        return due if due.exists() else None

    moved = 0
    for hold_pk, due in _holds_to_start_from(alias, due_of, state, now):
        while claimed := _claim(alias, due, 1, state, now, held_by=hold_pk):
            if claimed.runs or claimed.finished:
                return claimed
            moved += claimed.moved  # another hold holds them back: try the next run
    return Claimed(alias=alias, lease=uuid.uuid4(), moved=moved)


def claim_runs_of(alias: str, delivery_pk: int, *, untried_since: datetime | None = None) -> Claimed:
    """Claim the runs of one delivery that are due and that nothing holds back, whatever held them back before.

    With `untried_since`: all that no process has, whatever their backoff, and that nobody has tried since then.
    """
    now = timezone.now()
    due = _due_of(alias, delivery_pk, now, untried_since)
    return _claim(alias, due, MAX_PER_DELIVERY, hold_cache.get(alias), now)


def _due_of(alias: str, delivery_pk: int, now: datetime, untried_since: datetime | None) -> RunQuerySet:
    runs = Run.objects.using(alias).filter(delivery_id=delivery_pk).exclude(held_by=HELD_BY_ORDER)
    due = Q(next_try_at__lte=now)
    if untried_since is not None:
        due |= Q(NOT_PARKED, status__in=Run.PENDING)
        due |= Q(status__in=Run.FINISHED, next_try_at__isnull=False)
    return runs.filter(due).not_started_since(untried_since)


def _holds_to_start_from(
    alias: str, due_of: Callable[[int], RunQuerySet | None], state: HoldState, now: datetime
) -> Iterator[tuple[int, RunQuerySet]]:
    """Yield holds that let one run start, with their due runs: probes first, then rate limits, the longest free first.

    `due_of` returns the due runs of a hold; None without any.
    """
    for hold in state.probes_due(now):
        due = due_of(hold.pk)
        if due is not None and take_probe(alias, hold):
            yield hold.pk, due
    for hold, rate in sorted(state.rate_limited(), key=lambda limited: limited[0].next_slot_at or EARLIEST):
        due = due_of(hold.pk) if is_free(hold, now) else None
        if due is not None and take_slot(alias, hold, rate):
            yield hold.pk, due


def _claim(
    alias: str, due: RunQuerySet, limit: int, state: HoldState, now: datetime, *, held_by: int = NOT_HELD
) -> Claimed:
    """Claim up to `limit` due runs; those that another hold holds back are moved to it instead."""
    lease, until = uuid.uuid4(), now + settings().run_lease
    if state.is_paused:
        return Claimed(alias=alias, lease=lease)
    with locked(due.order_by("next_try_at"), alias, limit) as rows:
        targets = _held_by(alias, rows, state)
        spent = [run for run in rows if _was_abandoned(run) and not has_tries_left(run)]
        wanted = [run for run in rows if run.status in Run.UNFINISHED and run not in spent and targets[run] == held_by]
        wanted.sort(key=_was_abandoned)  # what may have killed its worker comes last: the others have run by then
        finished = spent + [run for run in rows if run.status in Run.FINISHED]
        misplaced = [run for run in targets if run not in spent and targets[run] not in (run.held_by, held_by)]
        moved = sum(move_runs(alias, [run.pk], run.held_by, targets[run], every_status=True) for run in misplaced)
        if spent:
            due.filter(pk__in=pks_of(spent)).give_up(_GIVEN_UP, now=now)
        started = None if finished else first_known(wanted)
        taken = 0
        if wanted:
            ours = due.filter(pk__in=pks_of(wanted))  # those that no other process has claimed since they were read
            taken = ours.claim(lease=lease, until=until, held_by=held_by, started=started, now=now)
        if abandoned := [run for run in [*spent, *wanted] if _was_abandoned(run)]:
            record_abandoned(alias, abandoned, now, _ABANDONED)
    if taken != len(wanted):  # without row locks another worker may have been faster with some of them
        keys = set(Run.objects.using(alias).filter(pk__in=pks_of(wanted), lease=lease).values_list("pk", flat=True))
        wanted = [run for run in wanted if run.pk in keys]
    for run in wanted:
        run.status, run.lease, run.next_try_at, run.held_by = Run.Status.RUNNING, lease, until, held_by
    moved += _move_others(alias, {(run.held_by, targets[run]) for run in misplaced}, state)
    _attach_deliveries(alias, wanted)
    started = started if started in wanted else None
    return Claimed(alias=alias, lease=lease, runs=wanted, started=started, finished=finished, moved=moved)


def _was_abandoned(run: Run) -> bool:
    """Return whether a worker died, or hung, while the run's receiver was at work."""
    return run.status == Run.Status.RUNNING and run.started_at is not None


def first_known(runs: Sequence[Run]) -> Run | None:
    """Return the first of the runs whose receiver is connected in this process: the one to start first."""
    return next((run for run in runs if registry.get(run.receiver) is not None), None)


def _held_by(alias: str, rows: Sequence[Run], state: HoldState) -> dict[Run, int]:
    """Return what holds back each unfinished run now: that may have changed after it was created."""
    runs = [run for run in rows if run.status in Run.UNFINISHED]
    if state.is_idle:
        return dict.fromkeys(runs, NOT_HELD)
    webhooks: dict[int, uuid.UUID] = {}
    if state.depends_on_webhook:
        pks = {run.delivery_id for run in runs}
        webhooks = dict(Delivery.objects.using(alias).filter(pk__in=pks).values_list("pk", "webhook_id"))
    return {run: state.held_by(webhooks.get(run.delivery_id), run.receiver) for run in runs}


def _move_others(alias: str, moves: Iterable[tuple[int, int]], state: HoldState) -> int:
    """Move a batch of the runs that are in the same place as a misplaced one, too; return how many."""
    moved = 0
    holds = {hold.pk: hold for hold in state.holds.values()}
    for source, target in moves:
        try:
            moved += move_to_hold(alias, holds[target], source) if target in holds and source != target else 0
        except Error as error:  # claimed runs must be executed now; the next claim moves the rest
            logger.warning(
                "Held runs could not be moved out of the queue: %s. The next claim moves them.", type(error).__name__
            )
    return moved


def release_all(alias: str, lease: uuid.UUID, runs: Sequence[Run]) -> None:
    """Release runs that were claimed but not started."""
    for place, run in enumerate(runs):
        release(alias, lease, run, place)


def release(alias: str, lease: uuid.UUID, run: Run, place: int = 0, *, only_unstarted: bool = False) -> bool:
    """Release one claimed run, as it was before the claim; return whether it was still held under the lease.

    `place` is its place among those that are released with it. Only the thread that starts the claim's runs knows
    whether a run that is marked as started has been called; any other passes `only_unstarted`.
    """
    came_at = run.created_at if run.is_replay else run.delivery.received_at
    due_at = (came_at if run.tries == 0 else timezone.now()) + place * DUE_STEP
    held = Run.objects.using(alias).held_under(lease, run.pk)
    return bool((held.filter(started_at__isnull=True) if only_unstarted else held).release(run, due_at=due_at))


def pks_of(rows: Sequence[models.Model]) -> list[int]:
    """Return the keys of rows."""
    return [row.pk for row in rows]


_GIVEN_UP: Final = "The worker died, or the receiver hung, on the last try."

_ABANDONED: Final = "The worker died, or the receiver hung."


def _attach_deliveries(alias: str, runs: Sequence[Run]) -> None:
    deliveries = Delivery.objects.using(alias).in_bulk({run.delivery_id for run in runs}) if runs else {}
    for run in runs:
        run.delivery = deliveries[run.delivery_id]
    copy_shared_deliveries(runs)


def copy_shared_deliveries(runs: Sequence[Run]) -> None:
    """Give each run its own copy of its delivery, so that no receiver sees what another one changes in it."""
    seen: set[int] = set()
    for run in runs:
        if run.delivery_id in seen:
            run.delivery = copy.deepcopy(run.delivery)
        seen.add(run.delivery_id)


@contextmanager
def locked(due: models.QuerySet[_Row], alias: str, limit: int) -> Iterator[list[_Row]]:
    """Yield the first due rows inside a transaction, locked where the database skips those that others have locked.

    Elsewhere they are read before the transaction, which then begins with a write: one that reads first and writes
    later fails on SQLite as soon as another connection has written.
    """
    if can_skip_locked(alias):
        with transaction.atomic(using=alias, durable=True):
            yield list(due.select_for_update(skip_locked=True)[:limit])
    else:
        rows = list(due[:limit])
        with transaction.atomic(using=alias, durable=True):
            yield rows


def can_skip_locked(alias: str) -> bool:
    """Return whether the database skips rows that others have locked."""
    return connections[alias].features.has_select_for_update_skip_locked
