"""`ACK = "processed"`: the answer waits for the receivers, for sites where no other process runs them.

A failure answers 503, so that the sender's own retries are the retry policy: each runs what has not succeeded, now,
whatever its backoff. What another request holds is left to it, and answered 503, too.
"""

import functools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from django.db import Error
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.claim import Claimed, claim_runs_of, claim_throttled
from nateq_webhooks.dispatch.create import claim_delivery
from nateq_webhooks.dispatch.execute import execute_claim
from nateq_webhooks.dispatch.notify import Due
from nateq_webhooks.models import Delivery, Run

logger: Final = logging.getLogger("nateq_webhooks")


class StoredDelivery(Due, Protocol):
    """A delivery as the inbox has stored it."""

    @property
    def is_new(self) -> bool:
        """Whether this request was the first to bring it."""


def process(due: StoredDelivery) -> bool:
    """Run here what has not succeeded of a stored delivery; return whether every run is finished then.

    `due.dispatch_at` is set for a delivery that this request has stored. No receiver is started after `ACK_TIMEOUT`,
    and none is interrupted. Never raises: if the database fails, the runs do not count as finished.
    """
    if due.is_new and due.dispatch_at is None:
        return True  # there is nothing to run
    deadline = time.monotonic() + settings().ack_timeout.total_seconds()
    try:
        if due.dispatch_at is None and _is_claimed(due):
            return False
        for claim in _claims(due):
            if time.monotonic() < deadline:
                execute_claim(retry_transaction(claim), stopping=lambda: time.monotonic() >= deadline)
        return _is_finished(due)
    except Error as error:
        logger.warning(
            "Delivery %s is stored, but not all of its receivers could be run: %s. The sender's next attempt or a "
            "worker runs the rest.",
            due.pk,
            type(error).__name__,
        )
        return False


def _claims(due: StoredDelivery) -> Iterator[Callable[[], Claimed]]:
    """Yield what to claim, one after the other: the delivery, its runs that may start, those that a limit lets start.

    A request tries each run once.
    """
    began = timezone.now()
    yield functools.partial(claim_delivery, due.alias, due.pk, due.dispatch_at)
    yield functools.partial(claim_runs_of, due.alias, due.pk, untried_since=began)
    for _ in range(1 + len(settings().rate_limits)):
        yield functools.partial(claim_throttled, due.alias, due.pk, untried_since=began)


def _is_claimed(due: Due) -> bool:
    """Return whether another request, or a worker, is working on the delivery."""
    now = timezone.now()
    delivery = Delivery.objects.using(due.alias).filter(pk=due.pk, dispatch_at__gt=now)
    runs = Run.objects.using(due.alias).filter(delivery_id=due.pk, status=Run.Status.RUNNING, next_try_at__gt=now)
    return delivery.exists() or runs.exists()


def _is_finished(due: Due) -> bool:
    if Delivery.objects.using(due.alias).filter(pk=due.pk, dispatch_at__isnull=False).exists():
        return False
    return not Run.objects.using(due.alias).filter(delivery_id=due.pk).exclude(status__in=Run.FINISHED).exists()
