"""Running receivers: make a delivery's runs, run what is due, settle the delivery. The only writer of a run.

A delivery that was stored with receivers connected has `dispatch_at`: it is claimed by changing it, and whoever claims
it makes the runs, one per receiver, in the same transaction. From then on each run is on its own, under a lease.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final

from django.db import router

from nateq_webhooks.database.retry import memory_hint, retry_transaction
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.dispatch.acknowledgement import process
from nateq_webhooks.dispatch.claim import PARKED, Claimed, claim_runs, claim_runs_of, claim_scarce
from nateq_webhooks.dispatch.deliveries import claim_deliveries, claim_delivery
from nateq_webhooks.dispatch.execution import Outcome
from nateq_webhooks.dispatch.orphans import drop, orphans, reassign, unpark
from nateq_webhooks.dispatch.pauses import pause, paused, resume
from nateq_webhooks.dispatch.rates import next_slot_at
from nateq_webhooks.dispatch.replays import replay, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.upkeep import Upkeep
from nateq_webhooks.dispatch.waking import Due, Runner, hold, runner, use_runner, wake
from nateq_webhooks.dispatch.working import Scarce, Watch, never, work
from nateq_webhooks.models import Delivery, Run

__all__ = [
    "PARKED",
    "Delivery",
    "Due",
    "Outcome",
    "Run",
    "Runner",
    "Selection",
    "Upkeep",
    "Watch",
    "drop",
    "hold",
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
    "request_replay",
    "resume",
    "run_delivery",
    "run_due",
    "runner",
    "unpark",
    "use_runner",
    "wake",
]

MOST_BEHIND: Final = 20
"""Deliveries that one call runs because their turn came after its own (`ORDERED_BY`); workers find the rest."""


def run_delivery(
    pk: int,
    *,
    alias: str | None = None,
    dispatch_at: datetime | None = None,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
) -> int:
    """Claim one delivery, make its runs and run them here, one by one. Return how many runs were claimed.

    Does nothing when another has claimed it; then its runs are, or will be, somebody else's. `watch` is told of each
    run; once `stopping` says so, what was claimed but not started is given back.
    """
    alias = alias or router.db_for_write(Delivery)
    claimed = retry_transaction(lambda: claim_delivery(alias, pk, dispatch_at))
    found = len(claimed.runs)
    behind = deque(work(claimed, watch, stopping))
    if claimed.waiting or not claimed:
        behind.appendleft(pk)
    for _ in range(MOST_BEHIND):
        if not behind or stopping():
            break
        for more in _claims_of(alias, behind.popleft()):
            found += len(more.runs)
            behind += work(more, watch, stopping)
            if stopping():
                break
    return found


def _claims_of(alias: str, pk: int) -> Iterator[Claimed]:
    """Claim what may run of one delivery: all that nothing holds back, then one by one what a rate limit lets start."""
    yield retry_transaction(functools.partial(claim_runs_of, alias, pk))
    while scarce := retry_transaction(functools.partial(claim_scarce, alias, pk)):
        yield scarce


def run_due(
    limit: int = 20,
    *,
    alias: str | None = None,
    watch: Watch | None = None,
    stopping: Callable[[], bool] = never,
    untried_since: datetime | None = None,
) -> int:
    """Claim up to `limit` deliveries and as many runs that are due, and run them here. Return how many it found.

    `watch` is told of each run; once `stopping` says so, what was claimed but not started is given back. With
    `untried_since` given: only runs that nobody has started since then.
    """
    alias = alias or router.db_for_write(Delivery)
    scarce = Scarce(alias, watch, stopping, untried_since)
    found = scarce.run()
    for claim in (functools.partial(claim_runs, untried_since=untried_since), claim_deliveries):
        if not stopping():
            claimed = retry_transaction(functools.partial(claim, alias, limit))
            found += claimed.found
            work(claimed, watch, stopping, scarce)
    return found
