"""The figures of one receiver: its runs by result, how long they took, and what waits.

Each is read through the index of status, receiver and key, and counted up to a limit, so that the number of statements
and of rows has a bound, however many runs there are.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, Min, Q, QuerySet

from nateq_webhooks.admin.dashboard.failures import newest_first, receivers_with
from nateq_webhooks.admin.dashboard.processing_times import ProcessingTimes, processing_times
from nateq_webhooks.models import Run
from nateq_webhooks.models.run import IS_PARKED, NOT_PARKED
from nateq_webhooks.receivers import registry

MAX_COUNTED: Final = 10_000
"""Runs of one status that are counted at most."""

MAX_TIMED: Final = 500
"""The newest finished runs whose durations are read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CappedCount:
    """How many runs, and whether there are more."""

    number: int
    is_capped: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ReceiverFigures:
    """The figures of one receiver at a moment."""

    by_status: Mapping[str, CappedCount]
    "By `Run.Status`; only those of which there are any."
    times: ProcessingTimes | None
    "How long its newest finished runs took; None if none has finished."
    due: int
    "Pending runs that are due, and that neither a pause nor an earlier delivery of the same key holds back."
    later: int
    "Those whose next try is later."
    held: int
    "Pending runs that a pause or an earlier delivery holds back, as `nateq_status` counts them."
    parked: int
    "Pending runs that wait for the receiver to be connected in some process."
    oldest: datetime | None
    "Since when the one has been due that waits longest."
    is_capped: bool
    "Whether more are pending than were read."


def known_receivers(rows: QuerySet[Run]) -> list[str]:
    """Return the names of the receivers that are connected here, and of those with unfinished runs, sorted."""
    names = {receiver.name for receiver in registry}
    for status in Run.UNFINISHED:
        names.update(receivers_with(rows.order_by(), status))
    return sorted(names)


def counts(rows: QuerySet[Run], receiver: str, *statuses: str) -> dict[str, CappedCount]:
    """Count the runs of a receiver by status; a status without any is left out."""
    found = {status: _count(rows, receiver, status) for status in statuses}
    return {status: count for status, count in found.items() if count.number}


def read_figures(rows: QuerySet[Run], receiver: str, now: datetime, paused: Collection[int]) -> ReceiverFigures:
    """Return the figures of a receiver, among the runs that the user may see; `paused`: `HoldState.paused_pks`."""
    rows = rows.order_by().select_related(None)
    durations = _newest_durations(rows, receiver)
    pending = [_pending(rows, receiver, status, now, paused) for status in Run.PENDING]
    oldest = min((one["oldest"] for one in pending if one["oldest"] is not None), default=None)
    return ReceiverFigures(
        by_status=counts(rows, receiver, *Run.Status.values),
        times=processing_times(durations),
        due=sum(one["due"] for one in pending),
        later=sum(one["later"] for one in pending),
        held=sum(one["held"] for one in pending),
        parked=sum(one["parked"] for one in pending),
        oldest=oldest,
        is_capped=any(one["all"] == MAX_COUNTED for one in pending),
    )


def _count(rows: QuerySet[Run], receiver: str, status: str) -> CappedCount:
    found = rows.filter(status=status, receiver=receiver).values("receiver")[: MAX_COUNTED + 1].count()
    return CappedCount(number=min(found, MAX_COUNTED), is_capped=found > MAX_COUNTED)


def _pending(rows: QuerySet[Run], receiver: str, status: str, now: datetime, paused: Collection[int]) -> dict[str, Any]:
    """Return how many of the oldest pending runs are due, due later, held and parked; since when the oldest is due."""
    read = rows.filter(status=status, receiver=receiver).values("next_try_at", "held_by")[:MAX_COUNTED]
    held = Q(held_by__in=sorted(paused))
    due = Q(next_try_at__lte=now) & ~held
    return read.aggregate(
        all=Count("next_try_at"),
        due=Count("next_try_at", filter=due),
        later=Count("next_try_at", filter=NOT_PARKED & ~held & Q(next_try_at__gt=now)),
        held=Count("next_try_at", filter=NOT_PARKED & held),
        parked=Count("next_try_at", filter=IS_PARKED),
        oldest=Min("next_try_at", filter=due),
    )


def _newest_durations(rows: QuerySet[Run], receiver: str) -> list[timedelta]:
    """Return the durations of the newest runs that succeeded or failed for good."""
    newest: list[tuple[int, timedelta]] = []
    for status in (Run.Status.SUCCEEDED, Run.Status.DEAD):
        found = newest_first(rows, status, receiver).values_list("pk", "receiver", "duration")[:MAX_TIMED]
        newest += [(pk, duration) for pk, name, duration in found if name == receiver and duration is not None]
    newest.sort(reverse=True)
    return [duration for _pk, duration in newest[:MAX_TIMED]]
