"""Rate limits: how many runs of a receiver may start, over all processes.

The gate's `next_slot_at` says when the next run may start; whoever moves it on owns that slot. Slots that nobody used
are gone: a fragile service is not to be caught up with in a burst. Only half the time between two slots is made up for,
so that whoever comes a little late does not make the rate lower; no whole number of slots is gained by that.
"""

from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from nateq_webhooks.dispatch.gates import controls
from nateq_webhooks.models import Gate, Run

MOST_MADE_UP: Final = timedelta(seconds=0.1)
"""How late a slot is made up for at most."""


def is_free(gate: Gate, now: datetime) -> bool:
    """Say whether a run may start now, as far as is known."""
    return gate.next_slot_at is None or gate.next_slot_at <= now


def take_slot(alias: str, gate: Gate, rate: float) -> bool:
    """Take the slot that is free now; say whether it is ours. A race for it is lost rather than waited for."""
    now = timezone.now()
    if not is_free(gate, now):
        return False
    step = timedelta(seconds=1 / rate)
    slot = max(gate.next_slot_at or now, now - min(step / 2, MOST_MADE_UP))
    mine = Gate.objects.using(alias).filter(pk=gate.pk, next_slot_at=gate.next_slot_at, paused_at__isnull=True)
    return bool(mine.update(next_slot_at=slot + step))


def next_slot_at(alias: str, *, untried_since: datetime | None = None) -> datetime | None:
    """Return when the next run of a rate-limited receiver may start; None when none waits for that.

    With `untried_since` given: none that nobody has started since then.
    """
    control = controls.get(alias)
    if control.is_paused:
        return None
    gates = [gate for gate, _rate in control.limited() if has_due(alias, gate, untried_since)]
    return min((gate.next_slot_at or timezone.now() for gate in gates), default=None)


def has_due(alias: str, gate: Gate, untried_since: datetime | None = None) -> bool:
    """Say whether a run in the gate's lane is due, and only the rate keeps it from starting."""
    due = Run.objects.using(alias).filter(lane=gate.pk, next_try_at__lte=timezone.now())
    if untried_since is not None:
        due = due.filter(Q(started_at__isnull=True) | Q(started_at__lt=untried_since))
    return due.exists()
