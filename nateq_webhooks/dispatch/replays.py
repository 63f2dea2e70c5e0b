"""Replays: a person has deliveries run once more, beside their finished runs.

A run that is still pending is brought forward, and none is added beside it (`dispatch.unfinished_runs`).

A replay's id is the round of its runs, and (delivery, receiver, round) is unique. Its runs are created in batches. A
batch is committed together with the last delivery's key, so a process that continues after a kill repeats nothing and
leaves nothing out.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from django.db import models, router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.replay_batches import add_to, batch_size, create_batch, lean, rows_without_content, sums
from nateq_webhooks.dispatch.selection import Selection, did_you_mean
from nateq_webhooks.dispatch.selection_queries import key_range_of_selection
from nateq_webhooks.models import Delivery, Replay
from nateq_webhooks.receivers import registry

SPAN: Final = 20_000
"""The range of keys that one batch reads at most: a filter that finds few must not read all at once."""


def replay(
    deliveries: "models.QuerySet[Delivery] | Delivery | Iterable[Delivery | int]",
    receivers: Sequence[str] | None = None,
    *,
    reason: str = "",
    by: str = "",
    only_failed: bool = False,
) -> Replay:
    """Have deliveries run once more by the named receivers, or by all that are connected to their event.

    Creates the runs in the caller's transaction and notifies the runner after its commit; calls no receiver itself.
    `deliveries` is a queryset, a delivery, or deliveries or their keys. Raises `LookupError` if a named receiver is not
    connected. Leaves out a receiver that is not connected to a delivery's event, and deliveries that can't be read.

    Raises `ContentRemovedError` for a delivery whose content was removed by retention or an erasure, if it is given by
    itself or in a list. Those of a queryset are left out; `without_content` of the replay counts them.

    With `only_failed` a receiver runs again only if its last run of a delivery was given up; one that waits to be tried
    again is brought forward, and one that has succeeded since is left alone: `runs`, `brought_forward` and `skipped` of
    the replay count them. `disconnected` counts the failed runs of receivers that are not connected to the event.
    """
    return _replay_now(deliveries, receivers, reason=reason, by=by, only_failed=only_failed)


def try_now(
    deliveries: "models.QuerySet[Delivery] | Delivery | Iterable[Delivery | int]",
    receivers: Sequence[str] | None = None,
    *,
    reason: str = "",
    by: str = "",
) -> Replay:
    """Bring the next try of pending runs forward, and create no run: one that has finished does not run again.

    `brought_forward` of the replay says how many there were, and `disconnected` how many were left alone because their
    receiver is not connected to the event. Otherwise as `replay`.
    """
    return _replay_now(deliveries, receivers, reason=reason, by=by, only_pending=True)


def _replay_now(
    deliveries: "models.QuerySet[Delivery] | Delivery | Iterable[Delivery | int]",
    receivers: Sequence[str] | None,
    *,
    reason: str,
    by: str,
    only_failed: bool = False,
    only_pending: bool = False,
) -> Replay:
    check_receivers(receivers)
    alias = router.db_for_write(Delivery)
    which = _which(alias, deliveries)
    if isinstance(which, list):
        _refuse_lost_contents(alias, which)

    def create() -> Replay:
        with transaction.atomic(using=alias):
            replay_ = Replay.objects.using(alias).create(
                receivers=_names(receivers), reason=reason[:500], by=by[:150], only_failed=only_failed
            )
            for chunk in _chunks(alias, which):
                add_to(replay_, create_batch(alias, replay_, chunk, Selection(), only_pending=only_pending))
                replay_.after = replay_.until = max(replay_.after, *(delivery.pk for delivery in chunk))
            replay_.first = replay_.until  # no range of keys is looked through: `Replay.is_of_given_deliveries`
            replay_.finished_at = timezone.now()
            replay_.save(using=alias)
            _record(alias, replay_, audit.Action.RETRIED if only_pending else audit.Action.REPLAYED, _counts(replay_))
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
    ends = key_range_of_selection(selection, Delivery.objects.using(alias))
    first, until = (0, 0) if ends is None else (ends.lowest - 1, ends.highest)
    replay_ = Replay(
        receivers=_names(receivers),
        filters=selection.as_json(),
        is_command_waiting=is_command_waiting,
        only_failed=only_failed,
        organization_id=organization_id,
        reason=reason[:500],
        by=by[:150],
        first=first,
        after=first,
        until=until,
        finished_at=timezone.now() if ends is None else None,
    )
    with transaction.atomic(using=alias):
        replay_.save(using=alias)
        _record(alias, replay_, audit.Action.REPLAYED, {"filters": selection.audited()})
    return replay_


def _record(alias: str, replay_: Replay, action: audit.Action, details: Mapping[str, object]) -> None:
    """Store the audit log's entry of a replay, in the transaction that creates it."""
    which = {"receivers": replay_.receivers, "only_failed": replay_.only_failed}
    audit.record(action, actor=replay_.by, target=_target(replay_.pk), details={**details, **which}, using=alias)


def _target(pk: int) -> str:
    """Return what a replay is called in the audit log, in any language."""
    return f"replay {pk}"


def _counts(replay_: Replay) -> dict[str, object]:
    names = ("deliveries", "runs", "brought_forward", "skipped", "disconnected")
    return {name: getattr(replay_, name) for name in names}


def advance(alias: str, replay_: Replay) -> bool:
    """Create one batch of a requested replay's runs; return whether there is more to do.

    Two processes that advance it at the same time create a batch once: the second one finds `after` changed.
    """
    if replay_.finished_at is not None or replay_.is_cancelled:
        return False
    selection = Selection.from_json(replay_.filters)
    there = Delivery.objects.using(alias).filter(pk__gt=replay_.after, pk__lte=replay_.until).order_by("pk")
    first = there.values_list("pk", flat=True).first()  # skips keys whose deliveries were deleted
    is_narrow = first is None or bool(selection.deliveries or selection.runs)
    end = replay_.until if first is None or is_narrow else min(first - 1 + SPAN, replay_.until)
    span = Delivery.objects.using(alias).filter(pk__gt=replay_.after, pk__lte=end)
    selected = selection.of(span) if not replay_.only_failed else selection.with_failed_runs(span)
    chunk = list(lean(selected).order_by("pk")[: batch_size()])
    after = chunk[-1].pk if len(chunk) == batch_size() else end
    with transaction.atomic(using=alias):
        unchanged = Replay.objects.using(alias).filter(pk=replay_.pk, after=replay_.after, finished_at__isnull=True)
        if not unchanged.filter(is_cancelled=False).update(after=after):
            replay_.refresh_from_db(using=alias)
            return replay_.finished_at is None and not replay_.is_cancelled
        done = create_batch(alias, replay_, chunk, selection)
        finished_at = timezone.now() if after >= replay_.until else None
        Replay.objects.using(alias).filter(pk=replay_.pk).update(**sums(replay_, done), finished_at=finished_at)
    replay_.after, replay_.finished_at = after, finished_at
    add_to(replay_, done)
    return finished_at is None


def advance_for(alias: str, replay_: Replay, seconds: float) -> None:
    """Create runs of a requested replay for some seconds, so that a site without a worker makes progress, too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and retry_transaction(lambda: advance(alias, replay_)):
        pass


def cancel(alias: str, pk: int) -> bool:
    """Cancel a replay: no more of its runs are created. Return False if it was cancelled, or all are created."""
    with transaction.atomic(using=alias):
        is_cancelled = bool(unfinished(alias).filter(pk=pk).order_by().update(is_cancelled=True))
        if is_cancelled:
            audit.record(audit.Action.REPLAY_CANCELLED, target=_target(pk), using=alias)
    return is_cancelled


def interrupted(
    alias: str, selection: Selection, receivers: Sequence[str] | None, *, only_failed: bool = False
) -> Replay | None:
    """Return the replay of the same deliveries and receivers whose command was interrupted; None if there is none.

    It may be finished: workers continue what was interrupted.
    """
    wanted = (selection.as_json(), _names(receivers), only_failed)
    waiting = Replay.objects.using(alias).filter(is_command_waiting=True, is_cancelled=False).order_by("pk")
    return next((one for one in waiting if (one.filters, one.receivers, one.only_failed) == wanted), None)


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


def _refuse_lost_contents(alias: str, pks: Sequence[int]) -> None:
    """Raise `ContentRemovedError` if the content of a delivery that was given one by one was removed."""
    for start in range(0, len(pks), batch_size()):
        lost = rows_without_content(alias, pks[start : start + batch_size()]).order_by("pk")
        for delivery in lost.only("pk", "content_change", "content_changed_at")[:1]:
            delivery.refuse_lost_content()


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
    rows = lean(Delivery.objects.using(alias)).order_by("pk")
    if isinstance(which, models.QuerySet):
        last = 0
        found = which.using(alias).order_by("pk").values_list("pk", flat=True)
        while pks := list(found.filter(pk__gt=last)[: batch_size()]):
            last = pks[-1]
            yield list(rows.filter(pk__in=pks))
        return
    numbers = iter(which)
    while chunk := list(itertools.islice(numbers, batch_size())):
        if several := list(rows.filter(pk__in=chunk)):
            yield several
