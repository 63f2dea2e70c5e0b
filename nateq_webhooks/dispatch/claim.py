"""Taking work so that nobody else does it: deliveries whose runs are to be made, runs that are due.

A claim is a lease: it sets `next_try_at` to its end and a token that only this claim knows. While a worker lives it
renews the lease; when it dies the lease runs out, and the run is due again by the same column and the same index.
"""

import copy
import logging
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, TypeVar

from django.db import connections, models, transaction
from django.db.models import F
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.protocol.envelope import Note
from nateq_webhooks.receivers import registry

PARKED: Final = datetime(9000, 1, 1, tzinfo=UTC)
"""`next_try_at` of a run that nobody may start: at the far end of the index, it never stands before a due one."""

logger: Final = logging.getLogger("nateq_webhooks")

OPEN: Final = (Run.Status.WAITING, Run.Status.FAILED, Run.Status.RUNNING)
"""What a claim may start; a finished run that is still due only waits for its delivery to be settled."""

_Row = TypeVar("_Row", bound=models.Model)


@dataclass(frozen=True, kw_only=True, slots=True)
class Claimed:
    """What one claim took: runs to execute, all under one lease, and what only waits to be settled.

    `finished` are runs that ended without their delivery being settled, `unheard` deliveries whose
    receivers have been gone for so long that they are given up.
    """

    alias: str
    lease: uuid.UUID
    runs: Sequence[Run] = ()
    finished: Sequence[Run] = ()
    unheard: Sequence[int] = ()

    def __bool__(self) -> bool:
        return bool(self.runs or self.finished or self.unheard)


def claim_deliveries(alias: str, limit: int) -> Claimed:
    """Claim up to `limit` deliveries that are due for dispatch and make their runs, held by this claim."""
    now = timezone.now()
    due = Delivery.objects.using(alias).filter(dispatch_at__lte=now).order_by("dispatch_at")
    with _locked(due, alias, limit) as rows:
        return _make_runs(alias, rows, now)


def claim_delivery(alias: str, pk: int, dispatch_at: datetime | None = None) -> Claimed:
    """Claim one delivery and make its runs; nothing when another has claimed it.

    `dispatch_at` is the value that the caller knows: whoever took the delivery over has changed it.
    """
    wanted = Delivery.objects.using(alias).filter(pk=pk, dispatch_at__isnull=False)
    delivery = (wanted if dispatch_at is None else wanted.filter(dispatch_at=dispatch_at)).first()
    if delivery is None:
        return Claimed(alias=alias, lease=uuid.uuid4())
    with transaction.atomic(using=alias, durable=True):
        return _make_runs(alias, [delivery], timezone.now())


def claim_runs(alias: str, limit: int) -> Claimed:
    """Claim up to `limit` runs that are due: waiting, failed and to be tried again, or left by a dead worker.

    A run that a worker left unfinished on its last try is given up here instead: it may be what kills the workers.
    """
    now = timezone.now()
    lease = uuid.uuid4()
    due = Run.objects.using(alias).filter(next_try_at__lte=now).order_by("next_try_at")
    with _locked(due, alias, limit) as rows:
        spent = [run for run in rows if run.status == Run.Status.RUNNING and run.tries >= settings().max_tries]
        wanted = [run for run in rows if run.status in OPEN and run not in spent]
        mine = _still_due(alias, spent, now)
        mine.update(status=Run.Status.DEAD, lease=None, finished_at=now, error=_LEFT_BEHIND)
        taken = _still_due(alias, wanted, now).update(
            status=Run.Status.RUNNING,
            tries=F("tries") + 1,
            started_at=now,
            next_try_at=now + settings().run_lease,
            lease=lease,
        )
    if taken != len(wanted):  # without row locks another worker may have been faster with some of them
        ours = set(Run.objects.using(alias).filter(pk__in=pks_of(wanted), lease=lease).values_list("pk", flat=True))
        wanted = [run for run in wanted if run.pk in ours]
    for run in wanted:
        run.status, run.tries, run.lease, run.started_at = Run.Status.RUNNING, run.tries + 1, lease, now
        run.next_try_at = now + settings().run_lease
    _attach_deliveries(alias, wanted)
    finished = spent + [run for run in rows if run.status not in OPEN]
    return Claimed(alias=alias, lease=lease, runs=wanted, finished=finished)


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


def _still_due(alias: str, runs: Sequence[Run], now: datetime) -> models.QuerySet[Run]:
    """Return those of the runs that nobody has claimed since they were read."""
    return Run.objects.using(alias).filter(pk__in=pks_of(runs), next_try_at__lte=now, status__in=OPEN)


def _attach_deliveries(alias: str, runs: Sequence[Run]) -> None:
    deliveries = Delivery.objects.using(alias).in_bulk({run.delivery_id for run in runs}) if runs else {}
    for run in runs:
        run.delivery = deliveries[run.delivery_id]
    _separate(runs)


def _separate(runs: Sequence[Run]) -> None:
    """Give each run a delivery of its own: what one receiver changes in it, no other sees."""
    seen: set[int] = set()
    for run in runs:
        if run.delivery_id in seen:
            run.delivery = copy.deepcopy(run.delivery)
        seen.add(run.delivery_id)


def _make_runs(alias: str, deliveries: Sequence[Delivery], now: datetime) -> Claimed:
    """Make one run per receiver of each delivery that is still to be dispatched. Inside the caller's transaction."""
    lease = uuid.uuid4()
    mine = _taken(alias, deliveries)
    runs = [
        Run(
            delivery=delivery,
            receiver=receiver.name,
            status=Run.Status.RUNNING,
            tries=1,
            created_at=now,
            started_at=now,
            next_try_at=now + settings().run_lease,
            lease=lease,
        )
        for delivery in mine
        for receiver in registry.for_event(_event_name(delivery))
    ]
    made = Run.objects.using(alias).bulk_create(runs)
    if any(run.pk is None for run in made):  # MySQL proper returns no keys
        by_pk = {delivery.pk: delivery for delivery in mine}
        made = list(Run.objects.using(alias).filter(lease=lease, delivery_id__in=by_pk).order_by("pk"))
        for run in made:
            run.delivery = by_pk[run.delivery_id]
    _separate(made)
    run_for = {run.delivery_id for run in made}
    unheard = [delivery for delivery in mine if delivery.pk not in run_for]
    return Claimed(alias=alias, lease=lease, runs=made, unheard=_unheard(alias, unheard, now))


def _unheard(alias: str, deliveries: Sequence[Delivery], now: datetime) -> list[int]:
    """Put deliveries off that had a receiver when they were stored and have none here; return those to give up.

    In a rolling deployment the process that stored them may know a receiver that this one does not know yet.
    """
    oldest = now - settings().retry_max_age
    for delivery in deliveries:
        logger.warning("No receiver of %s is connected here; delivery %s waits for one.", delivery.event, delivery.pk)
    young = [delivery.pk for delivery in deliveries if delivery.received_at > oldest]
    if young:
        Delivery.objects.using(alias).filter(pk__in=young).update(dispatch_at=now + settings().run_lease)
    return [delivery.pk for delivery in deliveries if delivery.received_at <= oldest]


def _taken(alias: str, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Set `dispatch_at` to NULL on the deliveries that nobody else has taken, and return those."""
    rows = Delivery.objects.using(alias)
    if _can_skip_locked(alias) and len(deliveries) > 1:
        rows.filter(pk__in=[delivery.pk for delivery in deliveries]).update(dispatch_at=None)
        return list(deliveries)
    return [
        delivery
        for delivery in deliveries
        if rows.filter(pk=delivery.pk, dispatch_at=delivery.dispatch_at).update(dispatch_at=None)
    ]


def _event_name(delivery: Delivery) -> str:
    """Return the event's whole name; the column may hold only its beginning."""
    is_whole = Note.CUT not in delivery.notes and Note.EVENT_UNUSABLE not in delivery.notes
    return delivery.event if is_whole else delivery.load_event().name


@contextmanager
def _locked(due: models.QuerySet[_Row], alias: str, limit: int) -> Iterator[list[_Row]]:
    """Give the first due rows inside a transaction, locked where the database passes over those of other workers.

    Elsewhere they are read before the transaction, which then begins with a write: one that reads first and writes
    later fails on SQLite as soon as somebody else has written.
    """
    if _can_skip_locked(alias):
        with transaction.atomic(using=alias, durable=True):
            yield list(due.select_for_update(skip_locked=True)[:limit])
    else:
        rows = list(due[:limit])
        with transaction.atomic(using=alias, durable=True):
            yield rows


def _can_skip_locked(alias: str) -> bool:
    return connections[alias].features.has_select_for_update_skip_locked
