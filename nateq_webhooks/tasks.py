"""The Celery tasks (extra `[celery]`): run a delivery's receivers, recover what was lost, remove what is old.

Let Celery beat call the second one every minute or so, unless a `manage.py nateq_worker` runs, too; it also takes
small steps of retention. `nateq_webhooks.prune` does nothing else, and more at a time:

    app.conf.beat_schedule = {"nateq_webhooks": {"task": "nateq_webhooks.run_due", "schedule": 60.0}}

The first two end after a few seconds and send a further task for the rest. If a time limit is set (`task_time_limit`,
`task_soft_time_limit`, or those of the worker), a task runs one receiver, so that each receiver has the whole limit
and none fails because of those before it.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

try:
    from celery import shared_task
    from celery.exceptions import SoftTimeLimitExceeded
    from celery.signals import celeryd_init
except ImportError as error:
    raise ImportError('nateq_webhooks.tasks needs Celery: pip install "nateq-webhooks[celery]".') from error

from nateq_webhooks import audit, retention, tenants
from nateq_webhooks.dispatch import api
from nateq_webhooks.runners.worker import drain

logger: Final = logging.getLogger("nateq_webhooks")

TASK_SECONDS: Final = 10.0
"""How long one task starts runs, in seconds."""

TASK_RUNS: Final = 500
"""How many runs one task starts."""

CHAIN_SECONDS: Final = 300.0
"""How long tasks of `run_due` follow each other; then the next one is Celery beat's."""

PRUNE_SECONDS: Final = 60.0
"""How long one task of retention takes for each tenant."""

EXPIRES_SECONDS: Final = 60.0
"""A further task that has waited for so long is not run: beat has called another one by then."""

_of_worker: Final[dict[str, Any]] = {}
"""The time limits of this worker's command line."""


@celeryd_init.connect(weak=False)
def _note_limits(options: Mapping[str, Any], **kwargs: Any) -> None:  # noqa: ARG001 - Celery's signature
    _of_worker.update({name: options.get(name) for name in ("time_limit", "soft_time_limit")})


@shared_task(name="nateq_webhooks.run_delivery", ignore_result=True, bind=True)
def run_delivery(self: Any, pk: int, tenant: str = "") -> int:
    """Run the receivers of one delivery, unless another process has; return how many ran."""
    budget = _TaskBudget(self)
    try:
        with tenants.activate(tenant):
            api.run_delivery(pk, watch=budget.count, stopping=budget.is_over)
    except SoftTimeLimitExceeded:
        budget.note_limit()
    if budget.is_over():
        _go_on(self, time.time() + CHAIN_SECONDS)
    return budget.executed


@shared_task(name="nateq_webhooks.run_due", ignore_result=True, bind=True)
def run_due(self: Any, until: float | None = None) -> int:
    """Run what is due now, for some seconds; return how much that was. If there is more, send another task.

    `until` is when these tasks end (seconds since the epoch), given by the one that sends the next.
    """
    budget = _TaskBudget(self)
    until = until or time.time() + CHAIN_SECONDS
    try:
        drain(budget.count, stopping=budget.is_over)
    except SoftTimeLimitExceeded:
        budget.note_limit()
    if budget.is_over() and time.time() < until:
        _go_on(self, until)
    return budget.executed


@shared_task(name="nateq_webhooks.prune", ignore_result=True)
def prune(seconds: float = PRUNE_SECONDS) -> int:
    """Remove what `RETENTION` does not keep, for up to `seconds`; return how much. The next call continues.

    For Celery beat, once an hour or so. A `nateq_worker`, and the task `run_due`, do the same in small steps.
    """
    removed = 0
    for tenant in tenants.every():
        with tenants.activate(tenant), audit.acting(audit.Source.WORKER, ""):
            removed += retention.prune(seconds=seconds).removed
    return removed


class _TaskBudget:
    """How many runs one task starts, and for how long: counts them, and says when no further one is to be started."""

    def __init__(self, task: Any) -> None:
        self.executed = 0
        self._most: float = 1 if _has_time_limit(task) else TASK_RUNS
        self._ends_at = time.monotonic() + TASK_SECONDS
        if task.request.is_eager or task.request.called_directly:  # no worker would run a further one
            self._most = self._ends_at = float("inf")

    def count(self, run: api.Run, outcome: api.Outcome) -> None:  # noqa: ARG002 - a `dispatch.Watch`
        """Count a run."""
        self.executed += 1

    def is_over(self) -> bool:
        """Return whether the rest is for a further task."""
        return self.executed >= self._most or time.monotonic() >= self._ends_at

    def note_limit(self) -> None:
        """Log that the time limit was reached between two runs. Claimed runs are due again when their lease ends."""
        logger.warning("Celery's soft time limit ended a task between two runs. Another task continues.")
        self._ends_at = float("-inf")


def _has_time_limit(task: Any) -> bool:
    """Return whether Celery ends the task after some time: by its message, its settings or the worker's."""
    limits = [*(task.request.timelimit or ()), task.time_limit, task.soft_time_limit, *_of_worker.values()]
    limits += [task.app.conf.task_time_limit, task.app.conf.task_soft_time_limit]
    return any(limits)


def _go_on(task: Any, until: float) -> None:
    """Send a further task to the queue that this one came from."""
    came_by = task.request.delivery_info or {}
    route = {name: came_by[name] for name in ("exchange", "routing_key") if came_by.get(name) is not None}
    send: Callable[..., Any] = task.app.tasks["nateq_webhooks.run_due"].apply_async
    try:
        send(kwargs={"until": until}, expires=EXPIRES_SECONDS, retry=False, **route)
    except Exception as error:  # noqa: BLE001 - whatever a broker's client raises; Celery beat calls the next one
        logger.warning(
            "The next task could not be sent: %s. Runs that are due wait for Celery beat.", type(error).__name__
        )
