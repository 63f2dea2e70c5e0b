"""Taking runs so that nobody else does: those that are due, lane by lane.

A claim is a lease: it sets `next_try_at` to its end and a token that only this claim knows. While a worker lives it
renews the lease; when it dies the lease runs out, and the run is due again by the same column and the same index.

A claimed run is `running` and has no `started_at` until its receiver is about to be called; only that counts a try.
"""

import copy
import logging
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from django.db import Error, connections, models, transaction
from django.db.models import Case, DateTimeField, F, Q, Value, When
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.breaker import take_probe
from nateq_webhooks.dispatch.gates import LONG_AGO, Control, controls, fill_lane, move
from nateq_webhooks.dispatch.rates import is_free, take_slot
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE, TURN_LANE
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")

PARKED: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""`next_try_at` of a run that nobody may start: at the far end of the index, it never stands before a due one."""

MOMENT: Final = timedelta(microseconds=1)
"""What is between two runs that become due at once, and are to start in that order."""

OPEN: Final = (Run.Status.WAITING, Run.Status.FAILED, Run.Status.RUNNING)
"""What a claim may start; a finished run that is still due only waits for its delivery to be settled."""

FINISHED: Final = (Run.Status.SUCCEEDED, Run.Status.DEAD, Run.Status.DROPPED)
"""A run that nobody will start by itself."""

_Row = TypeVar("_Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What one claim took: runs to execute, all under one lease, and what only waits to be settled.

    `tries` and `started_at` of the runs are those before the claim. `started` is the run that the claim has marked as
    started, and whose try it has counted; None if none is. `finished` are runs that ended without their delivery being
    settled, `unheard` deliveries whose receivers have been gone for so long that they are given up. `moved` counts runs
    that were only put into the lane where they belong, `waiting` those that were made, but may not start yet.
    """

    alias: str
    lease: uuid.UUID
    runs: Sequence[Run] = ()
    started: Run | None = None
    finished: Sequence[Run] = ()
    unheard: Sequence[int] = ()
    moved: int = 0
    waiting: int = 0

    def __bool__(self) -> bool:
        return self.found > 0

    @property
    def found(self) -> int:
        """How much there was to do."""
        return len(self.runs) + len(self.finished) + len(self.unheard) + self.moved + self.waiting


def claim_runs(alias: str, limit: int, *, untried_since: datetime | None = None) -> Claimed:
    """Claim up to `limit` runs that are due and that nothing holds back.

    They are new, failed and to be tried again, or left by a dead worker. A run that a worker left unfinished on its
    last try is given up here instead: it may be what kills the workers. With `untried_since` given: only runs that
    nobody has started since then.
    """
    now = timezone.now()
    due = Run.objects.using(alias).filter(untried(untried_since), lane=OPEN_LANE, next_try_at__lte=now)
    return _claim(alias, due, limit, controls.get(alias), now)


def claim_scarce(alias: str, delivery_pk: int | None = None, *, untried_since: datetime | None = None) -> Claimed:
    """Claim one run that a rate limit or a breaker's probe lets start now.

    Of any delivery, as `claim_runs`, or of one, as `claim_runs_of`.

    One at a time, to be started at once: a slot that is kept is a burst later.
    """
    control = controls.get(alias)
    if control.is_idle or control.is_paused:
        return Claimed(alias=alias, lease=uuid.uuid4())
    now = timezone.now()
    if delivery_pk is None:
        due = Run.objects.using(alias).filter(untried(untried_since), next_try_at__lte=now)
    else:
        due = _due_of(alias, delivery_pk, now, untried_since)
    moved = 0
    for lane in _ready_lanes(alias, due, control, now):
        while claimed := _claim(alias, due.filter(lane=lane), 1, control, now, lane=lane):
            if claimed.runs or claimed.finished:
                return claimed
            moved += claimed.moved  # they were another gate's: look at the next
    return Claimed(alias=alias, lease=uuid.uuid4(), moved=moved)


def claim_runs_of(alias: str, delivery_pk: int, *, untried_since: datetime | None = None) -> Claimed:
    """Claim the runs of one delivery that are due and that nothing holds back, whatever lane they were left in.

    With `untried_since` given: all that nobody holds, whatever their backoff, and that nobody has tried since then.
    """
    now = timezone.now()
    due = _due_of(alias, delivery_pk, now, untried_since)
    return _claim(alias, due, _ALL_OF_ONE, controls.get(alias), now)


def _due_of(alias: str, delivery_pk: int, now: datetime, untried_since: datetime | None) -> models.QuerySet[Run]:
    runs = Run.objects.using(alias).filter(delivery_id=delivery_pk).exclude(lane=TURN_LANE)
    due = Q(next_try_at__lte=now)
    if untried_since is not None:
        due |= Q(status__in=[Run.Status.WAITING, Run.Status.FAILED], next_try_at__lt=PARKED)
        due |= Q(status__in=FINISHED, next_try_at__isnull=False)
    return runs.filter(due, untried(untried_since))


def untried(since: datetime | None) -> Q:
    """Return the condition that nobody has started a run since then; what is finished still has to be settled."""
    if since is None:
        return Q()
    return Q(status__in=FINISHED) | Q(started_at__isnull=True) | Q(started_at__lt=since)


_ALL_OF_ONE: Final = 100
"""Runs of one delivery that are claimed at once: more than a site has receivers."""


def _ready_lanes(alias: str, due: models.QuerySet[Run], control: Control, now: datetime) -> Iterator[int]:
    """Yield the lanes from which one run may start: the probes', then the limits', the longest free slot first."""
    for gate in control.probed(now):
        if due.filter(lane=gate.pk).exists() and take_probe(alias, gate):
            yield gate.pk
    for gate, rate in sorted(control.limited(), key=lambda limited: limited[0].next_slot_at or LONG_AGO):
        if is_free(gate, now) and due.filter(lane=gate.pk).exists() and take_slot(alias, gate, rate):
            yield gate.pk


def _claim(
    alias: str, due: models.QuerySet[Run], limit: int, control: Control, now: datetime, *, lane: int = OPEN_LANE
) -> Claimed:
    """Claim up to `limit` due runs that belong in the lane; those that belong elsewhere are moved there."""
    lease = uuid.uuid4()
    if control.is_paused:
        return Claimed(alias=alias, lease=lease)
    with locked(due.order_by("next_try_at"), alias, limit) as rows:
        targets = _targets(alias, rows, control)
        spent = [run for run in rows if _was_left(run) and run.tries >= settings().max_tries]
        wanted = [run for run in rows if run.status in OPEN and run not in spent and targets[run] == lane]
        wanted.sort(key=_was_left)  # what may have killed its worker comes last: the others have run by then
        finished = spent + [run for run in rows if run.status not in OPEN]
        strays = [run for run in targets if run not in spent and targets[run] not in (run.lane, lane)]
        moved = sum(move(alias, [run.pk], run.lane, targets[run], every_status=True) for run in strays)
        if spent:
            left = {"status": Run.Status.DEAD, "lease": None, "finished_at": now, "lane": OPEN_LANE}
            _still_mine(due, spent).update(error=_LEFT_BEHIND, **left)
        started = None if finished else first_known(wanted)
        taken = _take(due, wanted, started, lease, now, lane) if wanted else 0
    if taken != len(wanted):  # without row locks another worker may have been faster with some of them
        ours = set(Run.objects.using(alias).filter(pk__in=pks_of(wanted), lease=lease).values_list("pk", flat=True))
        wanted = [run for run in wanted if run.pk in ours]
    for run in wanted:
        run.status, run.lease = Run.Status.RUNNING, lease
        run.next_try_at, run.lane = now + settings().run_lease, lane
    moved += _move_others(alias, {(run.lane, targets[run]) for run in strays}, control)
    _attach_deliveries(alias, wanted)
    started = started if started in wanted else None
    return Claimed(alias=alias, lease=lease, runs=wanted, started=started, finished=finished, moved=moved)


def _was_left(run: Run) -> bool:
    """Say whether a worker died, or hung, while the run's receiver was at work."""
    return run.status == Run.Status.RUNNING and run.started_at is not None


def first_known(runs: Sequence[Run]) -> Run | None:
    """Return the first of the runs whose receiver is connected in this process: the one to start first."""
    return next((run for run in runs if registry.get(run.receiver) is not None), None)


def _take(
    due: models.QuerySet[Run],
    wanted: Sequence[Run],
    started: Run | None,
    lease: uuid.UUID,
    now: datetime,
    lane: int,
) -> int:
    """Take the runs, and count a try of the one that starts now."""
    starts = Q(pk=started.pk if started is not None else None)
    return _still_mine(due, wanted).update(
        status=Run.Status.RUNNING,
        tries=F("tries") + Case(When(starts, then=1), default=0),
        started_at=Case(When(starts, then=Value(now)), default=None, output_field=DateTimeField()),
        next_try_at=now + settings().run_lease,
        lease=lease,
        lane=lane,
    )


def _targets(alias: str, rows: Sequence[Run], control: Control) -> dict[Run, int]:
    """Return the lane in which each run belongs that could start: its gate may have changed after it was made."""
    runs = [run for run in rows if run.status in OPEN]
    if control.is_idle:
        return dict.fromkeys(runs, OPEN_LANE)
    webhooks: dict[int, uuid.UUID] = {}
    if control.holds_webhooks:
        pks = {run.delivery_id for run in runs}
        webhooks = dict(Delivery.objects.using(alias).filter(pk__in=pks).values_list("pk", "webhook_id"))
    return {run: control.lane(webhooks.get(run.delivery_id), run.receiver) for run in runs}


def _move_others(alias: str, ways: Iterable[tuple[int, int]], control: Control) -> int:
    """Where one run was in the wrong lane there are others: move a portion of them, too; return how many."""
    moved = 0
    gates = {gate.pk: gate for gate in control.gates.values()}
    for source, target in ways:
        try:
            moved += fill_lane(alias, gates[target], source) if target in gates and source != target else 0
        except Error as error:  # what was claimed must be run: the rest is moved by the next claim
            logger.warning("Held runs were left in the way for now: %s", type(error).__name__)
    return moved


def release(alias: str, lease: uuid.UUID, runs: Sequence[Run]) -> None:
    """Give back runs that were claimed but not started."""
    for place, run in enumerate(runs):
        give_back(alias, lease, run, place)


def give_back(alias: str, lease: uuid.UUID, run: Run, place: int = 0, *, only_unstarted: bool = False) -> bool:
    """Give one claimed run back, to where it was, as if it had never been taken; say whether it was still held.

    `place` is its place among those that are given back with it. Only the thread that starts the claim's runs knows
    whether a run that is marked as started has been called; any other passes `only_unstarted`.
    """
    is_new = run.tries == 0
    came_at = run.created_at if run.is_replay else run.delivery.received_at
    held = Run.objects.using(alias).filter(pk=run.pk, lease=lease, status=Run.Status.RUNNING)
    given_back = (held.filter(started_at__isnull=True) if only_unstarted else held).update(
        status=Run.Status.WAITING if is_new else Run.Status.FAILED,
        tries=run.tries,
        started_at=run.started_at,
        next_try_at=(came_at if is_new else timezone.now()) + place * MOMENT,
        lease=None,
    )
    return bool(given_back)


def pks_of(rows: Sequence[models.Model]) -> list[int]:
    """Return the keys of rows."""
    return [row.pk for row in rows]


_LEFT_BEHIND: Final = "The worker died, or the receiver hung, on the last try."


def _still_mine(due: models.QuerySet[Run], runs: Sequence[Run]) -> models.QuerySet[Run]:
    """Return those of the runs that nobody has claimed since they were read."""
    return due.filter(pk__in=pks_of(runs), status__in=OPEN)


def _attach_deliveries(alias: str, runs: Sequence[Run]) -> None:
    deliveries = Delivery.objects.using(alias).in_bulk({run.delivery_id for run in runs}) if runs else {}
    for run in runs:
        run.delivery = deliveries[run.delivery_id]
    separate(runs)


def separate(runs: Sequence[Run]) -> None:
    """Give each run a delivery of its own: what one receiver changes in it, no other sees."""
    seen: set[int] = set()
    for run in runs:
        if run.delivery_id in seen:
            run.delivery = copy.deepcopy(run.delivery)
        seen.add(run.delivery_id)


@contextmanager
def locked(due: models.QuerySet[_Row], alias: str, limit: int) -> Iterator[list[_Row]]:
    """Give the first due rows inside a transaction, locked where the database passes over those of other workers.

    Elsewhere they are read before the transaction, which then begins with a write: one that reads first and writes
    later fails on SQLite as soon as somebody else has written.
    """
    if can_skip_locked(alias):
        with transaction.atomic(using=alias, durable=True):
            yield list(due.select_for_update(skip_locked=True)[:limit])
    else:
        rows = list(due[:limit])
        with transaction.atomic(using=alias, durable=True):
            yield rows


def can_skip_locked(alias: str) -> bool:
    """Say whether the database passes over rows that others have locked."""
    return connections[alias].features.has_select_for_update_skip_locked
