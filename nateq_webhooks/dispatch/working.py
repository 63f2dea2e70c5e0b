"""Working off what a claim took: execute its runs one by one, then settle their deliveries."""

import functools
from collections.abc import Callable, Mapping

from nateq_webhooks.dispatch import breaker
from nateq_webhooks.dispatch.claim import Claimed, release
from nateq_webhooks.dispatch.execution import Outcome, execute, was_committed
from nateq_webhooks.dispatch.leases import keeper
from nateq_webhooks.dispatch.orphans import park
from nateq_webhooks.dispatch.settlement import clear, give_up, settle, settle_all
from nateq_webhooks.models import Run
from nateq_webhooks.models.repetition import repeated
from nateq_webhooks.receivers import registry

Watch = Callable[[Run, Outcome], None]
"""Is told of each run that was executed."""


def never() -> bool:
    """Stop for nothing."""
    return False


def work(claimed: Claimed, watch: Watch | None = None, stopping: Callable[[], bool] = never) -> list[int]:
    """Execute what was claimed, then settle it; return the deliveries whose turn it is now (`ORDERED_BY`)."""
    for pk in claimed.unheard:
        repeated(functools.partial(give_up, claimed.alias, pk))
    for pk in sorted({run.delivery_id for run in claimed.finished}):
        repeated(functools.partial(settle, claimed.alias, pk))
    called_up = clear(claimed.alias, claimed.finished)
    if claimed.runs:
        called_up += _execute_all(claimed, watch, stopping)
    return called_up


def _execute_all(claimed: Claimed, watch: Watch | None, stopping: Callable[[], bool]) -> list[int]:
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
            _tell_breaker(claimed.alias, run, outcome)
            if watch is not None:
                watch(run, outcome)
        return _settle(claimed.alias, executed)


def _tell_breaker(alias: str, run: Run, outcome: Outcome) -> None:
    if outcome is Outcome.SUCCEEDED:
        breaker.succeeded(alias, run)
    elif outcome is Outcome.FAILED:
        breaker.failed(alias, run)


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
