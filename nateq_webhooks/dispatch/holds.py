"""What holds runs back: pauses, rate limits and the circuit breaker; `HoldState` is asked before any run starts.

A held run has the key of its hold in `held_by`, so that it is not in the part of the index that the claim reads. That
is written when the run is created, when the hold is paused, or by a claim: for a run that was created during the pause.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.core.signals import setting_changed
from django.db.models import Q

from nateq_webhooks import tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.database.cached_rows import CachedRows
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import EVERYTHING, Hold, breaker_scope, receiver_scope, scope_parts, webhook_scope
from nateq_webhooks.models.run import HELD_BY_ORDER, NOT_HELD, PARKED_UNTIL

REFRESH_SECONDS: Final = 0.5
"""How long it is cached that nothing is held back: a pause is in force in every process within a second."""


@dataclass(frozen=True, slots=True)
class HoldState:
    """The holds, by scope, and the rate limits of the settings (runs a second, by receiver)."""

    holds: Mapping[str, Hold]
    rates: Mapping[str, float]

    @property
    def is_paused(self) -> bool:
        """Whether everything is paused."""
        return self._is_paused(EVERYTHING)

    @property
    def is_idle(self) -> bool:
        """Whether no run is, or may have to be, held back."""
        return not self.rates and not any(hold.is_paused or not hold.is_empty for hold in self.holds.values())

    @property
    def paused(self) -> list[Hold]:
        """The holds that are paused."""
        return [hold for hold in self.holds.values() if hold.is_paused]

    @property
    def depends_on_webhook(self) -> bool:
        """Whether `held_by` needs to know the webhook of a run's delivery."""
        return any(hold.scope.startswith("webhook:") for hold in self.paused)

    def held_by(self, webhook_id: uuid.UUID | None, receiver: str) -> int:
        """Return what `Run.held_by` should be now, apart from the order of deliveries."""
        scopes = [receiver_scope(receiver)]
        if webhook_id is not None:
            scopes = [webhook_scope(webhook_id), *scopes, breaker_scope(webhook_id, receiver)]
        for scope in scopes:
            if self._is_paused(scope):
                return int(self.holds[scope].pk)
        return int(self.holds[receiver_scope(receiver)].pk) if receiver in self.rates else NOT_HELD

    def forbids_start(self, webhook_id: uuid.UUID, run: Run) -> bool:
        """Return whether a claimed run must not start, because it was paused since the claim.

        A run that was claimed from a paused hold is a probe of the circuit breaker and may start.
        """
        if self.is_idle:
            return False
        hold_pk = self.held_by(webhook_id, run.receiver)
        return self.is_paused or (hold_pk != run.held_by and any(hold.pk == hold_pk for hold in self.paused))

    def rate_limited(self) -> list[tuple[Hold, float]]:
        """Return the holds of rate limits that are not paused, with their rates (runs a second)."""
        found = ((self.holds.get(receiver_scope(name)), rate) for name, rate in self.rates.items())
        return [(hold, rate) for hold, rate in found if hold is not None and not hold.is_paused]

    def probes_due(self, now: datetime) -> list[Hold]:
        """Return the holds that the circuit breaker has paused and that should let one run start now."""
        return [
            hold for hold in self.paused if hold.is_automatic and hold.probe_at is not None and hold.probe_at <= now
        ]

    def to_empty(self) -> list[Hold]:
        """Return the holds that hold nothing back any more, but may still have runs."""
        limited = {hold.pk for hold, _rate in self.rate_limited()}
        return [
            hold for hold in self.holds.values() if not hold.is_paused and not hold.is_empty and hold.pk not in limited
        ]

    @property
    def all_pks(self) -> list[int]:
        """`held_by` of the runs that may be parked: all but those that wait for an earlier delivery."""
        return [NOT_HELD, *(hold.pk for hold in self.holds.values())]

    @property
    def paused_pks(self) -> set[int]:
        """`held_by` of the runs that wait for a `resume`, or for an earlier delivery's run."""
        if self.is_paused:
            return {*self.all_pks, HELD_BY_ORDER}
        return {HELD_BY_ORDER, *(hold.pk for hold in self.paused)}

    @property
    def used_pks(self) -> list[int]:
        """`held_by` of the runs that may wait for their next try: apart from `NOT_HELD`, pauses and rate limits."""
        limited = {receiver_scope(name) for name in self.rates}
        used = (hold for hold in self.holds.values() if hold.is_paused or not hold.is_empty or hold.scope in limited)
        return [NOT_HELD, *(hold.pk for hold in used)]

    def open_since(self, moment: datetime) -> dict[int, datetime | None]:
        """Return `held_by` of the runs that could have started at this moment or earlier.

        The values are when the next slot of a rate limit became free; None where there is no rate limit.
        """
        if self.is_paused:
            return {}
        limited = {receiver_scope(name) for name in self.rates}
        found: dict[int, datetime | None] = {NOT_HELD: None}
        for hold in self.holds.values():
            slot = hold.next_slot_at if hold.scope in limited else None
            if not hold.is_paused and (slot is None or slot <= moment):
                found[hold.pk] = slot
        return found

    def _is_paused(self, scope: str) -> bool:
        hold = self.holds.get(scope)
        return hold is not None and hold.is_paused


class HoldCache:
    """The process's copy of each tenant's holds. Only that nothing is held back is cached; all else is read."""

    def __init__(self) -> None:
        self._by_tenant: dict[tuple[str, str], CachedRows[HoldState]] = {}

    def get(self, alias: str) -> HoldState:
        """Return what holds runs back now."""
        known = self._rows(alias).fresh(REFRESH_SECONDS)
        return known if known is not None and known.is_idle else self._read(alias)

    def recent(self, alias: str) -> HoldState:
        """Return what held runs back a moment ago, whatever it was: enough to ask before each run."""
        return self._rows(alias).fresh(REFRESH_SECONDS) or self._read(alias)

    def invalidate(self) -> None:
        """Read the holds again before they are next used."""
        for rows in tuple(self._by_tenant.values()):
            rows.invalidate()

    def _read(self, alias: str) -> HoldState:
        return self._rows(alias).read(alias, lambda: _with_rate_limits(alias, read_holds(alias)))

    def _rows(self, alias: str) -> CachedRows[HoldState]:
        key = (alias, tenants.current(alias))
        return self._by_tenant.get(key) or self._by_tenant.setdefault(key, CachedRows())


hold_cache: Final = HoldCache()
"""The process's copy."""


def read_holds(alias: str) -> HoldState:
    """Return the holds as they are now. Only reads, so `alias` may be a replica."""
    return HoldState(holds={hold.scope: hold for hold in Hold.objects.using(alias)}, rates=settings().rate_limits)


def _with_rate_limits(alias: str, state: HoldState) -> HoldState:
    """Return the state with a hold for each rate limit; creates those that are missing."""
    missing = [scope for name in state.rates if (scope := receiver_scope(name)) not in state.holds]
    if not missing:
        return state
    return HoldState(holds={**state.holds, **{scope: get_hold(alias, scope) for scope in missing}}, rates=state.rates)


def get_hold(alias: str, scope: str) -> Hold:
    """Return the hold of this scope, created if there is none."""
    return Hold.objects.using(alias).get_or_create(scope=scope)[0]


def _on_setting_changed(**kwargs: object) -> None:  # noqa: ARG001 - a signal receiver
    hold_cache.invalidate()


setting_changed.connect(_on_setting_changed, dispatch_uid="nateq_webhooks.dispatch.holds")


def paused_condition(state: HoldState, prefix: str = "") -> Q:
    """Return the condition that a pause holds a run back, as `hold_of` says; `prefix` leads to the run, as "run__".

    The pause of everything holds back all pending runs, and does not write that into them; neither is any pause written
    into a run that waits for an earlier delivery. A parked run waits for its receiver, whatever is paused.
    """
    pending = _pending(prefix)
    if state.is_paused:
        return pending
    is_paused = Q(**{f"{prefix}held_by__in": [hold.pk for hold in state.paused]})
    for hold in state.paused:
        is_paused |= of_scope(hold, prefix)
    return pending & is_paused


def of_scope(hold: Hold, prefix: str = "") -> Q:
    """Return the condition that a run is one that a hold is about; `prefix` leads to the run, as "run__"."""
    webhook, receiver = scope_parts(hold.scope)
    of_webhook = Q(**{f"{prefix}delivery__webhook": webhook}) if webhook else Q()
    return of_webhook & Q(**{f"{prefix}receiver": receiver}) if receiver else of_webhook


def limited_condition(state: HoldState, prefix: str = "") -> Q:
    """Return the condition that a rate limit holds a run back; a pause may do so, too."""
    limited = [hold.pk for hold, _rate in state.rate_limited()]
    return _pending(prefix) & Q(**{f"{prefix}held_by__in": limited})


def held_condition(alias: str, prefix: str = "") -> Q:
    """Return the condition that a pause or a rate limit holds a run back; `prefix` leads to the run, as "run__"."""
    state = read_holds(alias)
    return paused_condition(state, prefix) | limited_condition(state, prefix)


def parked_condition(prefix: str = "") -> Q:
    """Return the condition that a run waits for a receiver that no process knows."""
    return Q(**{f"{prefix}status__in": Run.PENDING, f"{prefix}next_try_at__gte": PARKED_UNTIL})


def _pending(prefix: str) -> Q:
    return Q(**{f"{prefix}status__in": Run.PENDING, f"{prefix}next_try_at__lt": PARKED_UNTIL})
