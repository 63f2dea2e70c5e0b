"""Executing what a claim took: call the receivers one after the other, then finalize their runs.

A try counts when the receiver is really called: the run is marked as started, and that is committed, before the call.
The statement that ends a run marks the next one of the same claim, so that it costs no further statement. A receiver's
work and the run's success are committed together.

No savepoint is put around the receiver: an error that it swallows inside its transaction must undo the run, not half
of it. `dispatch.transaction_guard` finds a transaction that the receiver ended or broke; one that the database rolled
back without an error is found when the run is finalized, which reads what was committed.
"""

import functools
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import Error, connections, transaction
from django.utils import timezone

from nateq_webhooks import tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.database.instances import from_row
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.database.transactions import is_read_committed
from nateq_webhooks.dispatch import throttle
from nateq_webhooks.dispatch.claim import Claimed, claim_throttled, release, release_all
from nateq_webhooks.dispatch.exception_text import ends_the_process
from nateq_webhooks.dispatch.failure import Following, Outcome, nothing_follows, record_failure, status_of
from nateq_webhooks.dispatch.finalize import announce_processed, finalize, give_up, update_delivery
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.leases import Lease, lease_renewer
from nateq_webhooks.dispatch.pauses import move_runs
from nateq_webhooks.dispatch.receiver_call import call
from nateq_webhooks.dispatch.statements import Marked, mark_started, mark_succeeded, mark_succeeded_and_processed
from nateq_webhooks.dispatch.transaction_guard import ENDED_BY_ITSELF, TransactionGuard, refuse_broken_transaction
from nateq_webhooks.errors import RolledBackError, RunLostError, TimedOutError
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.receivers import Receiver, registry

logger: Final = logging.getLogger("nateq_webhooks")

THROTTLE_POLL_SECONDS: Final = 0.02
"""How long to wait before looking again for a run that a rate limit or a probe allows to start."""

Watch = Callable[[Run, Outcome], None]
"""Is called with each run that was executed."""


def never() -> bool:
    """Return False: the default of `stopping`, for callers that nothing stops."""
    return False


class ThrottledRuns:
    """Executes, one at a time, what a rate limit or a probe lets start: that must not wait for a whole batch."""

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
        self._next_poll_at = float("-inf")

    def run(self) -> int:
        """Execute one, if one may start now; return how much there was to do."""
        if self._stopping() or hold_cache.recent(self._alias).is_idle or time.monotonic() < self._next_poll_at:
            return 0
        claimed = retry_transaction(functools.partial(claim_throttled, self._alias, untried_since=self._untried_since))
        if not claimed:
            self._next_poll_at = time.monotonic() + THROTTLE_POLL_SECONDS
        execute_claim(claimed, self._watch, self._stopping)
        return claimed.found


def execute_claim(
    claimed: Claimed,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
    throttled: ThrottledRuns | None = None,
) -> list[int]:
    """Execute what was claimed and finalize it; return the deliveries with a run that may start now (`ORDERED_BY`).

    Between two runs `throttled` executes what a rate limit or a probe lets start.
    """
    for pk in claimed.without_receivers:
        retry_transaction(functools.partial(give_up, claimed.alias, pk))
    ready = finalize(claimed.alias, claimed.finished)
    if claimed.runs:
        ready += _execute_runs(claimed, watch, stopping, throttled)
    return ready


def _execute_runs(
    claimed: Claimed, watch: Watch | None, stopping: Callable[[], bool], throttled: ThrottledRuns | None
) -> list[int]:
    """Execute the runs and finalize them; return the deliveries with a run that may start now.

    Raises what a signal to this process raised in a receiver. Whatever ends this early, the runs that were not started
    are released.
    """
    lease = Lease(
        alias=claimed.alias,
        token=claimed.lease,
        runs=claimed.runs,
        started=claimed.started,
        tenant=tenants.current(claimed.alias),
    )
    execution = _Execution(lease, watch, stopping, throttled)
    with lease_renewer.renewing(lease):
        try:
            execution.work()
            ready = _finalize(lease, execution.outcomes)
        except BaseException:
            execution.release_the_rest()
            raise
    _forget_whole_bodies(claimed)
    if lease.interrupted_by is not None:
        raise lease.interrupted_by
    released = (run.delivery_id for run in claimed.runs if run.pk in lease.released)
    return ready + list(dict.fromkeys(released))


def _forget_whole_bodies(claimed: Claimed) -> None:
    """Delete what was kept for receivers that have finished. An error leaves it to the workers' maintenance."""
    redaction = Delivery.ContentChange.REDACTION
    pks = {run.delivery_id for run in claimed.runs if run.delivery.content_change == redaction}
    if not pks:
        return
    try:
        retry_transaction(lambda: UnredactedBody.objects.using(claimed.alias).delete_unneeded(pks))
    except Error as error:
        logger.warning(
            "The whole bodies of redacted deliveries could not be deleted: %s. A worker deletes them later.",
            type(error).__name__,
        )


class _Execution:
    """Executes the runs of one claim in their order."""

    def __init__(
        self, lease: Lease, watch: Watch | None, stopping: Callable[[], bool], throttled: ThrottledRuns | None
    ) -> None:
        self.outcomes: dict[Run, Outcome] = {}
        self._lease = lease
        self._watch = watch
        self._stopping = stopping
        self._throttled = throttled
        self._current: Run | None = None
        self._is_idle = True

    def work(self) -> None:
        """Start one run after the other, until the process is to stop; then release those that were not started."""
        while self._lease.interrupted_by is None and not self._stopping():
            self._current = run = self._lease.take()
            if run is None:
                return
            receiver = self._startable(run)
            if receiver is not None and start(run, self._lease):
                self._execute(run, receiver)
        self._current = None
        self.release_the_rest()

    def release_the_rest(self) -> None:
        """Release what was not started. What the database refuses now is due again when the lease has ended."""
        rest = [*([self._current] if self._current is not None else []), *self._lease.waiting]
        connection = connections[self._lease.alias]
        try:
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            release_all(self._lease.alias, self._lease.token, rest)
        except Error as error:
            logger.warning(
                "Runs that were not started could not be released: %s. They are due again when their lease ends.",
                type(error).__name__,
            )

    def _startable(self, run: Run) -> Receiver | None:
        """Return the receiver of a run that may start now; else release the run, or park it."""
        state = hold_cache.recent(self._lease.alias)
        self._is_idle = state.is_idle
        if state.forbids_start(run.delivery.webhook_id, run):
            target = state.held_by(run.delivery.webhook_id, run.receiver)
            if release(self._lease.alias, self._lease.token, run) and target != run.held_by:
                move_runs(self._lease.alias, [run.pk], run.held_by, target)
            return None
        receiver = registry.get(run.receiver)
        if receiver is None:
            parked = Run.objects.using(self._lease.alias).leased(run).park(run)
            if parked and run.tries:  # it had failed, and is not tried again until its receiver is known
                retry_transaction(lambda: update_delivery(self._lease.alias, run.delivery_id))
        return receiver

    def _execute(self, run: Run, receiver: Receiver) -> None:
        self.outcomes[run] = outcome = try_run(run, receiver, self._lease, self._following)
        self._current = None
        _count_for_breaker(self._lease.alias, run, outcome)
        if self._watch is not None:
            self._watch(run, outcome)
        if self._throttled is not None and not self._is_idle and self._lease.interrupted_by is None:
            self._throttled.run()

    def _following(self) -> Run | None:
        """Return the next run if nothing comes before it: no stop, no run that a rate limit lets start in between."""
        if self._stopping() or (self._throttled is not None and not self._is_idle):
            return None
        run = self._lease.next
        return run if run is not None and registry.get(run.receiver) is not None else None


def _count_for_breaker(alias: str, run: Run, outcome: Outcome) -> None:
    """Count the outcome for the circuit breaker. An error there must not keep the run from being finalized."""
    try:
        if outcome is Outcome.SUCCEEDED:
            throttle.count_success(alias, run)
        elif outcome is Outcome.FAILED:
            throttle.count_failure(alias, run)
    except Error as error:
        logger.warning(
            "The circuit breaker could not count a try of receiver %s: %s. The run's own result is not affected.",
            run.receiver,
            type(error).__name__,
        )


def _finalize(lease: Lease, outcomes: dict[Run, Outcome]) -> list[int]:
    """Finalize the runs that this process still has, unless the last of them has done so."""
    if lease.is_finalized:
        announce_processed(lease.alias, lease.runs[0].delivery_id)
        return []
    ours = [run for run, outcome in outcomes.items() if outcome is not Outcome.LOST]
    return finalize(lease.alias, ours, succeeded=[run for run in ours if outcomes[run] is Outcome.SUCCEEDED])


def start(run: Run, lease: Lease) -> bool:
    """Count a try of a run, unless that has been done, and commit that; return whether its receiver may be called.

    It may not if the run was released or another worker has taken it over.
    """
    if lease.started is not run:
        lease.started = run if retry_transaction(lambda: mark_started(lease.alias, run, timezone.now())) else None
    return lease.started is run


def try_run(run: Run, receiver: Receiver, lease: Lease, following: Following = nothing_follows) -> Outcome:
    """Call the receiver of a run that this process has claimed and started. Never raises what a receiver raises.

    What a signal to this process raised in it is recorded like any failure and kept as `lease.interrupted_by`. Marks
    what follows as started in the transaction that ends the run. Raises what goes wrong before the receiver is called.
    """
    tries, started = run.tries, timezone.now()
    lease.begin()
    try:
        error, marked = _attempt(run, receiver, started, lease, following)
    except BaseException as problem:
        if run.tries == tries:
            raise
        error, marked = problem, _Success()
    if error is None:
        lease.started, lease.is_finalized = marked.after, marked.is_finalized
        lease.succeeded += 1
        return Outcome.SUCCEEDED
    if ends_the_process(error):
        lease.interrupted_by, following = error, nothing_follows
    if issubclass(type(error), RunLostError):
        logger.warning("Run %s of receiver %s was lost: %s", run.pk, run.receiver, error)
        return Outcome.LOST
    outcome, lease.started = record_failure(run, error, started, lease.alias, following)
    return outcome


def _attempt(
    run: Run, receiver: Receiver, started: datetime, lease: Lease, following: Following
) -> tuple[BaseException | None, "_Success"]:
    """Call the receiver in its transaction; return what it raised, if anything, and what was marked with its success.

    What it raised is not raised through a context manager: some set attributes of it, which its class may refuse.
    """
    guard = TransactionGuard(lease, connections[lease.alias]) if receiver.atomic else None
    with transaction.atomic(using=lease.alias, durable=True) if receiver.atomic else nullcontext():
        if guard is not None:
            guard.set()
        run.tries += 1
        run.started_at = started
        try:
            _call(receiver, run)
        except BaseException as error:  # noqa: BLE001 - returned
            if receiver.atomic:
                transaction.set_rollback(True, using=lease.alias)
            return error, _Success()
        refuse_broken_transaction(lease.alias)
        marked = _mark_succeeded(run, started, lease, following, guard)
        if guard is not None:
            guard.release()
    return None, marked


@dataclass(frozen=True, slots=True)
class _Success:
    """What has been committed together with the success of a run."""

    after: Run | None = None
    "The run that it has marked as started."
    is_finalized: bool = False
    "It has marked the delivery as processed and finalized all runs of the claim."


def _call(receiver: Receiver, run: Run) -> None:
    # Each receiver gets its own event and rows, so that neither other receivers nor we see what it changes.
    call(receiver, sender=Delivery, event=run.delivery.load_event(), delivery=run.delivery, run=_copy_of(run))


def _copy_of(run: Run) -> Run:
    columns = {name: value for name, value in vars(run).items() if name != "_state"}
    return from_row(Run, str(run._state.db), columns, delivery=run.delivery)  # noqa: SLF001 - a third of copy's time


def _mark_succeeded(
    run: Run, started: datetime, lease: Lease, following: Following, guard: TransactionGuard | None
) -> _Success:
    """Mark the run as succeeded, last of all in the receiver's transaction, and what follows as started.

    If it is the last one to do of its delivery, the delivery is marked as processed, too, and the run is finalized.
    Otherwise `next_try_at` stays: the run is due until it has been finalized.

    Raises `TimedOutError` when it took too long, `RolledBackError` when the transaction is not the receiver's own any
    more or the run is gone, and `RunLostError` when another worker has taken the run over.
    """
    if lease.has_timed_out:
        raise TimedOutError(f"The receiver ran for {lease.age:.0f} s, longer than RUN_TIMEOUT; its work is undone.")
    if guard is not None and guard.connection.vendor == "sqlite" and not guard.holds:
        raise RolledBackError(ENDED_BY_ITSELF)
    after = following()
    marker = guard.in_statement if guard is not None else None
    if guard is not None and _is_last_to_do(run, lease):
        earlier = [one for one in lease.runs if one is not run]
        marked = mark_succeeded_and_processed(lease.alias, run, timezone.now(), started, earlier=earlier, marker=marker)
        if marked is not Marked.NOTHING:
            return _Success(is_finalized=marked is Marked.RUN_AND_DELIVERY)
        raise _why_not_marked(run, lease.alias, guard)
    changed = mark_succeeded(lease.alias, run, timezone.now(), started, following=after, marker=marker)
    if changed == (1 if after is None else 2):
        return _Success(after)
    if changed == 1 and after is not None and not Run.objects.using(lease.alias).leased(after).exists():
        return _Success()  # it was released, or taken over; the current run was not
    raise _why_not_marked(run, lease.alias, guard)


def _is_last_to_do(run: Run, lease: Lease) -> bool:
    """Return whether the run's success may finalize its claim: all of one delivery, and all the others have succeeded.

    Not under `ORDERED_BY`, where runs also leave their queues, and not if the transaction has one snapshot for all of
    its statements, so that a change by another transaction would be an error.
    """
    if lease.succeeded != len(lease.runs) - 1 or settings().ordered_by or not is_read_committed(lease.alias):
        return False
    return all(one.delivery_id == run.delivery_id for one in lease.runs)


def _why_not_marked(run: Run, alias: str, guard: TransactionGuard | None) -> Exception:
    """Return why a run that is held could not be marked as succeeded."""
    if guard is not None and not guard.holds:
        return RolledBackError(ENDED_BY_ITSELF)
    if status_of(run, alias) is None:
        return RolledBackError(
            "The receiver deleted its own delivery, or its run: the record that it succeeded is part of that, so its "
            "work is undone. Delete it later, from outside: in transaction.on_commit() or another process."
        )
    return RunLostError(
        "Its lease ended and another worker has taken it over. The database work of this try is undone."
    )
