"""What holds runs back, as this process knows it: pauses, rate limits, open breakers.

A run that may not start is in a lane of its own, the gate's, so that it is never in the way of others in the claim's
index. Runs get into it when they are made, when the gate closes, and, for those that slipped through in between, when a
claim meets them.
"""

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core.signals import setting_changed
from django.db import IntegrityError, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.models import Gate, Run
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE, receiver_scope, webhook_scope

REFRESH_SECONDS: Final = 0.5
"""How old the knowledge that nothing is held back may be: a pause is in force everywhere within a second."""

PORTION: Final = 1000
"""Runs that are moved from one lane to another in one statement."""

HELD: Final = (Run.Status.WAITING, Run.Status.FAILED)
"""What can be moved: a running run is a worker's, a finished one only waits for its delivery to be settled."""


@dataclass(frozen=True, slots=True)
class Control:
    """The gates as they stand, and the rate limits of the settings."""

    gates: Mapping[str, Gate]
    rates: Mapping[str, float]

    @property
    def is_paused(self) -> bool:
        """Whether nothing at all may start."""
        return self._is_paused(EVERYTHING)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is, or may have to be, held back."""
        return not self.rates and not any(gate.paused_at or not gate.is_cleared for gate in self.gates.values())

    @property
    def paused(self) -> list[Gate]:
        """The closed gates."""
        return [gate for gate in self.gates.values() if gate.paused_at is not None]

    @property
    def holds_webhooks(self) -> bool:
        """Whether it matters which webhook a run's delivery came by."""
        return any(gate.scope.startswith("webhook:") for gate in self.paused)

    def lane(self, webhook_id: uuid.UUID | None, receiver: str) -> int:
        """Return the lane in which a run belongs now."""
        scopes = (
            [receiver_scope(receiver)] if webhook_id is None else [webhook_scope(webhook_id), receiver_scope(receiver)]
        )
        for scope in scopes:
            if self._is_paused(scope):
                return int(self.gates[scope].pk)
        return int(self.gates[receiver_scope(receiver)].pk) if receiver in self.rates else OPEN_LANE

    def limited(self) -> list[tuple[Gate, float]]:
        """Return the gates of rate limits that are not closed, with their rates (runs a second)."""
        gates = [(self.gates[receiver_scope(name)], rate) for name, rate in self.rates.items()]
        return [(gate, rate) for gate, rate in gates if gate.paused_at is None]

    def probed(self, now: datetime) -> list[Gate]:
        """Return the gates that a breaker closed and that are due to let one run through."""
        return [
            gate for gate in self.paused if gate.is_automatic and gate.probe_at is not None and gate.probe_at <= now
        ]

    def to_clear(self) -> list[Gate]:
        """Return the open gates that may still have runs in their lane."""
        limited = {gate.pk for gate, _rate in self.limited()}
        return [
            gate
            for gate in self.gates.values()
            if gate.paused_at is None and not gate.is_cleared and gate.pk not in limited
        ]

    def _is_paused(self, scope: str) -> bool:
        gate = self.gates.get(scope)
        return gate is not None and gate.paused_at is not None


class Controls:
    """The process's knowledge of the gates. That nothing is held back is remembered for a moment; all else is read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[str, tuple[float, int, Control]] = {}
        self._generation = 0

    def get(self, alias: str) -> Control:
        """Return what holds runs back now."""
        known = self._idle.get(alias)
        if known and known[1] == self._generation and time.monotonic() - known[0] < REFRESH_SECONDS:
            return known[2]
        generation, now = self._generation, time.monotonic()
        control = _read(alias)
        with self._lock:
            if control.is_idle:
                self._idle[alias] = (now, generation, control)
            else:
                self._idle.pop(alias, None)
        return control

    def forget(self) -> None:
        """Read the gates anew at the next question."""
        self._generation += 1


controls: Final = Controls()
"""The process's knowledge of the gates."""


def _read(alias: str) -> Control:
    gates = {gate.scope: gate for gate in Gate.objects.using(alias)}
    rates = settings().rate_limits
    for name in rates:
        scope = receiver_scope(name)
        if scope not in gates:
            gates[scope] = gate_of(alias, scope)
    return Control(gates=gates, rates=rates)


def gate_of(alias: str, scope: str) -> Gate:
    """Return the gate of this scope, made when there is none."""
    gates = Gate.objects.using(alias)
    try:
        with transaction.atomic(using=alias):
            return gates.get_or_create(scope=scope)[0]
    except IntegrityError:
        return gates.get(scope=scope)


def close(alias: str, scope: str, *, reason: str = "", by: str = "", probe_at: datetime | None = None) -> Gate:
    """Close a gate, and move what it holds out of the way, up to some portions: the rest follows. Return it.

    With `probe_at` it is the breaker that closes it. Closing a closed one changes who did it and why.
    """
    gate = gate_of(alias, scope)
    now = timezone.now()
    changes = {
        "paused_at": gate.paused_at or now,
        "paused_by": by[:150],
        "reason": reason[:500],
        "is_automatic": probe_at is not None,
        "probe_at": probe_at,
        "is_cleared": False,
    }
    Gate.objects.using(alias).filter(pk=gate.pk).update(**changes)
    _tell(alias)
    for name, value in changes.items():
        setattr(gate, name, value)
    return gate


def open_(alias: str, scope: str) -> Gate | None:
    """Open a gate; None when there is none. Its runs are moved back by `clear_lane`, here or by the workers."""
    gate = Gate.objects.using(alias).filter(scope=scope).first()
    if gate is None:
        return None
    changes = {"paused_at": None, "paused_by": "", "reason": "", "is_automatic": False, "probe_at": None, "failures": 0}
    Gate.objects.using(alias).filter(pk=gate.pk).update(**changes)
    _tell(alias)
    for name, value in changes.items():
        setattr(gate, name, value)
    return gate


def fill_lane(alias: str, gate: Gate) -> int:
    """Move a portion of what a closed gate holds from the open lane into its own, the oldest first; return how many."""
    runs = Run.objects.using(alias).filter(lane=OPEN_LANE, next_try_at__isnull=False, status__in=HELD)
    kind, _colon, name = gate.scope.partition(":")
    held = runs.filter(delivery__webhook_id=name) if kind == "webhook" else runs.filter(receiver=name)
    return move(alias, list(held.order_by("next_try_at").values_list("pk", flat=True)[:PORTION]), OPEN_LANE, gate.pk)


def clear_lane(alias: str, gate: Gate) -> int:
    """Move a portion of an open gate's lane back, the oldest first; return how many. Afterwards it is cleared."""
    held = Run.objects.using(alias).filter(lane=gate.pk, next_try_at__isnull=False).order_by("next_try_at")
    moved = move(alias, list(held.values_list("pk", flat=True)[:PORTION]), gate.pk, OPEN_LANE, every_status=True)
    if not moved:
        Gate.objects.using(alias).filter(pk=gate.pk, paused_at__isnull=True).update(is_cleared=True)
        controls.forget()
    return moved


def move(alias: str, pks: Sequence[int], source: int, target: int, *, every_status: bool = False) -> int:
    """Move runs from one lane to another, if they still are there and, by default, nobody's; return how many."""
    if not pks:
        return 0
    runs = Run.objects.using(alias).filter(pk__in=pks, lane=source)
    return (runs if every_status else runs.filter(status__in=HELD)).update(lane=target)


def _tell(alias: str) -> None:
    """Have this process read the gates anew: at once, and when others can see the change, too."""
    controls.forget()
    transaction.on_commit(controls.forget, using=alias, robust=True)


def _forget_at_other_settings(**kwargs: object) -> None:  # noqa: ARG001 - a signal receiver
    controls.forget()


setting_changed.connect(_forget_at_other_settings, dispatch_uid="nateq_webhooks.dispatch.gates")
