"""Replays: a person has deliveries run once more, beside their finished runs.

A run that is still pending is brought forward, and none is added beside it (`dispatch.unfinished_runs`).

A replay's id is the round of its runs, and (delivery, receiver, round) is unique. Its runs are created in batches. A
batch is committed together with the last delivery's key, so a process that continues after a kill repeats nothing and
leaves nothing out.
"""

import functools
import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Final

from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import order, unfinished_runs
from nateq_webhooks.dispatch.create import connected_receivers, create_runs
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.notify import notify
from nateq_webhooks.dispatch.selection import Selection, did_you_mean
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.receivers import registry

BATCH_SIZE: Final = 500
"""Deliveries whose runs are created in one transaction: what is in memory at a time."""

MAX_NOTIFIED: Final = 100
"""Deliveries of a replay of which the runner is notified; workers that look for what is due find the others."""

SPAN: Final = 20_000
"""The range of keys that one batch reads at most: a filter that finds few must not read all at once."""


def replay(
    deliveries: "models.QuerySet[Delivery] | Delivery | Iterable[Delivery | int]",
    receivers: Sequence[str] | None = None,
    *,
    reason: str = "",
    by: str = "",
) -> Replay:
    """Have deliveries run once more by the named receivers, or by all that are connected to their event.

    Creates the runs in the caller's transaction and notifies the runner after its commit; calls no receiver itself.
    `deliveries` is a queryset, a delivery, or deliveries or their keys. Raises `LookupError` if a named receiver is not
    connected. Leaves out a receiver that is not connected to a delivery's event, and deliveries that can't be read.
    """
    check_receivers(receivers)
    alias = router.db_for_write(Delivery)
    which = _which(alias, deliveries)

    def create() -> Replay:
        with transaction.atomic(using=alias):
            replay_ = Replay.objects.using(alias).create(receivers=_names(receivers), reason=reason[:500], by=by[:150])
            for chunk in _chunks(alias, which):
                _count(replay_, _create_batch(alias, replay_, chunk))
                replay_.after = replay_.until = max(replay_.after, *(delivery.pk for delivery in chunk))
            replay_.finished_at = timezone.now()
            replay_.save(using=alias)
        return replay_

    return retry_transaction(create, alias=alias)


def request_replay(
    selection: Selection,
    receivers: Sequence[str] | None = None,
    *,
    reason: str = "",
    by: str = "",
    is_command_waiting: bool = False,
    only_failed: bool = False,
    organization_id: str = "",
) -> Replay:
    """Request a replay of many deliveries. Workers, or `nateq_replay`, create its runs in batches (`advance`).

    Deliveries that come later are not replayed. With `is_command_waiting` a command creates the runs itself; if it is
    stopped and run again, it finds the replay with `interrupted`. With `only_failed` a receiver runs again if its last
    run of a delivery has failed. Who is of `organization_id` only, sees the replay. Raises `LookupError` if a named
    receiver is not connected.
    """
    check_receivers(receivers)
    alias = router.db_for_write(Delivery)
    newest = Delivery.objects.using(alias).order_by("-pk").values_list("pk", flat=True).first()
    return Replay.objects.using(alias).create(
        receivers=_names(receivers),
        filters=selection.as_json(),
        is_command_waiting=is_command_waiting,
        only_failed=only_failed,
        organization_id=organization_id,
        reason=reason[:500],
        by=by[:150],
        until=newest or 0,
        finished_at=None if newest else timezone.now(),
    )


def advance(alias: str, replay_: Replay) -> bool:
    """Create one batch of a requested replay's runs; return whether there is more to do.

    Two processes that advance it at the same time create a batch once: the second one finds `after` changed.
    """
    if replay_.finished_at is not None or replay_.is_cancelled:
        return False
    selection = Selection.from_json(replay_.filters)
    there = Delivery.objects.using(alias).filter(pk__gt=replay_.after, pk__lte=replay_.until).order_by("pk")
    first = there.values_list("pk", flat=True).first()  # skips keys whose deliveries were deleted
    end = replay_.until if first is None else min(first - 1 + SPAN, replay_.until)
    span = Delivery.objects.using(alias).filter(pk__gt=replay_.after, pk__lte=end)
    chunk = list(_lean(selection.of(span)).order_by("pk")[: _batch_size()])
    after = chunk[-1].pk if len(chunk) == _batch_size() else end
    with transaction.atomic(using=alias):
        unchanged = Replay.objects.using(alias).filter(pk=replay_.pk, after=replay_.after, finished_at__isnull=True)
        if not unchanged.filter(is_cancelled=False).update(after=after):
            replay_.refresh_from_db(using=alias)
            return replay_.finished_at is None and not replay_.is_cancelled
        done = _create_batch(alias, replay_, chunk)
        finished_at = timezone.now() if after >= replay_.until else None
        Replay.objects.using(alias).filter(pk=replay_.pk).update(
            deliveries=replay_.deliveries + done.deliveries,
            runs=replay_.runs + done.runs,
            brought_forward=replay_.brought_forward + done.brought_forward,
            already_running=replay_.already_running + done.already_running,
            finished_at=finished_at,
        )
    replay_.after, replay_.finished_at = after, finished_at
    _count(replay_, done)
    return finished_at is None


def advance_for(alias: str, replay_: Replay, seconds: float) -> None:
    """Create runs of a requested replay for some seconds, so that a site without a worker makes progress, too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and retry_transaction(lambda: advance(alias, replay_)):
        pass


def cancel(alias: str, pk: int) -> bool:
    """Cancel a replay: no more of its runs are created. Return False if it was cancelled, or all are created."""
    return bool(unfinished(alias).filter(pk=pk).order_by().update(is_cancelled=True))


def failed_receivers(alias: str, pks: Sequence[int]) -> dict[int, set[str]]:
    """Return, for each of the deliveries that has any, the receivers whose last run of it has failed."""
    rows = Run.objects.using(alias).filter(delivery_id__in=pks, status__in=Run.FAILING).latest_rounds().order_by()
    found: dict[int, set[str]] = {}
    for pk, name in rows.values_list("delivery_id", "receiver"):
        found.setdefault(pk, set()).add(name)
    return found


def interrupted(alias: str, selection: Selection, receivers: Sequence[str] | None) -> Replay | None:
    """Return the replay of the same deliveries and receivers whose command was interrupted; None if there is none.

    It may be finished: workers continue what was interrupted.
    """
    wanted = (selection.as_json(), _names(receivers))
    waiting = Replay.objects.using(alias).filter(is_command_waiting=True, is_cancelled=False).order_by("pk")
    return next((one for one in waiting if (one.filters, one.receivers) == wanted), None)


def note_command_ended(alias: str, replay_: Replay) -> None:
    """Note that the command has reached the replay's end: the same command again requests another one."""
    replay_.is_command_waiting = False
    Replay.objects.using(alias).filter(pk=replay_.pk).update(is_command_waiting=False)


def next_to_advance(alias: str) -> Replay | None:
    """Return the oldest replay whose runs are still to be created and that this process can continue.

    In a rolling deployment it may not know a named receiver, and would leave out its runs.
    """
    known = {receiver.name for receiver in registry}
    return next((one for one in unfinished(alias) if known.issuperset(one.receivers or ())), None)


def unfinished(alias: str) -> "models.QuerySet[Replay]":
    """Return the replays whose runs are still to be created, the oldest first."""
    return Replay.objects.using(alias).filter(finished_at__isnull=True, is_cancelled=False).order_by("pk")


@dataclass(frozen=True, kw_only=True, slots=True)
class _BatchResult:
    """What was done for one batch of deliveries: how many there were, and what became of their runs."""

    deliveries: int
    runs: int
    brought_forward: int
    already_running: int


def _count(replay_: Replay, done: _BatchResult) -> None:
    replay_.deliveries += done.deliveries
    replay_.runs += done.runs
    replay_.brought_forward += done.brought_forward
    replay_.already_running += done.already_running


def _create_batch(alias: str, replay_: Replay, deliveries: Sequence[Delivery]) -> _BatchResult:
    """Replay some deliveries, inside the caller's transaction, and notify the runner after its commit."""
    failed = failed_receivers(alias, [delivery.pk for delivery in deliveries]) if replay_.only_failed else None
    wanted = {
        delivery: names for delivery in deliveries if (names := _receivers_of(delivery, replay_.receivers, failed))
    }
    with order.lock(alias) if unfinished_runs.is_ordered() else nullcontext():
        return _replay_batch(alias, replay_, wanted)


def _replay_batch(alias: str, replay_: Replay, wanted: dict[Delivery, list[str]]) -> _BatchResult:
    """Create a run for each receiver of each delivery, or bring its pending run forward; leave a running one alone."""
    state, now = hold_cache.get(alias), timezone.now()
    keys: set[str] = set()
    if unfinished_runs.is_ordered():
        for earlier in unfinished_runs.undispatched_before(alias, [delivery.pk for delivery in wanted]):
            keys |= unfinished_runs.create_first_runs(alias, earlier, state, now)
    there = unfinished_runs.lock_deliveries(alias, [delivery.pk for delivery in wanted])
    wanted = {delivery: names for delivery, names in wanted.items() if delivery.pk in there}
    if new := [delivery for delivery in wanted if there[delivery.pk] is not None]:
        keys |= unfinished_runs.create_first_runs(alias, new, state, now)
    pairs = {(delivery.pk, name) for delivery, names in wanted.items() for name in names}
    found = unfinished_runs.open_runs(alias, list(there), sorted({name for _pk, name in pairs}))
    forward = [run for pair, run in found.pending.items() if pair in pairs]
    unfinished_runs.bring_forward(alias, forward, now)
    busy = found.running & pairs
    left = {delivery: _without(delivery, names, found) for delivery, names in wanted.items()}
    created = create_runs(alias, left.items(), state, now=now, round_=replay_.pk)
    _record(alias, replay_, created.waiting, forward)
    _write_status(alias, {run.delivery_id for run in created.waiting})
    pks = sorted({run.delivery_id for run in [*created.waiting, *forward]})
    notified = pks[: max(0, MAX_NOTIFIED - replay_.deliveries)]
    transaction.on_commit(
        functools.partial(_after_commit, alias, keys | created.keys, notified), using=alias, robust=True
    )
    return _BatchResult(
        deliveries=len(wanted), runs=len(created.waiting), brought_forward=len(forward), already_running=len(busy)
    )


def _without(delivery: Delivery, names: Sequence[str], found: unfinished_runs.OpenRuns) -> list[str]:
    """Return the receivers that have no unfinished run of the delivery."""
    taken = found.running | found.pending.keys()
    return [name for name in names if (delivery.pk, name) not in taken]


def _record(alias: str, replay_: Replay, created: Sequence[Run], forward: Sequence[Run]) -> None:
    """Record which runs are the replay's, for its progress."""
    rows = [ReplayedRun(replay=replay_, run=run) for run in created]
    rows += [ReplayedRun(replay=replay_, run=run, is_brought_forward=True) for run in forward]
    ReplayedRun.objects.using(alias).bulk_create(rows)


def _write_status(alias: str, pks: set[int]) -> None:
    """Write the status of locked deliveries that have new runs, none of which has started."""
    failing = unfinished_runs.with_failing(alias, sorted(pks))
    rows = Delivery.objects.using(alias)
    for status, some in ((Delivery.Status.RECEIVED, pks - failing), (Delivery.Status.FAILED, failing)):
        if some:
            rows.filter(pk__in=some).update(status=status)


def _after_commit(alias: str, keys: Iterable[str], pks: Sequence[int]) -> None:
    order.promote(alias, keys)
    notify(alias, pks)


def _batch_size() -> int:
    """Return how many deliveries to read at a time; fewer where order matters, which reads their bodies, too."""
    return BATCH_SIZE // 10 if unfinished_runs.is_ordered() else BATCH_SIZE


def _lean(deliveries: "models.QuerySet[Delivery]") -> "models.QuerySet[Delivery]":
    """Leave out the columns that creating runs does not need."""
    unread = ["payload", "headers"] if unfinished_runs.is_ordered() else ["payload", "headers", "body"]
    return deliveries.defer(*unread)


def _receivers_of(delivery: Delivery, names: Sequence[str] | None, failed: dict[int, set[str]] | None) -> list[str]:
    """Return the receivers to run for the delivery: all that are connected to its event, or the named ones of them.

    `failed` leaves only those of them that have failed.
    """
    connected = connected_receivers(delivery)
    found = connected if names is None else [name for name in connected if name in names]
    return found if failed is None else [name for name in found if name in failed.get(delivery.pk, ())]


def check_receivers(names: Sequence[str] | None) -> None:
    """Raise `LookupError` if a receiver is not connected, `TypeError` for one name in place of a list."""
    if isinstance(names, str):
        raise TypeError(f"receivers is a list of names: write [{names!r}].")
    for name in names or ():
        if registry.get(name) is None:
            names_known = sorted({receiver.name for receiver in registry})
            text = _('No receiver called "%(name)s" is connected. Connected: %(known)s.')
            words = {"name": name, "known": ", ".join(names_known) or _("none")}
            raise LookupError(text % words + did_you_mean(name, names_known))


def _names(names: Sequence[str] | None) -> list[str] | None:
    return None if names is None else sorted(set(names))


def _which(
    alias: str,
    deliveries: "models.QuerySet[Delivery] | Delivery | Iterable[Delivery | int]",
) -> "models.QuerySet[Delivery] | list[int]":
    """Return a queryset that can be read in batches, else keys. Raises `TypeError` for rows that are no deliveries."""
    if isinstance(deliveries, Delivery):
        return [deliveries.pk]
    if isinstance(deliveries, models.QuerySet):
        if not issubclass(deliveries.model, Delivery):
            raise TypeError(f"replay() takes deliveries, not rows of {deliveries.model.__name__}.")
        if not deliveries.query.is_sliced and not deliveries.query.combinator:
            return deliveries
        return sorted(set(deliveries.using(alias).values_list("pk", flat=True)))
    return sorted({one.pk if isinstance(one, Delivery) else int(one) for one in deliveries})


def _chunks(alias: str, which: "models.QuerySet[Delivery] | list[int]") -> Iterator[list[Delivery]]:
    """Yield the deliveries in batches: a queryset's in the order of their keys, which is that in which they came."""
    rows = _lean(Delivery.objects.using(alias)).order_by("pk")
    if isinstance(which, models.QuerySet):
        last = 0
        found = which.using(alias).order_by("pk").values_list("pk", flat=True)
        while pks := list(found.filter(pk__gt=last)[: _batch_size()]):
            last = pks[-1]
            yield list(rows.filter(pk__in=pks))
        return
    numbers = iter(which)
    while chunk := list(itertools.islice(numbers, _batch_size())):
        if several := list(rows.filter(pk__in=chunk)):
            yield several
