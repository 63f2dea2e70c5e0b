"""Taking deliveries whose runs are still to be made, so that nobody else does, and making their runs."""

import logging
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from django.db import transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.claim import Claimed, can_skip_locked, locked, separate
from nateq_webhooks.dispatch.gates import Control, controls
from nateq_webhooks.dispatch.making import make_runs
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.envelope import Note
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")


def claim_deliveries(alias: str, limit: int) -> Claimed:
    """Claim up to `limit` deliveries that are due for dispatch and make their runs, held by this claim."""
    control = controls.get(alias)
    if control.is_paused:
        return _nothing(alias)
    if settings().ordered_by:
        return _claim_in_order(alias, limit, control)
    now = timezone.now()
    due = Delivery.objects.using(alias).filter(dispatch_at__lte=now).order_by("dispatch_at")
    with locked(due, alias, limit) as rows:
        return _make_runs(alias, rows, control, now)[0]


def claim_delivery(alias: str, pk: int, dispatch_at: datetime | None = None) -> Claimed:
    """Claim one delivery and make its runs; nothing when another has claimed it.

    `dispatch_at` is the value that the caller knows: whoever took the delivery over has changed it.
    """
    wanted = Delivery.objects.using(alias).filter(pk=pk, dispatch_at__isnull=False)
    delivery = (wanted if dispatch_at is None else wanted.filter(dispatch_at=dispatch_at)).first()
    if delivery is None:
        return _nothing(alias)
    control = controls.get(alias)
    if control.is_paused:
        _let_go(alias, delivery)
        return _nothing(alias)
    if settings().ordered_by:
        return _claim_in_order(alias, _MOST_IN_A_REQUEST, control, only=pk)
    with transaction.atomic(using=alias, durable=True):
        return _make_runs(alias, [delivery], control, timezone.now())[0]


def _let_go(alias: str, delivery: Delivery) -> None:
    """Hold a delivery no longer that can't run now: it is due as soon as that is over.

    Where order matters it stays where it is in line, between what others hold; it is taken from there, too.
    """
    now = timezone.now()
    if not settings().ordered_by and delivery.dispatch_at is not None and delivery.dispatch_at > now:
        mine = Delivery.objects.using(alias).filter(pk=delivery.pk, dispatch_at=delivery.dispatch_at)
        mine.update(dispatch_at=now)


_MOST_IN_A_REQUEST: Final = 20
"""Deliveries whose runs one request makes where order matters: its own, and those that came before it."""


def event_name(delivery: Delivery) -> str:
    """Return the event's whole name; the column may hold only its beginning."""
    is_whole = Note.CUT not in delivery.notes and Note.EVENT_UNUSABLE not in delivery.notes
    return delivery.event if is_whole else delivery.load_event().name


def _claim_in_order(alias: str, limit: int, control: Control, *, only: int | None = None) -> Claimed:
    """Make the runs of the oldest deliveries, one process at a time, also of those that a request holds for itself.

    What came earlier has its turn before what came later, whoever makes the runs and whoever dies in between. Of what
    no order holds back a request claims the runs of its own delivery `only`.
    """
    with order.lock(alias):
        due = Delivery.objects.using(alias).filter(dispatch_at__isnull=False).order_by("dispatch_at", "pk")[:limit]
        claimed, keys = _make_runs(alias, list(due), control, timezone.now(), only=only)
    order.call_up(alias, keys)
    return claimed


def _make_runs(
    alias: str, deliveries: Sequence[Delivery], control: Control, now: datetime, *, only: int | None = None
) -> tuple[Claimed, frozenset[str]]:
    """Make one run per receiver of each delivery that is still to be dispatched. Inside the caller's transaction."""
    lease = uuid.uuid4()
    mine = _taken(alias, deliveries)
    wanted = [(one, [receiver.name for receiver in registry.for_event(event_name(one))]) for one in mine]
    silent = [delivery for delivery, names in wanted if not names]
    made = make_runs(alias, wanted, control, now=now, lease=lease, only=only, starts=not silent)
    separate(made.held)
    claimed = Claimed(
        alias=alias,
        lease=lease,
        runs=made.held,
        started=made.started,
        unheard=_unheard(alias, silent, now),
        waiting=len(made.waiting),
    )
    return claimed, made.keys


def _nothing(alias: str) -> Claimed:
    return Claimed(alias=alias, lease=uuid.uuid4())


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
    """Set `dispatch_at` to NULL on the deliveries that nobody else has taken, and return those.

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
