"""Creating a delivery's runs: claim the delivery by setting `dispatch_at` to NULL, and create a run per receiver.

Both happen in one transaction. A run that may start at once belongs to the claim that creates it. One that a pause, a
rate limit or an earlier delivery of its key holds back waits.
"""

import functools
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

from django.db import Error, connections, router, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.claim import DUE_STEP, Claimed, can_skip_locked, copy_shared_deliveries, locked
from nateq_webhooks.dispatch.claim_statements import first_due_delivery, insert_runs, take_due_deliveries
from nateq_webhooks.dispatch.due_range import due_ranges
from nateq_webhooks.dispatch.holds import HoldState, hold_cache
from nateq_webhooks.dispatch.notify import runs_in_request
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import HELD_BY_ORDER, NOT_HELD, NewRun
from nateq_webhooks.protocol.envelope import Note
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")

MAX_IN_REQUEST: Final = 20
"""Deliveries whose runs one request creates where order matters: its own, and those that came before it."""

Wanted = Iterable[tuple[Delivery, Sequence[str]]]
"""Deliveries, and the names of the receivers that are to run for each."""


def claim_deliveries(alias: str, limit: int) -> Claimed:
    """Claim up to `limit` deliveries that are due for dispatch and create their runs under the same lease."""
    state = hold_cache.get(alias)
    if state.is_paused:
        return _nothing(alias)
    if settings().ordered_by:
        return _claim_in_order(alias, limit, state)
    now = timezone.now()
    first = due_ranges.deliveries(alias).first(functools.partial(first_due_delivery, alias, now), now)
    if first is None:
        return _nothing(alias)
    if connections[alias].vendor == "postgresql" and can_skip_locked(alias):
        with transaction.atomic(using=alias, durable=True):
            return _create_runs(alias, take_due_deliveries(alias, limit, now, first), state, now)[0]
    due = Delivery.objects.using(alias).filter(dispatch_at__gte=first, dispatch_at__lte=now).order_by("dispatch_at")
    with locked(due, alias, limit) as rows:
        return _create_runs(alias, _taken(alias, rows), state, now)[0]


def claim_delivery(alias: str, pk: int, dispatch_at: datetime | None = None) -> Claimed:
    """Claim one delivery and create its runs; nothing if another process has claimed it.

    `dispatch_at` is the value that the caller knows: a process that took the delivery over has changed it.
    """
    wanted = Delivery.objects.using(alias).filter(pk=pk, dispatch_at__isnull=False)
    delivery = (wanted if dispatch_at is None else wanted.filter(dispatch_at=dispatch_at)).first()
    if delivery is None:
        return _nothing(alias)
    state = hold_cache.get(alias)
    if state.is_paused:
        _make_due(alias, delivery)
        return _nothing(alias)
    if settings().ordered_by:
        return _claim_in_order(alias, MAX_IN_REQUEST, state, only=pk)
    with transaction.atomic(using=alias, durable=True):
        return _create_runs(alias, _taken(alias, [delivery]), state, timezone.now())[0]


def _make_due(alias: str, delivery: Delivery) -> None:
    """Make a delivery that can't be dispatched now due at once, so that a worker takes it after the pause.

    Where order matters it keeps its place; workers also take deliveries that a request still has.
    """
    now = timezone.now()
    if not settings().ordered_by and delivery.dispatch_at is not None and delivery.dispatch_at > now:
        row = Delivery.objects.using(alias).filter(pk=delivery.pk, dispatch_at=delivery.dispatch_at)
        row.update(dispatch_at=now)


def runs_to_insert(event: str) -> list[NewRun]:
    """Return runs to insert together with a new delivery, claimed by the request that stores it, the first one started.

    None where the configured runner runs nothing in the request, or if something may hold them back (a pause, a rate
    limit, `ORDERED_BY`): then the delivery is stored first, and claimed. Never raises.
    """
    receivers = registry.for_event(event)
    if not receivers or not runs_in_request() or settings().ordered_by or settings().ack == "processed":
        return []
    try:
        if not hold_cache.get(router.db_for_write(Delivery)).is_idle:
            return []
    except Error:  # the delivery can't be stored either, which its own statement finds out
        return []
    now, lease = timezone.now(), uuid.uuid4()
    return [
        NewRun(receiver=receiver.name, created_at=now + place * DUE_STEP, **_claimed(lease, now, is_started=place == 0))
        for place, receiver in enumerate(receivers)
    ]


def _claimed(lease: uuid.UUID, now: datetime, *, is_started: bool) -> dict[str, Any]:
    """Return the columns of a run that is created under a lease; the try of one that is started is counted."""
    return {
        "status": Run.Status.RUNNING,
        "tries": int(is_started),
        "started_at": now if is_started else None,
        "next_try_at": now + settings().run_lease,
        "lease": lease,
    }


def claim_inserted(alias: str, runs: Sequence[Run]) -> Claimed:
    """Return the runs of `runs_to_insert`, which have been stored, as a claim of this process."""
    first = runs[0]
    first.tries, first.started_at = 0, None  # in memory a run is as it was before the try
    return Claimed(alias=alias, lease=cast(uuid.UUID, first.lease), runs=runs, started=first)


def event_name(delivery: Delivery) -> str:
    """Return the event's whole name; the column may hold only its beginning."""
    is_whole = Note.CUT not in delivery.notes and Note.EVENT_UNUSABLE not in delivery.notes
    return delivery.event if is_whole or delivery.is_content_lost else delivery.load_event().name


def connected_receivers(delivery: Delivery) -> list[str]:
    """Return the names of the receivers that can run for a delivery; none if it has no content for them."""
    if delivery.status == Delivery.Status.INVALID or delivery.is_content_lost:
        return []
    return [receiver.name for receiver in registry.for_event(event_name(delivery))]


def _claim_in_order(alias: str, limit: int, state: HoldState, *, only: int | None = None) -> Claimed:
    """Create the runs of the oldest deliveries, one process at a time, also of those that a request still has.

    So an earlier delivery is in the queue before a later one, whichever process creates the runs or dies in between. A
    request claims only the runs of its own delivery `only`, of those that no order holds back.
    """
    with order.lock(alias):
        due = Delivery.objects.using(alias).filter(dispatch_at__isnull=False).order_by("dispatch_at", "pk")[:limit]
        claimed, keys = _create_runs(alias, _taken(alias, list(due)), state, timezone.now(), only=only)
    order.promote(alias, keys)
    return claimed


def _create_runs(
    alias: str, taken: Sequence[Delivery], state: HoldState, now: datetime, *, only: int | None = None
) -> tuple[Claimed, frozenset[str]]:
    """Create one run per receiver of each delivery that was taken, inside the transaction in which it was."""
    lease = uuid.uuid4()
    wanted = [(one, [receiver.name for receiver in registry.for_event(event_name(one))]) for one in taken]
    without = [delivery for delivery, names in wanted if not names]
    created = create_runs(alias, wanted, state, now=now, lease=lease, only=only, starts=not without)
    copy_shared_deliveries(created.claimed)
    claimed = Claimed(
        alias=alias,
        lease=lease,
        runs=created.claimed,
        started=created.started,
        without_receivers=_postpone(alias, without, now),
        waiting=len(created.waiting),
    )
    return claimed, created.keys


def _nothing(alias: str) -> Claimed:
    return Claimed(alias=alias, lease=uuid.uuid4())


def _postpone(alias: str, deliveries: Sequence[Delivery], now: datetime) -> list[int]:
    """Postpone deliveries that had a receiver when they were stored and have none here; return those to give up.

    In a rolling deployment the process that stored them may know a receiver that this one does not know yet.
    """
    oldest = now - settings().retry_max_age
    young = [delivery for delivery in deliveries if delivery.received_at > oldest]
    old = [delivery for delivery in deliveries if delivery.received_at <= oldest]
    for delivery in young:
        logger.warning(
            "No receiver of %s is connected in this process; delivery %s waits for one.", delivery.event, delivery.pk
        )
    for delivery in old:
        logger.error(
            "No receiver of %s was connected within RETRY_MAX_AGE; delivery %s is given up. Connect one and replay it.",
            delivery.event,
            delivery.pk,
        )
    if young:
        rows = Delivery.objects.using(alias).filter(pk__in=[delivery.pk for delivery in young])
        rows.update(dispatch_at=now + settings().run_lease)
    return [delivery.pk for delivery in old]


def _taken(alias: str, deliveries: Sequence[Delivery]) -> list[Delivery]:
    """Set `dispatch_at` to NULL on the deliveries that no other process has taken, and return those.

    In memory, too: a receiver that saves its delivery must not have it dispatched once more.
    """
    rows = Delivery.objects.using(alias)
    if can_skip_locked(alias) and len(deliveries) > 1:
        rows.filter(pk__in=[delivery.pk for delivery in deliveries]).update(dispatch_at=None)
        taken = list(deliveries)
    else:
        taken = [
            delivery
            for delivery in deliveries
            if rows.filter(pk=delivery.pk, dispatch_at=delivery.dispatch_at).update(dispatch_at=None)
        ]
    for delivery in taken:
        delivery.dispatch_at = None
    return taken


@dataclass(frozen=True, slots=True)
class CreatedRuns:
    """The runs that were created."""

    claimed: Sequence[Run]
    started: Run | None
    "The one of `claimed` that is marked as started, and whose try is counted."
    waiting: Sequence[Run]
    keys: frozenset[str]
    "Of the queues that some of them are in, for `order.promote` after the commit."


def create_runs(
    alias: str,
    wanted: Wanted,
    state: HoldState,
    *,
    now: datetime,
    lease: uuid.UUID | None = None,
    only: int | None = None,
    starts: bool = True,
    round_: int = 0,
) -> CreatedRuns:
    """Create runs, inside the caller's transaction, and claim those that nothing holds back under the `lease`.

    With `only` just those of that delivery are claimed. Without a `lease` all wait to be claimed, in the order in which
    their deliveries came, or their replay was requested. With `starts` the first claimed one is marked as started.
    """
    runs: list[Run] = []
    starts = starts and lease is not None
    for delivery, names in wanted:
        value = order.key_of(delivery) if names else None
        for name in names:
            due_at = now if round_ else delivery.received_at
            held_by = HELD_BY_ORDER if value is not None else state.held_by(delivery.webhook_id, name)
            state_columns: dict[str, Any] = {"next_try_at": due_at + len(runs) * DUE_STEP}
            if lease is not None and held_by == NOT_HELD and only in (None, delivery.pk):
                state_columns = _claimed(lease, now, is_started=starts)
                starts = False
            run = Run(
                delivery=delivery,
                receiver=name,
                round=round_,
                held_by=held_by,
                created_at=now + len(runs) * DUE_STEP,
                **state_columns,
            )
            runs.append(run)
    saved = runs if insert_runs(alias, runs) else _saved(alias, runs, round_)
    in_order = [run for run in saved if run.held_by == HELD_BY_ORDER]
    keys = order.enqueue(alias, in_order) if in_order else set()
    started = next((run for run in saved if run.started_at is not None), None)
    if started is not None:  # in memory a run is as it was before the try
        started.tries, started.started_at = 0, None
    return CreatedRuns(
        claimed=[run for run in saved if run.status == Run.Status.RUNNING],
        started=started,
        waiting=[run for run in saved if run.status != Run.Status.RUNNING],
        keys=frozenset(keys),
    )


def _saved(alias: str, runs: Sequence[Run], round_: int) -> Sequence[Run]:
    """Save the runs where the database does not return their keys (MySQL), and read them."""
    Run.objects.using(alias).bulk_create(runs)
    deliveries = {run.delivery_id: run.delivery for run in runs}
    saved = list(Run.objects.using(alias).filter(delivery_id__in=deliveries, round=round_).order_by("pk"))
    for run in saved:
        run.delivery = deliveries[run.delivery_id]
    return saved
