"""Running receivers: make a delivery's runs, run what is due, settle the delivery. The only writer of a run.

A delivery that was stored with receivers connected has `dispatch_at`: it is claimed by changing it, and whoever claims
it makes the runs, one per receiver, in the same transaction. From then on each run is on its own, under a lease.
"""

import functools
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.db import router
from django.utils.module_loading import import_string

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.claim import PARKED, Claimed, claim_deliveries, claim_delivery, claim_runs, release
from nateq_webhooks.dispatch.execution import Outcome, execute, was_committed
from nateq_webhooks.dispatch.leases import keeper
from nateq_webhooks.dispatch.orphans import drop, orphans, park, reassign, unpark
from nateq_webhooks.dispatch.settlement import clear, give_up, settle, settle_all
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.repetition import repeated
from nateq_webhooks.receivers import registry

__all__ = [
    "PARKED",
    "Delivery",
    "Due",
    "Outcome",
    "Run",
    "Runner",
    "Watch",
    "drop",
    "orphans",
    "reassign",
    "run_delivery",
    "run_due",
    "runner",
    "unpark",
    "wake",
]

logger: Final = logging.getLogger("nateq_webhooks")

RUNNERS: Final = {
    "inline": "nateq_webhooks.runners.inline.InlineRunner",
    "worker": "nateq_webhooks.runners.worker.WorkerRunner",
    "tasks": "nateq_webhooks.runners.tasks.TasksRunner",
    "celery": "nateq_webhooks.runners.celery.CeleryRunner",
}

Watch = Callable[[Run, Outcome], None]
"""Is told of each run that was executed."""


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
    """One way to get receivers run: who calls dispatch, and when. Adding another is one small class."""

    @property
    def hold(self) -> timedelta:
        """How long the request that stores a delivery keeps it for itself; zero: it is due at once."""

    def wake(self, due: Due) -> None:
        """Get the delivery's receivers run, after it has been committed. Must neither raise nor take long."""


@functools.cache
def _runner_at(path: str) -> Runner:
    made: Runner = import_string(path)()
    return made


def runner() -> Runner:
    """Return the runner that `NATEQ_WEBHOOKS["DISPATCH"]` names."""
    name = settings().dispatch
    return _runner_at(RUNNERS.get(name, name))


def wake(due: Due) -> None:
    """Get the receivers of a stored delivery run, if there are any to run. Never raises: it is stored already."""
    if due.dispatch_at is None:
        return
    try:
        runner().wake(due)
    except Exception:
        logger.exception("Delivery %s is stored, but nobody could be woken for it; a worker finds it later.", due.pk)


def run_delivery(pk: int, *, alias: str | None = None, dispatch_at: datetime | None = None) -> int:
    """Claim one delivery, make its runs and run them here, one by one. Return how many runs were executed.

    Does nothing when another has claimed it; then its runs are, or will be, somebody else's.
    """
    alias = alias or router.db_for_write(Delivery)
    return _work(repeated(lambda: claim_delivery(alias, pk, dispatch_at)))


def run_due(
    limit: int = 20,
    *,
    alias: str | None = None,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Claim up to `limit` deliveries and as many runs that are due, and run them here. Return how many it found.

    `watch` is told of each run; once `stopping` says so, what was claimed but not started is given back.
    """
    alias = alias or router.db_for_write(Delivery)
    found = 0
    for claim in (claim_runs, claim_deliveries):
        if not stopping():
            claimed = repeated(functools.partial(claim, alias, limit))
            found += len(claimed.runs) + len(claimed.finished) + len(claimed.unheard)
            _work(claimed, watch, stopping)
    return found


def _work(claimed: Claimed, watch: Watch | None = None, stopping: Callable[[], bool] = lambda: False) -> int:
    """Execute what was claimed, then settle it; return how many runs were executed."""
    for pk in claimed.unheard:
        repeated(functools.partial(give_up, claimed.alias, pk))
    for pk in sorted({run.delivery_id for run in claimed.finished}):
        repeated(functools.partial(settle, claimed.alias, pk))
    clear(claimed.alias, claimed.finished)
    if not claimed.runs:
        return 0
    executed: dict[Run, Outcome] = {}
    with keeper.holding(claimed.alias, claimed.lease) as lease:
        for number, run in enumerate(claimed.runs):
            if stopping():
                release(claimed, claimed.runs[number:])
                break
            receiver = registry.get(run.receiver)
            if receiver is None:
                park(claimed.alias, run)
                continue
            executed[run] = outcome = execute(run, receiver, lease)
            if watch is not None:
                watch(run, outcome)
        _settle(claimed.alias, executed)
    return len(executed)


def _settle(alias: str, executed: Mapping[Run, Outcome]) -> None:
    """Settle the deliveries of runs that were executed; find out on the way whether their success was committed."""
    ours = {run: outcome for run, outcome in executed.items() if outcome is not Outcome.LOST}
    pks = {run.delivery_id for run in ours}
    troubled = {run.delivery_id for run, outcome in ours.items() if outcome is Outcome.FAILED}
    if not repeated(functools.partial(settle_all, alias, pks - troubled)):
        troubled = pks
    unsure = {pk for pk in troubled if not repeated(functools.partial(settle, alias, pk))}
    for run, outcome in ours.items():
        if run.delivery_id in unsure and outcome is Outcome.SUCCEEDED and not was_committed(run, alias):
            repeated(functools.partial(settle, alias, run.delivery_id))
    clear(alias, list(ours))
