"""What is due, held and parked, and who works: the one place that says so, for status, checks and the admin.

A run waits in one of few lanes, which the index of what is due begins with. Which of them runs can start from follows
from the gates and the rate limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.db.models import Min, Model, QuerySet
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.claim import OPEN, PARKED
from nateq_webhooks.dispatch.gates import HELD
from nateq_webhooks.models import Delivery, Gate, Heartbeat, Run
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE, TURN_LANE, receiver_scope

_Row = TypeVar("_Row", bound=Model)

SEEN_LATELY: Final = timedelta(seconds=60)
"""A worker that was seen so long ago is at work."""


@dataclass(frozen=True, slots=True)
class Lanes:
    """The lanes that there are, by the gates; unlike `gates.Control` it only reads, from a replica, too."""

    gates: Sequence[Gate]

    @property
    def is_paused(self) -> bool:
        """Whether nothing at all may start."""
        return any(gate.scope == EVERYTHING and gate.paused_at is not None for gate in self.gates)

    @property
    def closed(self) -> set[int]:
        """The lanes that nothing starts from until somebody resumes, or an earlier delivery has run."""
        if self.is_paused:
            return {OPEN_LANE, TURN_LANE, *(gate.pk for gate in self.gates)}
        return {TURN_LANE, *(gate.pk for gate in self.gates if gate.paused_at is not None)}

    @property
    def with_parked(self) -> list[int]:
        """The lanes that runs of unknown receivers may be parked in: each but that of turns."""
        return [OPEN_LANE, *(gate.pk for gate in self.gates)]

    def open_since(self, moment: datetime) -> dict[int, datetime | None]:
        """Return the lanes that a run could have started from at this moment or earlier.

        The values say since when the next slot of a rate limit is free; None where nothing limits the lane.
        """
        if self.is_paused:
            return {}
        limited = {receiver_scope(name) for name in settings().rate_limits}
        found: dict[int, datetime | None] = {OPEN_LANE: None}
        for gate in self.gates:
            slot = gate.next_slot_at if gate.scope in limited else None
            if gate.paused_at is None and (slot is None or slot <= moment):
                found[gate.pk] = slot
        return found


def lanes(alias: str) -> Lanes:
    """Return the lanes as they are now."""
    return Lanes(list(Gate.objects.using(alias)))


def due_runs(
    alias: str, moment: datetime, known: Lanes | None = None, *, among: QuerySet[Run] | None = None
) -> QuerySet[Run]:
    """Return the runs that could have been started at this moment or earlier: nothing holds them back.

    New, waiting for a try whose time has come, or left by a dead worker; in any lane that runs start from. With
    `among` given, only those of its rows.
    """
    open_lanes = list((known or lanes(alias)).open_since(moment))
    return _rows_of(Run, alias, among).filter(lane__in=open_lanes, next_try_at__lte=moment, status__in=OPEN)


def due_deliveries(
    alias: str, moment: datetime, known: Lanes | None = None, *, among: QuerySet[Delivery] | None = None
) -> QuerySet[Delivery]:
    """Return the deliveries whose runs could have been made at this moment or earlier: none while all is paused."""
    rows = _rows_of(Delivery, alias, among)
    return rows.none() if (known or lanes(alias)).is_paused else rows.filter(dispatch_at__lte=moment)


def oldest_due(alias: str, now: datetime, known: Lanes) -> datetime | None:
    """Return since when the longest waiting delivery or run could have been started; None when nothing waits."""
    moments = [due_deliveries(alias, now, known).aggregate(oldest=Min("dispatch_at"))["oldest"]]
    for lane, slot in known.open_since(now).items():  # one look-up in the index each
        runs = Run.objects.using(alias).filter(lane=lane, next_try_at__lte=now, status__in=OPEN)
        oldest = runs.order_by("next_try_at").values_list("next_try_at", flat=True).first()
        moments.append(oldest if oldest is None or slot is None else max(oldest, slot))
    return min((moment for moment in moments if moment is not None), default=None)


def held_runs(alias: str, gate: Gate, *, among: QuerySet[Run] | None = None) -> QuerySet[Run]:
    """Return the runs that a closed gate holds back; what everything's pause holds stays in the open lane."""
    runs = _rows_of(Run, alias, among).filter(lane=OPEN_LANE if gate.scope == EVERYTHING else gate.pk)
    return runs.filter(next_try_at__lt=PARKED, status__in=HELD)


def parked_runs(alias: str, known: Lanes | None = None, *, among: QuerySet[Run] | None = None) -> QuerySet[Run]:
    """Return the runs whose receiver no process knows, by the end of each lane's part of the index."""
    in_lanes = (known or lanes(alias)).with_parked
    return _rows_of(Run, alias, among).filter(lane__in=in_lanes, next_try_at__gte=PARKED)


def workers(alias: str, now: datetime) -> QuerySet[Heartbeat]:
    """Return the workers that were seen lately."""
    return Heartbeat.objects.using(alias).filter(seen_at__gte=now - SEEN_LATELY)


def has_workers(alias: str) -> bool:
    """Say whether a worker was seen lately."""
    return workers(alias, timezone.now()).exists()


def _rows_of(model: type[_Row], alias: str, among: QuerySet[_Row] | None) -> QuerySet[_Row]:
    """Return the rows to look among: all of the model, unless the caller has narrowed them."""
    return QuerySet(model, using=alias) if among is None else among.using(alias)
