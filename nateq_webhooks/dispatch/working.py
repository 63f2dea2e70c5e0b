"""Working off what a claim took: execute its runs one by one, then settle their deliveries."""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from django.db import Error

from nateq_webhooks.dispatch import breaker
from nateq_webhooks.dispatch.claim import Claimed, claim_scarce, release
from nateq_webhooks.dispatch.execution import Outcome, execute, was_committed
from nateq_webhooks.dispatch.gates import controls
from nateq_webhooks.dispatch.leases import keeper
from nateq_webhooks.dispatch.orphans import park
from nateq_webhooks.dispatch.settlement import clear, give_up, settle, settle_all
from nateq_webhooks.models import Run
from nateq_webhooks.models.repetition import repeated
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")

LOOK_SECONDS: Final = 0.02
"""How long not to look again for a run that a rate limit or a probe lets start, where there was none."""

Watch = Callable[[Run, Outcome], None]
"""Is told of each run that was executed."""


def never() -> bool:
    """Stop for nothing."""
    return False


class Scarce:
    """Runs, one at a time, what a rate limit or a probe lets start: its moments must not wait for a whole batch."""

    def __init__(self, alias: str, watch: Watch | None = None, stopping: Callable[[], bool] = never) -> None:
        self._alias = alias
        self._watch = watch
        self._stopping = stopping
        self._look_at = float("-inf")

    def run(self) -> int:
        """Run one, if one may start now; return how much there was to do."""
        if self._stopping() or controls.recent(self._alias).is_idle or time.monotonic() < self._look_at:
            return 0
        claimed = repeated(functools.partial(claim_scarce, self._alias))
        if not claimed:
            self._look_at = time.monotonic() + LOOK_SECONDS
        work(claimed, self._watch, self._stopping)
        return claimed.found


def work(
    claimed: Claimed,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
    scarce: Scarce | None = None,
) -> list[int]:
    """Execute what was claimed, then settle it; return the deliveries whose turn it is now (`ORDERED_BY`).

    In between `scarce` runs what may start at its own moments only.
    """
    for pk in claimed.unheard:
        repeated(functools.partial(give_up, claimed.alias, pk))
    for pk in sorted({run.delivery_id for run in claimed.finished}):
        repeated(functools.partial(settle, claimed.alias, pk))
    called_up = clear(claimed.alias, claimed.finished)
    if claimed.runs:
        called_up += _execute_all(claimed, watch, stopping, scarce)
    return called_up


def _execute_all(
    claimed: Claimed, watch: Watch | None, stopping: Callable[[], bool], scarce: Scarce | None
) -> list[int]:
    executed: dict[Run, Outcome] = {}
    with keeper.holding(claimed.alias, claimed.lease) as lease:
        for number, run in enumerate(claimed.runs):
            if stopping():
                release(claimed, claimed.runs[number:])
                break
            if controls.recent(claimed.alias).holds_back(run.delivery.webhook_id, run):
                release(claimed, [run])
                continue
            receiver = registry.get(run.receiver)
            if receiver is None:
                park(claimed.alias, run)
                continue
            executed[run] = outcome = execute(run, receiver, lease)
            _tell_breaker(claimed.alias, run, outcome)
            if watch is not None:
                watch(run, outcome)
            if scarce is not None:
                scarce.run()
        return _settle(claimed.alias, executed)


def _tell_breaker(alias: str, run: Run, outcome: Outcome) -> None:
    """Have the breaker count. What it can't count must not keep what was run from being settled."""
    try:
        if outcome is Outcome.SUCCEEDED:
            breaker.succeeded(alias, run)
        elif outcome is Outcome.FAILED:
            breaker.failed(alias, run)
    except Error as error:
        logger.warning("The breaker of %s could not count: %s", run.receiver, type(error).__name__)


def _settle(alias: str, executed: Mapping[Run, Outcome]) -> list[int]:
    """Settle the deliveries of runs that were executed; find out on the way whether their success was committed."""
    ours = {run: outcome for run, outcome in executed.items() if outcome is not Outcome.LOST}
    pks = {run.delivery_id for run in ours}
    troubled = {run.delivery_id for run, outcome in ours.items() if outcome is not Outcome.SUCCEEDED}
    if not repeated(functools.partial(settle_all, alias, pks - troubled)):
        troubled = pks
    unsure = {pk for pk in troubled if not repeated(functools.partial(settle, alias, pk))}
    for run, outcome in ours.items():
        if run.delivery_id in unsure and outcome is Outcome.SUCCEEDED and not was_committed(run, alias):
            repeated(functools.partial(settle, alias, run.delivery_id))
    return clear(alias, list(ours))
