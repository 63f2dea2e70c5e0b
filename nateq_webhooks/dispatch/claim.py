"""Taking runs so that nobody else does: those that are due, lane by lane.

A claim is a lease: it sets `next_try_at` to its end and a token that only this claim knows. While a worker lives it
renews the lease; when it dies the lease runs out, and the run is due again by the same column and the same index.
"""

import copy
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from django.db import connections, models, transaction
from django.db.models import F, Q
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.breaker import take_probe
from nateq_webhooks.dispatch.gates import Control, controls, fill_lane, move
from nateq_webhooks.dispatch.rates import take_slots
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE

PARKED: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""`next_try_at` of a run that nobody may start: at the far end of the index, it never stands before a due one."""

OPEN: Final = (Run.Status.WAITING, Run.Status.FAILED, Run.Status.RUNNING)
"""What a claim may start; a finished run that is still due only waits for its delivery to be settled."""

_Row = TypeVar("_Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What one claim took: runs to execute, all under one lease, and what only waits to be settled.

    `finished` are runs that ended without their delivery being settled, `unheard` deliveries whose receivers have been
    gone for so long that they are given up. `moved` counts runs that were only put into the lane where they belong,
    `waiting` those that were made, but may not start yet.
    """

    alias: str
    lease: uuid.UUID
    runs: Sequence[Run] = ()
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


def claim_runs(alias: str, limit: int) -> Claimed:
    """Claim up to `limit` runs that are due: waiting, failed and to be tried again, or left by a dead worker.

    A run that a worker left unfinished on its last try is given up here instead: it may be what kills the workers.
    """
    now = timezone.now()
    return _claim(alias, Run.objects.using(alias).filter(next_try_at__lte=now), limit, now)


def claim_runs_of(alias: str, delivery_pk: int, *, untried: bool | None = None) -> Claimed:
    """Claim the runs of one delivery that are due.

    With `untried` given, those that nobody has tried (true), or all that nobody holds, whatever their backoff (false).
    """
    now = timezone.now()
    runs = Run.objects.using(alias).filter(delivery_id=delivery_pk)
    due = Q(next_try_at__lte=now)
    if untried is False:
        due |= Q(status__in=[Run.Status.WAITING, Run.Status.FAILED], next_try_at__lt=PARKED)
    elif untried:
        due &= Q(tries=0)
    return _claim(alias, runs.filter(due), _ALL_OF_ONE, now)


_ALL_OF_ONE: Final = 100
"""Runs of one delivery that are claimed at once: more than a site has receivers."""


def _claim(alias: str, due: models.QuerySet[Run], limit: int, now: datetime) -> Claimed:
    """Claim from every lane that something may start from."""
    control = controls.get(alias)
    lease = uuid.uuid4()
    if control.is_paused:
        return Claimed(alias=alias, lease=lease)
    runs: list[Run] = []
    finished: list[Run] = []
    moved = 0
    for lane, size in _lanes(alias, due, limit, control, now):
        started, ended, strays = _claim_lane(alias, due.filter(lane=lane), size, lease, control, now)
        runs += started
        finished += ended
        moved += strays
    _attach_deliveries(alias, runs)
    return Claimed(alias=alias, lease=lease, runs=runs, finished=finished, moved=moved)


def _lanes(
    alias: str, due: models.QuerySet[Run], limit: int, control: Control, now: datetime
) -> Iterator[tuple[int, int]]:
    """Yield the lanes to claim from, and how many each: the scarce ones first, so that they start when they may."""
    for gate in control.probed(now):
        if due.filter(lane=gate.pk).exists() and take_probe(alias, gate):
            yield gate.pk, 1
    for gate, rate in control.limited():
        waiting = due.filter(lane=gate.pk)[:limit].count()
        slots = take_slots(alias, gate, rate, waiting) if waiting else 0
        if slots:
            yield gate.pk, slots
    yield OPEN_LANE, limit


def _claim_lane(
    alias: str, due: models.QuerySet[Run], limit: int, lease: uuid.UUID, control: Control, now: datetime
) -> tuple[list[Run], list[Run], int]:
    """Claim up to `limit` due runs of one lane; return them, those that only wait to be settled, and how many moved."""
    with locked(due.order_by("next_try_at"), alias, limit) as rows:
        strays = _strays(alias, rows, control)
        spent = [run for run in rows if run.status == Run.Status.RUNNING and run.tries >= settings().max_tries]
        wanted = [run for run in rows if run.status in OPEN and run not in spent and run not in strays]
        moved = sum(move(alias, [run.pk], run.lane, lane, every_status=True) for run, lane in strays.items())
        mine = _still_mine(due, spent)
        if spent:
            mine.update(status=Run.Status.DEAD, lease=None, finished_at=now, error=_LEFT_BEHIND)
        taken = _take(due, wanted, lease, now) if wanted else 0
    if taken != len(wanted):  # without row locks another worker may have been faster with some of them
        ours = set(Run.objects.using(alias).filter(pk__in=pks_of(wanted), lease=lease).values_list("pk", flat=True))
        wanted = [run for run in wanted if run.pk in ours]
    for run in wanted:
        run.status, run.tries, run.lease, run.started_at = Run.Status.RUNNING, run.tries + 1, lease, now
        run.next_try_at = now + settings().run_lease
    moved += sum(fill_lane(alias, gate) for gate in control.gates.values() if gate.pk in strays.values())
    return wanted, spent + [run for run in rows if run.status not in OPEN], moved


def _take(due: models.QuerySet[Run], wanted: Sequence[Run], lease: uuid.UUID, now: datetime) -> int:
    return _still_mine(due, wanted).update(
        status=Run.Status.RUNNING,
        tries=F("tries") + 1,
        started_at=now,
        next_try_at=now + settings().run_lease,
        lease=lease,
    )


def _strays(alias: str, rows: Sequence[Run], control: Control) -> dict[Run, int]:
    """Return the runs that belong in another lane, with that lane: their gate was closed after they were made."""
    if control.is_idle:
        return {}
    webhooks: dict[int, uuid.UUID] = {}
    if control.holds_webhooks:
        pks = {run.delivery_id for run in rows}
        webhooks = dict(Delivery.objects.using(alias).filter(pk__in=pks).values_list("pk", "webhook_id"))
    lanes = {run: control.lane(webhooks.get(run.delivery_id), run.receiver) for run in rows if run.status in OPEN}
    return {run: lane for run, lane in lanes.items() if lane != run.lane}


def release(claimed: Claimed, runs: Sequence[Run]) -> None:
    """Give back runs that were claimed but not started, as if they had never been taken."""
    for status, those in (
        (Run.Status.WAITING, [run for run in runs if run.tries == 1]),
        (Run.Status.FAILED, [run for run in runs if run.tries > 1]),
    ):
        mine = Run.objects.using(claimed.alias).filter(pk__in=pks_of(those), lease=claimed.lease)
        mine.update(status=status, tries=F("tries") - 1, next_try_at=timezone.now(), lease=None)


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
