"""One batch of a replay: create the runs of some deliveries, or bring forward those that are pending.

It runs inside the caller's transaction, which also stores how far the replay got.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Final

from django.db import models, transaction
from django.utils import timezone

from nateq_webhooks.dispatch import order, unfinished_runs
from nateq_webhooks.dispatch.create import connected_receivers, create_runs
from nateq_webhooks.dispatch.failed_runs import failed_pairs
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.notify import notify
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.unfinished_runs import Pair
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.hourly_count import forget_hours
from nateq_webhooks.models.replay import ReplayedRun

BATCH_SIZE: Final = 500
"""Deliveries whose runs are created in one transaction: what is in memory at a time."""

MAX_NOTIFIED: Final = 100
"""The runner is notified of so many deliveries of a replay; workers find the others when they look for due runs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchResult:
    """What was done for one batch of deliveries: how many there were, and what became of their runs."""

    deliveries: int
    runs: int
    brought_forward: int
    already_running: int
    skipped: int
    without_content: int
    disconnected: int


def add_to(replay_: Replay, done: BatchResult) -> None:
    """Add the numbers of a batch to those of the replay, in memory."""
    for name, number in sums(replay_, done).items():
        setattr(replay_, name, number)


def sums(replay_: Replay, done: BatchResult) -> dict[str, int]:
    """Return the numbers of the replay with those of a batch added; they have the same names."""
    return {each.name: getattr(replay_, each.name) + getattr(done, each.name) for each in fields(done)}


def create_batch(
    alias: str, replay_: Replay, deliveries: Sequence[Delivery], selection: Selection, *, only_pending: bool = False
) -> BatchResult:
    """Replay some deliveries, inside the caller's transaction, and notify the runner after its commit.

    With `only_failed` of the replay: those of their runs that `selection` selects. With `only_pending` no run is
    created: pending ones are brought forward.
    """
    readable = [delivery for delivery in deliveries if not delivery.is_content_lost]
    with order.lock(alias) if unfinished_runs.is_ordered() else nullcontext():
        done = _replay_batch(alias, replay_, readable, selection, only_pending=only_pending)
    return replace(done, without_content=done.without_content + len(deliveries) - len(readable))


def batch_size() -> int:
    """Return how many deliveries to read at a time; fewer where order matters, which reads their bodies, too."""
    return BATCH_SIZE // 10 if unfinished_runs.is_ordered() else BATCH_SIZE


def rows_without_content(alias: str, pks: Collection[int]) -> "models.QuerySet[Delivery]":
    """Return those of some deliveries whose content was removed by retention or an erasure."""
    return Delivery.objects.using(alias).filter(pk__in=pks, content_change__in=Delivery.CONTENT_LOST)


def lean(deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
    """Leave out the columns that creating runs does not need."""
    unread = ["payload", "headers"] if unfinished_runs.is_ordered() else ["payload", "headers", "body"]
    return deliveries.defer(*unread)


def _replay_batch(
    alias: str,
    replay_: Replay,
    deliveries: Sequence[Delivery],
    selection: Selection,
    *,
    only_pending: bool,
) -> BatchResult:
    """Create a run for each receiver of each delivery, or bring its pending run forward; leave a running one alone."""
    state, now = hold_cache.get(alias), timezone.now()
    connected = {delivery: _receivers_of(delivery, replay_.receivers) for delivery in deliveries}
    wanted = {delivery: names for delivery, names in connected.items() if names}
    keys: set[str] = set()
    if unfinished_runs.is_ordered():
        for earlier in unfinished_runs.undispatched_before(alias, [delivery.pk for delivery in wanted]):
            keys |= unfinished_runs.create_first_runs(alias, earlier, state, now)
    there = unfinished_runs.lock_deliveries(alias, [delivery.pk for delivery in wanted])
    lost = set(rows_without_content(alias, there).values_list("pk", flat=True))  # removed since they were read
    there = {pk: dispatch_at for pk, dispatch_at in there.items() if pk not in lost}
    wanted = {delivery: names for delivery, names in wanted.items() if delivery.pk in there}
    if new := [delivery for delivery in wanted if there[delivery.pk] is not None]:
        keys |= unfinished_runs.create_first_runs(alias, new, state, now)
    pairs = {(delivery.pk, name) for delivery, names in wanted.items() for name in names}
    found = unfinished_runs.open_runs(alias, list(there), sorted({name for _pk, name in pairs}))
    resolved = disconnected = frozenset[Pair]()
    alone = [delivery.pk for delivery, names in connected.items() if not names]
    if only_pending:
        pending = unfinished_runs.pending_pairs(alias, [*there, *alone])
        disconnected = _of_receivers(pending - pairs, replay_.receivers)
    elif replay_.only_failed:
        failed = failed_pairs(alias, [*there, *alone], selection)
        disconnected = _of_receivers(failed.to_retry - pairs, replay_.receivers)
        pairs, resolved = pairs & failed.to_retry, failed.resolved & pairs
    forward = [run for pair, run in found.pending.items() if pair in pairs]
    unfinished_runs.bring_forward(alias, forward, now)
    busy = found.running & pairs
    new_pairs = set() if only_pending else pairs - found.running - found.pending.keys()
    to_create = {
        delivery: [name for name in names if (delivery.pk, name) in new_pairs] for delivery, names in wanted.items()
    }
    created = create_runs(alias, to_create.items(), state, now=now, round_=replay_.pk)
    _record(alias, replay_, created.waiting, forward)
    _write_status(alias, {run.delivery_id for run in created.waiting})
    forget_hours(alias, [delivery.pk for delivery in wanted if delivery.status == Delivery.Status.IGNORED])
    pks = sorted({run.delivery_id for run in [*created.waiting, *forward]})
    notified = pks[: max(0, MAX_NOTIFIED - replay_.deliveries)]
    transaction.on_commit(
        functools.partial(_after_commit, alias, keys | created.keys, notified), using=alias, robust=True
    )
    return BatchResult(
        deliveries=len({pk for pk, _name in pairs}),
        runs=len(created.waiting),
        brought_forward=len(forward),
        already_running=len(busy),
        skipped=len(resolved),
        without_content=len(lost),
        disconnected=len(disconnected),
    )


def _record(alias: str, replay_: Replay, created: Sequence[Run], forward: Sequence[Run]) -> None:
    """Record which runs are the replay's, for its progress."""
    rows = [ReplayedRun(replay=replay_, run=run) for run in created]
    rows += [ReplayedRun(replay=replay_, run=run, is_brought_forward=True) for run in forward]
    ReplayedRun.objects.using(alias).bulk_create(rows)


def _write_status(alias: str, pks: set[int]) -> None:
    """Write the status of locked deliveries whose new runs have not started."""
    failing = unfinished_runs.with_failing(alias, sorted(pks))
    rows = Delivery.objects.using(alias)
    for status, some in ((Delivery.Status.RECEIVED, pks - failing), (Delivery.Status.FAILED, failing)):
        if some:
            rows.filter(pk__in=some).update(status=status)


def _after_commit(alias: str, keys: Iterable[str], pks: Sequence[int]) -> None:
    order.promote(alias, keys)
    notify(alias, pks)


def _receivers_of(delivery: Delivery, names: Sequence[str] | None) -> list[str]:
    """Return the receivers to run for the delivery: all that are connected to its event, or the named ones of them."""
    connected = connected_receivers(delivery)
    return connected if names is None else [name for name in connected if name in names]


def _of_receivers(pairs: frozenset[Pair], names: Sequence[str] | None) -> frozenset[Pair]:
    """Return those of the pairs whose receiver is one of the named ones; all without names."""
    return pairs if names is None else frozenset(pair for pair in pairs if pair[1] in names)
