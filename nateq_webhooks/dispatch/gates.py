"""What holds runs back, as this process knows it: pauses, rate limits, open breakers.

A run that may not start is in a lane of its own, the gate's, so that it is never in the way of others in the claim's
index. Runs get into it when they are made, when the gate closes, and, for those that slipped through in between, when a
claim meets them.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from django.core.signals import setting_changed
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from nateq_webhooks import tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.database.cached_rows import CachedRows
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models import Gate, Run
from nateq_webhooks.models.gate import EVERYTHING, OPEN_LANE, breaker_scope, receiver_scope, scope_parts, webhook_scope

REFRESH_SECONDS: Final = 0.5
"""How old the knowledge that nothing is held back may be: a pause is in force everywhere within a second."""

PORTION: Final = 1000
"""Runs that are moved from one lane to another in one statement."""

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every `next_try_at`: a range of the index without the finished runs, which IS NOT NULL is not on SQLite."""

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
        scopes = [receiver_scope(receiver)]
        if webhook_id is not None:
            scopes = [webhook_scope(webhook_id), *scopes, breaker_scope(webhook_id, receiver)]
        for scope in scopes:
            if self._is_paused(scope):
                return int(self.gates[scope].pk)
        return int(self.gates[receiver_scope(receiver)].pk) if receiver in self.rates else OPEN_LANE

    def holds_back(self, webhook_id: uuid.UUID, run: Run) -> bool:
        """Whether a run that was claimed must not start after all: its gate was closed since. A probe may."""
        if self.is_idle:
            return False
        lane = self.lane(webhook_id, run.receiver)
        return self.is_paused or (lane != run.lane and any(gate.pk == lane for gate in self.paused))

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


class HoldCache:
    """What this process knows of each tenant's gates. That nothing is held back is cached briefly; all else is read."""

    def __init__(self) -> None:
        self._by_tenant: dict[tuple[str, str], CachedRows[Control]] = {}

    def get(self, alias: str) -> Control:
        """Return what holds runs back now."""
        known = self._rows(alias).fresh(REFRESH_SECONDS)
        return known if known is not None and known.is_idle else self._read(alias)

    def recent(self, alias: str) -> Control:
        """Return what held runs back a moment ago, whatever it was: enough to look at before each run."""
        return self._rows(alias).fresh(REFRESH_SECONDS) or self._read(alias)

    def invalidate(self) -> None:
        """Read the gates again before they are next used."""
        for rows in tuple(self._by_tenant.values()):
            rows.invalidate()

    def _read(self, alias: str) -> Control:
        return self._rows(alias).read(alias, lambda: _read(alias))

    def _rows(self, alias: str) -> CachedRows[Control]:
        key = (alias, tenants.current(alias))
        return self._by_tenant.get(key) or self._by_tenant.setdefault(key, CachedRows())


controls: Final = HoldCache()
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
    return Gate.objects.using(alias).get_or_create(scope=scope)[0]


def close(alias: str, scope: str, *, reason: str = "", by: str = "", probe_at: datetime | None = None) -> Gate:
    """Close a gate; return it. `fill_lane` moves what it holds out of the way.

    With `probe_at` it is the breaker that closes it, which leaves alone what a person has closed. Closing a closed one
    changes who did it and why.
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
    mine = Gate.objects.using(alias).filter(pk=gate.pk)
    if probe_at is not None:
        mine = mine.filter(Q(paused_at__isnull=True) | Q(is_automatic=True))
    mine.update(**changes)
    _tell(alias)
    gate.refresh_from_db(using=alias)
    return gate


def open_(alias: str, scope: str, *, only_automatic: bool = False) -> Gate | None:
    """Open a gate; None when there is none. Its runs are moved back by `clear_lane`, here or by the workers.

    With `only_automatic` what a person has closed stays closed.
    """
    gates = Gate.objects.using(alias).filter(scope=scope)
    gate = (gates.filter(is_automatic=True) if only_automatic else gates).first()
    if gate is None:
        return None
    changes = {"paused_at": None, "paused_by": "", "reason": "", "is_automatic": False, "probe_at": None, "failures": 0}
    mine = gates.filter(pk=gate.pk)
    (mine.filter(is_automatic=True) if only_automatic else mine).update(**changes)
    _tell(alias)
    gate.refresh_from_db(using=alias)
    return gate


def fill_lane(alias: str, gate: Gate, source: int = OPEN_LANE) -> int:
    """Move a portion of what a gate holds from another lane into its own, the oldest first; return how many."""
    runs = Run.objects.using(alias).filter(lane=source, next_try_at__gte=LONG_AGO, status__in=HELD)
    webhook, receiver = scope_parts(gate.scope)
    if webhook:
        runs = runs.filter(delivery__webhook_id=webhook)
    if receiver:
        runs = runs.filter(receiver=receiver)
    pks = list(runs.order_by("next_try_at").values_list("pk", flat=True)[:PORTION])
    return retry_transaction(lambda: move(alias, pks, source, gate.pk), alias=alias)


def clear_lane(alias: str, gate: Gate) -> int:
    """Move a portion of an open gate's lane back, the oldest first; return how many. Afterwards it is cleared."""
    held = Run.objects.using(alias).filter(lane=gate.pk, next_try_at__gte=LONG_AGO).order_by("next_try_at")
    pks = list(held.values_list("pk", flat=True)[:PORTION])
    moved = retry_transaction(lambda: move(alias, pks, gate.pk, OPEN_LANE, every_status=True), alias=alias)
    if not moved:
        Gate.objects.using(alias).filter(pk=gate.pk, paused_at__isnull=True).update(is_cleared=True)
        controls.invalidate()
    return moved


def move(alias: str, pks: Sequence[int], source: int, target: int, *, every_status: bool = False) -> int:
    """Move runs from one lane to another, if they still are there and, by default, nobody's; return how many."""
    if not pks:
        return 0
    runs = Run.objects.using(alias).filter(pk__in=pks, lane=source)
    return (runs if every_status else runs.filter(status__in=HELD)).update(lane=target)


def _tell(alias: str) -> None:
    """Have this process read the gates anew: at once, and when others can see the change, too."""
    controls.invalidate()
    transaction.on_commit(controls.invalidate, using=alias, robust=True)


def _forget_at_other_settings(**kwargs: object) -> None:  # noqa: ARG001 - a signal receiver
    controls.invalidate()


setting_changed.connect(_forget_at_other_settings, dispatch_uid="nateq_webhooks.dispatch.gates")
