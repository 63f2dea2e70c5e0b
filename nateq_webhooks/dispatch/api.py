"""What the rest of the package uses of dispatch: run a delivery, or what is due, here; and everything that it may ask.

A delivery that was stored with receivers connected has `dispatch_at`. It is claimed by changing that; the process that
claims it creates its runs, one per receiver, in the same transaction. From then on each run has a lease of its own.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Final

from django.db import router

from nateq_webhooks.database.retry import memory_hint, retry_transaction
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.dispatch.acknowledgement import process
from nateq_webhooks.dispatch.claim import Claimed, claim_runs, claim_runs_of, claim_throttled
from nateq_webhooks.dispatch.create import (
    claim_deliveries,
    claim_delivery,
    claim_inserted,
    event_name,
    runs_to_insert,
)
from nateq_webhooks.dispatch.due_range import due_ranges
from nateq_webhooks.dispatch.execute import ThrottledRuns, Watch, execute_claim, never
from nateq_webhooks.dispatch.failure import Outcome
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.dispatch.notify import Due, Runner, request_hold, runner, use_runner, wake
from nateq_webhooks.dispatch.orphans import drop, orphans, reassign, unpark
from nateq_webhooks.dispatch.pauses import pause, paused, resume
from nateq_webhooks.dispatch.replays import replay, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.throttle import next_slot_at
from nateq_webhooks.models import Delivery, Run

__all__ = [
    "Delivery",
    "Due",
    "Maintenance",
    "Outcome",
    "Run",
    "Runner",
    "Selection",
    "Watch",
    "drop",
    "event_name",
    "is_private",
    "memory_hint",
    "never",
    "next_slot_at",
    "orphans",
    "pause",
    "paused",
    "process",
    "reassign",
    "replay",
    "request_hold",
    "request_replay",
    "resume",
    "run_delivery",
    "run_due",
    "run_inserted",
    "runner",
    "runs_to_insert",
    "unpark",
    "use_runner",
    "wake",
]

MAX_PROMOTED: Final = 20
"""Deliveries that one call also runs because they waited for the one that it ran; workers find the others."""


def run_delivery(
    pk: int,
    *,
    alias: str | None = None,
    dispatch_at: datetime | None = None,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
) -> int:
    """Claim one delivery, create its runs and execute them here, one by one. Return how many runs were claimed.

    Does nothing if another process has claimed it. `watch` is called with each run; once `stopping` returns true, what
    was claimed but not started is released.
    """
    alias = alias or router.db_for_write(Delivery)
    claimed = retry_transaction(lambda: claim_delivery(alias, pk, dispatch_at))
    found = len(claimed.runs)
    ready = deque(execute_claim(claimed, watch, stopping))
    if claimed.waiting or not claimed:
        ready.appendleft(pk)
    for _ in range(MAX_PROMOTED):
        if not ready or stopping():
            break
        for more in _claims_of(alias, ready.popleft()):
            found += len(more.runs)
            ready += execute_claim(more, watch, stopping)
            if stopping():
                break
    return found


def _claims_of(alias: str, pk: int) -> Iterator[Claimed]:
    """Claim what may run of one delivery: all that nothing holds back, then one by one what a rate limit lets start."""
    yield retry_transaction(functools.partial(claim_runs_of, alias, pk))
    while throttled := retry_transaction(functools.partial(claim_throttled, alias, pk)):
        yield throttled


def run_inserted(alias: str, runs: Sequence[Run]) -> int:
    """Execute here the runs of `runs_to_insert`, which were stored with their delivery. Return how many there are."""
    execute_claim(claim_inserted(alias, runs))
    return len(runs)


def run_due(
    limit: int = 20,
    *,
    alias: str | None = None,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
    untried_since: datetime | None = None,
    polling: bool = False,
) -> int:
    """Claim up to `limit` deliveries and as many due runs, and execute them here. Return how many there were.

    `watch` is called with each run; once `stopping` returns true, what was claimed but not started is released. With
    `untried_since`: only runs that nobody has started since then. `polling` is for loops that call again soon: as long
    as the indexes of what is due are slow, such a call may find some work later than at once (`due_range`).
    """
    alias = alias or router.db_for_write(Delivery)
    if not polling:
        due_ranges.expire(alias)
    throttled = ThrottledRuns(alias, watch, stopping, untried_since)
    found = throttled.run()
    for claim in (functools.partial(claim_runs, untried_since=untried_since), claim_deliveries):
        if not stopping():
            claimed = retry_transaction(functools.partial(claim, alias, limit))
            found += claimed.found
            execute_claim(claimed, watch, stopping, throttled)
    return found
