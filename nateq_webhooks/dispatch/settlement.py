"""A delivery's status follows from its runs, and is written after they have committed.

A finished run stays due (`next_try_at` is the end of its lease) until its delivery has been settled. So when a process
dies in between, the claim finds the run again, and the delivery is settled then.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Final

from django.db import connections, transaction
from django.db.models import F
from django.dispatch import Signal

from nateq_webhooks import signals
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.claim import FINISHED
from nateq_webhooks.dispatch.order import give_up_turns
from nateq_webhooks.dispatch.raised import describe, ends_the_process
from nateq_webhooks.dispatch.statements import mark_processed
from nateq_webhooks.models import Delivery, Run

logger: Final = logging.getLogger("nateq_webhooks")


def settle_all(alias: str, delivery_pks: Collection[int]) -> bool:
    """Mark deliveries as processed in one statement, if the runs of every one of them are well; say whether they were.

    It can only be right: it changes a row only where it sees no other run, and whoever commits last sees them all.
    """
    with transaction.atomic(using=alias, durable=True):
        if mark_processed(alias, delivery_pks) != len(delivery_pks):
            transaction.set_rollback(True, using=alias)
            return False
    for pk in delivery_pks:
        _announce(signals.delivery_processed, pk, alias)
    return True


def settle(alias: str, delivery_pk: int) -> bool:
    """Write a delivery's status. Say whether every run of it has succeeded or was dropped.

    It is written under a lock on the row: two runs that finish at the same moment would otherwise each see the other
    unfinished, and nobody would finish the delivery.
    """
    return _settle_under_lock(alias, delivery_pk) is Delivery.Status.PROCESSED


def give_up(alias: str, delivery_pk: int) -> None:
    """Mark a delivery as dead that no receiver can be found for any more."""
    Delivery.objects.using(alias).filter(pk=delivery_pk).update(status=Delivery.Status.DEAD)
    _announce(signals.delivery_failed, delivery_pk, alias)


def clear(alias: str, runs: Sequence[Run]) -> list[int]:
    """Take finished runs whose delivery has been settled since out of the index of what is due.

    Before that their turns go to the next in line; return the deliveries that may now run.
    """
    called_up = give_up_turns(alias, runs)
    if runs:
        finished = Run.objects.using(alias).filter(pk__in=[run.pk for run in runs], status__in=FINISHED)
        retry_transaction(lambda: finished.update(next_try_at=None))
    return called_up


def derived_status(runs: Collection[str]) -> Delivery.Status:
    """Return a delivery's status by the statuses of its runs (ours: docs/how-to/workers.md)."""
    if Run.Status.FAILED in runs:
        return Delivery.Status.FAILED
    if not set(runs) <= set(FINISHED):
        return Delivery.Status.RECEIVED
    return Delivery.Status.DEAD if Run.Status.DEAD in runs else Delivery.Status.PROCESSED


def _settle_under_lock(alias: str, delivery_pk: int) -> Delivery.Status:
    rows = Delivery.objects.using(alias).filter(pk=delivery_pk)
    with transaction.atomic(using=alias, durable=True):
        if connections[alias].features.has_select_for_update:
            before = rows.select_for_update().values_list("status", flat=True).first()
        else:
            rows.update(status=F("status"))  # SQLite: a write takes the lock
            before = rows.values_list("status", flat=True).first()
        runs = Run.objects.using(alias).filter(delivery_id=delivery_pk).order_by("round", "pk")
        latest = dict(runs.values_list("receiver", "status"))  # of each receiver its latest round
        after = derived_status(set(latest.values()))
        if before in (after, None):  # None: it was deleted since
            return after
        rows.update(status=after)
    if after is Delivery.Status.PROCESSED:
        _announce(signals.delivery_processed, delivery_pk, alias)
    elif after is Delivery.Status.DEAD:
        _announce(signals.delivery_failed, delivery_pk, alias)
    return after


def _announce(signal: Signal, pk: int, alias: str) -> None:
    """Send a monitoring signal; the row is read only when somebody listens. One that was deleted since is left out."""
    delivery = Delivery.objects.using(alias).filter(pk=pk).first() if signal.has_listeners(Delivery) else None
    if delivery is None:
        return
    try:
        signal.send_robust(sender=Delivery, delivery=delivery)
    except BaseException as error:  # send_robust catches nothing but Exception
        if ends_the_process(error):
            raise
        logger.error("A receiver of a monitoring signal raised %s.", describe(error).name)
