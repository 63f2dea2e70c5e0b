"""Finalizing runs: write their delivery's status, remove them from their queue and from the index of what is due.

A delivery's status follows from its runs, and is written after they have committed. A finished run stays due
(`next_try_at` is the end of its lease) until then. So if a process dies in between, a claim finds the run again.
"""

import functools
import logging
from collections.abc import Collection
from typing import Final

from django.db import connections, transaction
from django.db.models import F
from django.dispatch import Signal

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.exception_text import describe, ends_the_process
from nateq_webhooks.dispatch.failure import was_committed
from nateq_webhooks.dispatch.order import dequeue
from nateq_webhooks.dispatch.statements import mark_processed
from nateq_webhooks.models import Delivery, Run

logger: Final = logging.getLogger("nateq_webhooks")


def finalize(alias: str, runs: Collection[Run], *, succeeded: Collection[Run] = ()) -> list[int]:
    """Finalize runs that were tried or have finished; return the deliveries with a run that may start now.

    `succeeded` are those of them whose success this process has just committed. If a delivery's status shows that it
    was rolled back all the same, the try is recorded as failed.
    """
    sure = {run.pk for run in succeeded}
    uncertain = {run.delivery_id for run in runs if run.pk not in sure}
    processed = mark_all_processed(alias, [run for run in succeeded if run.delivery_id not in uncertain])
    rest = [run for run in runs if run.delivery_id not in processed]
    unprocessed = {
        pk
        for pk in sorted({run.delivery_id for run in rest})
        if not retry_transaction(functools.partial(update_delivery, alias, pk))
    }
    for run in succeeded:
        if run.delivery_id in unprocessed and not was_committed(run, alias):
            retry_transaction(functools.partial(update_delivery, alias, run.delivery_id))
    promoted = dequeue(alias, runs)
    left = runs if settings().ordered_by else rest
    if left:
        finished = Run.objects.using(alias).filter(pk__in=[run.pk for run in left])
        retry_transaction(lambda: finished.mark_finalized())
    return promoted


def mark_all_processed(alias: str, runs: Collection[Run]) -> frozenset[int]:
    """Mark the deliveries of succeeded runs as processed if no run of any is left to do; return which were marked.

    Their runs are finalized with them, unless they must leave their queues first (`ORDERED_BY`).
    """
    finalizes = not settings().ordered_by
    processed = retry_transaction(functools.partial(mark_processed, alias, runs, finalizes=finalizes))
    for pk in sorted(processed):
        announce_processed(alias, pk)
    return processed


def announce_processed(alias: str, delivery_pk: int) -> None:
    """Send the signal for a delivery that its last run has marked as processed, once that is committed."""
    _announce(signals.delivery_processed, delivery_pk, alias)


def update_delivery(alias: str, delivery_pk: int) -> bool:
    """Write a delivery's status, as its runs are now; return whether it is processed.

    It is written under a lock on the row: two runs that finish at the same moment would otherwise each see the other
    one unfinished, and neither would mark the delivery as processed.
    """
    rows = Delivery.objects.using(alias).filter(pk=delivery_pk)
    with transaction.atomic(using=alias, durable=True):
        if connections[alias].features.has_select_for_update:
            before = rows.select_for_update().values_list("status", flat=True).first()
        else:
            rows.update(status=F("status"))  # SQLite: a write takes the lock
            before = rows.values_list("status", flat=True).first()
        runs = Run.objects.using(alias).filter(delivery_id=delivery_pk).latest_rounds()
        after = derived_status(set(runs.values_list("status", flat=True)))
        if before not in (after, None):  # None: it was deleted since
            rows.update(status=after)
    if before not in (after, None):
        if after is Delivery.Status.PROCESSED:
            _announce(signals.delivery_processed, delivery_pk, alias)
        elif after is Delivery.Status.DEAD:
            _announce(signals.delivery_failed, delivery_pk, alias)
    return after is Delivery.Status.PROCESSED


def give_up(alias: str, delivery_pk: int) -> None:
    """Mark a delivery as dead for which no process has had a receiver for too long."""
    Delivery.objects.using(alias).filter(pk=delivery_pk).update(status=Delivery.Status.DEAD)
    _announce(signals.delivery_failed, delivery_pk, alias)


def derived_status(runs: Collection[str]) -> Delivery.Status:
    """Return a delivery's status by the statuses of the latest run of each receiver (ours: docs/how-to/workers.md)."""
    if Run.Status.FAILED in runs:
        return Delivery.Status.FAILED
    if not set(runs) <= set(Run.FINISHED):
        return Delivery.Status.RECEIVED
    return Delivery.Status.DEAD if Run.Status.DEAD in runs else Delivery.Status.PROCESSED


def _announce(signal: Signal, pk: int, alias: str) -> None:
    """Send a monitoring signal; the row is read only if a receiver is connected. None is sent if it was deleted."""
    delivery = Delivery.objects.using(alias).filter(pk=pk).first() if signal.has_listeners(Delivery) else None
    if delivery is None:
        return
    try:
        signal.send_robust(sender=Delivery, delivery=delivery)
    except BaseException as error:  # send_robust catches nothing but Exception
        if ends_the_process(error):
            raise
        logger.error("A receiver of a monitoring signal raised %s for delivery %s.", describe(error).name, pk)
