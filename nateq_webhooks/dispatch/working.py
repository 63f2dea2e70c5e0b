"""Working off what a claim took: execute its runs one by one, then settle their deliveries."""

import functools
import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from django.db import Error, connections

from nateq_webhooks import tenants
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import breaker
from nateq_webhooks.dispatch.claim import Claimed, claim_scarce, give_back, release
from nateq_webhooks.dispatch.execution import Outcome, execute, start, was_committed
from nateq_webhooks.dispatch.gates import controls
from nateq_webhooks.dispatch.leases import Lease, lease_renewer
from nateq_webhooks.dispatch.orphans import park
from nateq_webhooks.dispatch.settlement import clear, give_up, settle, settle_all
from nateq_webhooks.models import Run
from nateq_webhooks.receivers import Receiver, registry

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

    def __init__(
        self,
        alias: str,
        watch: Watch | None = None,
        stopping: Callable[[], bool] = never,
        untried_since: datetime | None = None,
    ) -> None:
        self._alias = alias
        self._watch = watch
        self._stopping = stopping
        self._untried_since = untried_since
        self._look_at = float("-inf")

    def run(self) -> int:
        """Run one, if one may start now; return how much there was to do."""
        if self._stopping() or controls.recent(self._alias).is_idle or time.monotonic() < self._look_at:
            return 0
        claimed = retry_transaction(functools.partial(claim_scarce, self._alias, untried_since=self._untried_since))
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
        retry_transaction(functools.partial(give_up, claimed.alias, pk))
    for pk in sorted({run.delivery_id for run in claimed.finished}):
        retry_transaction(functools.partial(settle, claimed.alias, pk))
    called_up = clear(claimed.alias, claimed.finished)
    if claimed.runs:
        called_up += _execute_all(claimed, watch, stopping, scarce)
    return called_up


def _execute_all(
    claimed: Claimed, watch: Watch | None, stopping: Callable[[], bool], scarce: Scarce | None
) -> list[int]:
    """Execute the runs and settle them; return the deliveries of which something may run now.

    Raises what a signal to this process raised in a receiver. Whatever ends this early, the runs that were not started
    are given back.
    """
    lease = Lease(
        alias=claimed.alias,
        token=claimed.lease,
        runs=claimed.runs,
        started=claimed.started,
        tenant=tenants.current(claimed.alias),
    )
    one_by_one = _OneByOne(lease, watch, stopping, scarce)
    with lease_renewer.renewing(lease):
        try:
            one_by_one.work()
            called_up = _settle(claimed.alias, one_by_one.executed)
        except BaseException:
            one_by_one.give_back_the_rest()
            raise
    if lease.interrupted_by is not None:
        raise lease.interrupted_by
    given_back = (run.delivery_id for run in claimed.runs if run.pk in lease.given_back)
    return called_up + list(dict.fromkeys(given_back))


class _OneByOne:
    """Executes the runs of one claim in their order."""

    def __init__(self, lease: Lease, watch: Watch | None, stopping: Callable[[], bool], scarce: Scarce | None) -> None:
        self.executed: dict[Run, Outcome] = {}
        self._lease = lease
        self._watch = watch
        self._stopping = stopping
        self._scarce = scarce
        self._at_hand: Run | None = None
        self._is_idle = True

    def work(self) -> None:
        """Start one run after the other, until the process is to stop; then give back those that were not started."""
        while self._lease.interrupted_by is None and not self._stopping():
            self._at_hand = run = self._lease.take()
            if run is None:
                return
            receiver = self._startable(run)
            if receiver is not None and start(run, self._lease):
                self._execute(run, receiver)
        self._at_hand = None
        self.give_back_the_rest()

    def give_back_the_rest(self) -> None:
        """Give back what was not started. What the database refuses now is due again when the lease has run out."""
        rest = [*([self._at_hand] if self._at_hand is not None else []), *self._lease.waiting]
        connection = connections[self._lease.alias]
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            release(self._lease.alias, self._lease.token, rest)
        except Error as error:
            logger.warning("Runs that were not started could not be given back: %s", type(error).__name__)

    def _startable(self, run: Run) -> Receiver | None:
        """Return the receiver of a run that may start now; else give the run back, or park it."""
        control = controls.recent(self._lease.alias)
        self._is_idle = control.is_idle
        if control.holds_back(run.delivery.webhook_id, run):
            give_back(self._lease.alias, self._lease.token, run)
            return None
        receiver = registry.get(run.receiver)
        if receiver is None:
            park(self._lease.alias, run)
        return receiver

    def _execute(self, run: Run, receiver: Receiver) -> None:
        self.executed[run] = outcome = execute(run, receiver, self._lease, self._following)
        self._at_hand = None
        _tell_breaker(self._lease.alias, run, outcome)
        if self._watch is not None:
            self._watch(run, outcome)
        if self._scarce is not None and self._lease.interrupted_by is None:
            self._scarce.run()

    def _following(self) -> Run | None:
        """Return the next run if nothing comes before it: no end, no run that a rate limit lets start in between."""
        if self._stopping() or (self._scarce is not None and not self._is_idle):
            return None
        run = next(iter(self._lease.waiting), None)
        return run if run is not None and registry.get(run.receiver) is not None else None


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
    if not retry_transaction(functools.partial(settle_all, alias, pks - troubled)):
        troubled = pks
    unsure = {pk for pk in troubled if not retry_transaction(functools.partial(settle, alias, pk))}
    for run, outcome in ours.items():
        if run.delivery_id in unsure and outcome is Outcome.SUCCEEDED and not was_committed(run, alias):
            retry_transaction(functools.partial(settle, alias, run.delivery_id))
    return clear(alias, list(ours))
