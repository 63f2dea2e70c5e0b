"""Order: a webhook's deliveries of one key run one at a time, in the order they came, for each receiver (`ORDERED_BY`).

Each unfinished run of a key has an order lock. The locks of one key are a queue. Only its head may start, which a
unique column guarantees; the others wait with `HELD_BY_ORDER`. A finished run leaves the queue before it leaves the
index of what is due, so that it is found again if its process dies in between. Runs are created under a lock, so that
an earlier delivery is in the queue first.
"""

import functools
import hashlib
import logging
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.db import Error, IntegrityError, connections, models, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.holds import get_hold, hold_cache
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import Hold, OrderLock
from nateq_webhooks.models.run import HELD_BY_ORDER, NOT_HELD
from nateq_webhooks.protocol.envelope import value_at

logger: Final = logging.getLogger("nateq_webhooks")

LOCK_SCOPE: Final = "order"
"""The scope of the hold whose row is the lock; it holds no run."""

BATCH_SIZE: Final = 1000
"""Order locks that are handled at a time."""


def key_of(delivery: Delivery) -> str | None:
    """Return the value that orders the delivery, as text; None if nothing does."""
    path = settings().ordered_by
    return value_at(delivery.body, path) if path else None


def order_lock_key(webhook_id: uuid.UUID, receiver: str, value: str) -> str:
    """Return the key of a receiver's queue for one value of one webhook: no sender stops another sender's deliveries.

    The migration 0008 converts the keys of earlier versions, which had no webhook.
    """
    inner = hashlib.sha256(f"{receiver}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()
    return hashlib.sha256(f"{webhook_id}\0{inner}".encode()).hexdigest()


@contextmanager
def lock(alias: str) -> Iterator[None]:
    """Create runs alone, in a transaction: the process that comes next sees every order lock from before."""
    pk = get_hold(alias, LOCK_SCOPE).pk
    row = Hold.objects.using(alias).filter(pk=pk)
    with transaction.atomic(using=alias):
        if connections[alias].features.has_select_for_update:
            row.select_for_update().get()
        else:
            row.update(failures=0)  # SQLite: a write takes the lock
        yield


def enqueue(alias: str, runs: Sequence[Run]) -> set[str]:
    """Add saved runs to their queues, inside the caller's transaction; return the keys, for `promote` after its commit.

    A run that was given up and still stops its queue makes room for the replay of the same delivery.
    """
    values = {delivery.pk: key_of(delivery) or "" for delivery in {run.delivery for run in runs}}
    locks = [
        OrderLock(
            run=run,
            key=order_lock_key(run.delivery.webhook_id, run.receiver, values[run.delivery_id]),
            position=run.delivery_id,
        )
        for run in runs
    ]
    rows = OrderLock.objects.using(alias)
    for replayed in (lock for lock in locks if lock.run.is_replay):
        rows.filter(key=replayed.key, position=replayed.position, run__status=Run.Status.DEAD).delete()
    rows.bulk_create(locks)
    return {lock.key for lock in locks}


def promote(alias: str, keys: Iterable[str]) -> list[int]:
    """Let the first run of each queue start, where none may yet; return the deliveries that may now run.

    Never raises: what the caller has claimed must be run, and `recover` promotes what could not be promoted now.
    """
    deliveries = []
    for key in sorted(keys):
        try:
            delivery = retry_transaction(functools.partial(_promote, alias, key))
        except Error as error:
            logger.warning(
                "The next delivery of a key could not be started: %s. Maintenance starts it later.",
                type(error).__name__,
            )
            break
        if delivery is not None:
            deliveries.append(delivery)
    return deliveries


def _promote(alias: str, key: str) -> int | None:
    locks = OrderLock.objects.using(alias)
    if locks.filter(head_key=key).exists():
        return None
    first = locks.filter(key=key).select_related("run").order_by("position", "run_id").first()
    if first is None:
        return None
    webhook_id = Delivery.objects.using(alias).filter(pk=first.position).values_list("webhook_id", flat=True).first()
    held_by = hold_cache.get(alias).held_by(webhook_id, first.run.receiver)
    try:
        with transaction.atomic(using=alias):
            if not locks.filter(pk=first.pk, head_key__isnull=True).update(head_key=key):
                return None
            waiting = Run.objects.using(alias).filter(pk=first.pk, held_by=HELD_BY_ORDER)
            waiting.update(held_by=held_by, next_try_at=timezone.now())
    except IntegrityError:  # another one is the head by now
        return None
    return first.position


def dequeue(alias: str, runs: Collection[Run]) -> list[int]:
    """Remove finished runs from their queues, and promote those behind them; return the deliveries that may now run."""
    if not settings().ordered_by or not runs:
        return []
    locks = _finished(alias).filter(run__in=[run.pk for run in runs])
    return promote(alias, _delete(alias, list(locks.values_list("run_id", "key"))))


def _delete(alias: str, locks: Collection[tuple[int, str]]) -> set[str]:
    """Delete order locks, given as pairs of run and key; return the keys."""
    pks = [pk for pk, _key in locks]
    if pks:
        retry_transaction(lambda: OrderLock.objects.using(alias).filter(pk__in=pks).delete())
    return {key for _pk, key in locks}


def recover(alias: str) -> int:
    """Promote a batch of the runs that no process has promoted; return how many.

    The process that was to do it died, or `ORDER_ON_DEAD` or `ORDERED_BY` was changed.
    """
    if not settings().ordered_by:
        return _release_all(alias)
    heads = _finished(alias).filter(head_key__isnull=False)
    keys = _delete(alias, list(heads.values_list("pk", "key")[:BATCH_SIZE]))
    head = OrderLock.objects.using(alias).filter(head_key=OuterRef("key"))
    headless = OrderLock.objects.using(alias).filter(~Exists(head)).values_list("key", flat=True)[:BATCH_SIZE]
    return len(promote(alias, keys | set(headless)))


def _finished(alias: str) -> models.QuerySet[OrderLock]:
    """Return the order locks of runs that have finished and do not stop those behind them."""
    statuses = Run.FINISHED if settings().order_on_dead == "skip" else Run.RESOLVED
    return OrderLock.objects.using(alias).filter(run__status__in=statuses)


def _release_all(alias: str) -> int:
    """Let a batch of the runs start that wait for others: nothing is ordered any more. Return how many."""
    pks = list(OrderLock.objects.using(alias).values_list("pk", flat=True)[:BATCH_SIZE])
    if not pks:
        return 0
    with transaction.atomic(using=alias):
        Run.objects.using(alias).filter(pk__in=pks, held_by=HELD_BY_ORDER).update(held_by=NOT_HELD)
        OrderLock.objects.using(alias).filter(pk__in=pks).delete()
    return len(pks)
