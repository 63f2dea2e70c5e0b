"""Running receivers: make a delivery's runs, run what is due, settle the delivery. The only writer of a run.

A delivery that was stored with receivers connected has `dispatch_at`: it is claimed by changing it, and whoever claims
it makes the runs, one per receiver, in the same transaction. From then on each run is on its own.
"""

import functools
import logging
import uuid
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.db import connections, transaction
from django.dispatch import Signal
from django.utils import timezone
from django.utils.module_loading import import_string

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.execution import execute
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.receivers import registry

__all__ = ["Due", "Runner", "run_delivery", "runner", "wake"]

logger: Final = logging.getLogger("nateq_webhooks")

RUNNERS: Final = {"inline": "nateq_webhooks.runners.inline.InlineRunner"}


class Due(Protocol):
    """A stored delivery whose receivers are to run, as the door knows it."""

    @property
    def pk(self) -> int:
        """The delivery's key."""

    @property
    def alias(self) -> str:
        """The database it is in."""

    @property
    def dispatch_at(self) -> datetime | None:
        """The value that claims it; None when there is nothing to run."""


class Runner(Protocol):
    """One way to get receivers run: who calls dispatch, and when."""

    @property
    def hold(self) -> timedelta:
        """How long the request that stores a delivery keeps it for itself."""

    def wake(self, due: Due) -> None:
        """Get the delivery's receivers run, after it has been committed. Must not raise."""


@functools.cache
def _runner_at(path: str) -> Runner:
    made: Runner = import_string(path)()
    return made


def runner() -> Runner:
    """Return the runner that `NATEQ_WEBHOOKS["DISPATCH"]` names."""
    name = settings().dispatch
    return _runner_at(RUNNERS.get(name, name))


def wake(due: Due) -> None:
    """Get the receivers of a stored delivery run, if there are any to run."""
    if due.dispatch_at is not None:
        runner().wake(due)


def run_delivery(due: Due) -> None:
    """Claim a delivery, make its runs and run them here, one by one. Does nothing when another has claimed it."""
    delivery = Delivery.objects.using(due.alias).get(pk=due.pk)
    for run in _make_runs(delivery, due):
        receiver = registry.get(run.receiver)
        if receiver is not None:
            execute(run, delivery, receiver, due.alias)
    settle(due.pk, due.alias)


def _make_runs(delivery: Delivery, due: Due) -> list[Run]:
    """Make one run per receiver, held by this process. Empty when the delivery is no longer ours to dispatch."""
    now = timezone.now()
    lease = uuid.uuid4()
    runs = [
        Run(
            delivery_id=due.pk,
            receiver=receiver.name,
            status=Run.Status.RUNNING,
            tries=1,
            started_at=now,
            next_try_at=now + settings().run_lease,
            lease=lease,
        )
        for receiver in registry.for_event(delivery.load_event().name)
    ]
    with transaction.atomic(using=due.alias, durable=True):
        ours = Delivery.objects.using(due.alias).filter(pk=due.pk, dispatch_at=due.dispatch_at)
        if not ours.update(dispatch_at=None):
            return []
        made = Run.objects.using(due.alias).bulk_create(runs)
    if any(run.pk is None for run in made):  # MySQL proper returns no keys
        return list(Run.objects.using(due.alias).filter(delivery_id=due.pk, lease=lease))
    return made


def settle(pk: int, alias: str) -> None:
    """Derive a delivery's status from its runs, which have been committed.

    The row is locked before the runs are read: two runs that finish at the same moment would otherwise each see the
    other unfinished, and nobody would finish the delivery.
    """
    with transaction.atomic(using=alias, durable=True):
        rows = Delivery.objects.using(alias)
        if connections[alias].features.has_select_for_update:
            rows = rows.select_for_update()
        before = rows.filter(pk=pk).values_list("status", flat=True).first()
        statuses = set(Run.objects.using(alias).filter(delivery_id=pk).values_list("status", flat=True))
        after = derived_status(statuses)
        if after == before:
            return
        Delivery.objects.using(alias).filter(pk=pk).update(status=after)
    if after == Delivery.Status.PROCESSED:
        _announce(signals.delivery_processed, pk, alias)
    elif after == Delivery.Status.DEAD:
        _announce(signals.delivery_failed, pk, alias)


def derived_status(runs: set[str]) -> Delivery.Status:
    """Return a delivery's status by the statuses of its runs (ours: docs/runs.md)."""
    if Run.Status.FAILED in runs:
        return Delivery.Status.FAILED
    if runs & {Run.Status.WAITING, Run.Status.RUNNING}:
        return Delivery.Status.RECEIVED
    return Delivery.Status.DEAD if Run.Status.DEAD in runs else Delivery.Status.PROCESSED


def _announce(signal: Signal, pk: int, alias: str) -> None:
    """Send a monitoring signal; the row is read only when somebody listens."""
    if signal.has_listeners(Delivery):
        signal.send_robust(sender=Delivery, delivery=Delivery.objects.using(alias).get(pk=pk))
