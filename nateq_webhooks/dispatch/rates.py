"""Rate limits: how many runs of a receiver may start now, over all processes.

The gate's `next_slot_at` says when the next run may start; whoever moves it on owns the slots in between. Slots that
nobody used are gone, but for a tenth of a second's worth: a fragile service is not to be caught up with in a burst.
"""

from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from nateq_webhooks.dispatch.gates import Control, controls
from nateq_webhooks.models import Gate, Run

BURST_SECONDS: Final = 0.1
"""How much of the past is made up for: less than it takes a worker to look again at a fast rate."""


def take_slots(alias: str, gate: Gate, rate: float, most: int) -> int:
    """Take up to `most` slots that are free now; return how many. A race for them is lost rather than waited for."""
    now = timezone.now()
    step = timedelta(seconds=1 / rate)
    first = max(gate.next_slot_at or now, now - timedelta(seconds=BURST_SECONDS))
    if first > now:
        return 0
    free = min(most, int((now - first) / step) + 1)
    mine = Gate.objects.using(alias).filter(pk=gate.pk, next_slot_at=gate.next_slot_at)
    return free if mine.update(next_slot_at=first + free * step) else 0


def next_slot_at(alias: str) -> datetime | None:
    """Return when the next run of a rate-limited receiver may start; None when none waits for that."""
    control = controls.get(alias)
    moments = [
        gate.next_slot_at or timezone.now() for gate, _rate in control.limited() if has_due(alias, gate, control)
    ]
    return min(moments, default=None)


def has_due(alias: str, gate: Gate, control: Control) -> bool:
    """Say whether a run in the gate's lane is due, and only the rate keeps it from starting."""
    if control.is_paused:
        return False
    return Run.objects.using(alias).filter(lane=gate.pk, next_try_at__lte=timezone.now()).exists()
