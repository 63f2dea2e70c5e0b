"""What is due, held and parked, and who works: the one place that says so, for status, checks and the admin.

A run waits in one of few lanes, which the index of what is due begins with. Which of them runs can start from follows
from the gates and the rate limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Min, QuerySet
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.claim import OPEN, PARKED
from nateq_webhooks.dispatch.gates import HELD
from nateq_webhooks.models import Delivery, Gate, Heartbeat, Run
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE, TURN_LANE, receiver_scope

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

    @property
    def occupied(self) -> list[int]:
        """The lanes that may hold runs to be tried again: the open one, and those of pauses and rate limits."""
        limited = {receiver_scope(name) for name in settings().rate_limits}
        used = [gate for gate in self.gates if gate.paused_at or not gate.is_cleared or gate.scope in limited]
        return [OPEN_LANE, *(gate.pk for gate in used)]

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


def due_runs(rows: QuerySet[Run], moment: datetime, known: Lanes | None = None) -> QuerySet[Run]:
    """Return those of the runs that could have been started at this moment or earlier: nothing holds them back.

    New, waiting for a try whose time has come, or left by a dead worker; in any lane that runs start from.
    """
    open_lanes = list((known or lanes(rows.db)).open_since(moment))
    return rows.filter(lane__in=open_lanes, next_try_at__lte=moment, status__in=OPEN)


def due_deliveries(rows: QuerySet[Delivery], moment: datetime, known: Lanes | None = None) -> QuerySet[Delivery]:
    """Return those of the deliveries whose runs could have been made at this moment or earlier.

    None while everything is paused.
    """
    return rows.none() if (known or lanes(rows.db)).is_paused else rows.filter(dispatch_at__lte=moment)


def oldest_due(alias: str, now: datetime, known: Lanes) -> datetime | None:
    """Return since when the longest waiting delivery or run could have been started; None when nothing waits."""
    deliveries = due_deliveries(Delivery.objects.using(alias), now, known)
    moments = [deliveries.aggregate(oldest=Min("dispatch_at"))["oldest"]]
    for lane, slot in known.open_since(now).items():  # one look-up in the index each
        runs = Run.objects.using(alias).filter(lane=lane, next_try_at__lte=now, status__in=OPEN)
        oldest = runs.order_by("next_try_at").values_list("next_try_at", flat=True).first()
        moments.append(oldest if oldest is None or slot is None else max(oldest, slot))
    return min((moment for moment in moments if moment is not None), default=None)


def held_runs(rows: QuerySet[Run], gate: Gate) -> QuerySet[Run]:
    """Return those of the runs that a closed gate holds back; the pause of everything leaves them in the open lane."""
    held = rows.filter(lane=OPEN_LANE if gate.scope == EVERYTHING else gate.pk)
    return held.filter(next_try_at__lt=PARKED, status__in=HELD)


def parked_runs(rows: QuerySet[Run], known: Lanes | None = None) -> QuerySet[Run]:
    """Return those of the runs whose receiver no process knows, by the end of each lane's part of the index."""
    return rows.filter(lane__in=(known or lanes(rows.db)).with_parked, next_try_at__gte=PARKED)


def workers(alias: str, now: datetime) -> QuerySet[Heartbeat]:
    """Return the workers that were seen lately."""
    return Heartbeat.objects.using(alias).filter(seen_at__gte=now - SEEN_LATELY)


def has_workers(alias: str) -> bool:
    """Say whether a worker was seen lately."""
    return workers(alias, timezone.now()).exists()
