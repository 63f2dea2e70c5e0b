"""What lets a receiver's runs start one at a time: rate limits, and the probes of the circuit breaker.

Rate limits are for all processes together. `Hold.next_slot_at` says when the next run may start; the process that
advances it owns that slot. Slots that nobody used are lost, so that a fragile service is not flooded later. Up to half
the time between two slots is made up for, so that a process that comes a little late does not lower the rate; that
never adds a whole slot.

The circuit breaker pauses a receiver that fails again and again, and tries it again with a probe. It is off unless
`BREAKER_AFTER` is set. It counts, pauses and probes per webhook and receiver: a receiver that can't handle the
deliveries of one webhook goes on with those of the others. The runs that it holds keep their tries; a probe uses one.
"""

import logging
from datetime import datetime, timedelta
from typing import Final

from django.db.models import F
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import pauses
from nateq_webhooks.dispatch.first_due import runs_from_first_due
from nateq_webhooks.dispatch.holds import get_hold, hold_cache
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import Hold, breaker_scope, receiver_scope

logger: Final = logging.getLogger("nateq_webhooks")

MAX_LATENESS: Final = timedelta(seconds=0.1)
"""How late a slot may be taken without moving the next ones."""


def is_free(hold: Hold, now: datetime) -> bool:
    """Return whether a run may start now, as far as this process knows."""
    return hold.next_slot_at is None or hold.next_slot_at <= now


def take_slot(alias: str, hold: Hold, rate: float) -> bool:
    """Take the slot that is free now; return whether it is ours. Whoever loses a race for it does not wait."""
    now = timezone.now()
    if not is_free(hold, now):
        return False
    step = timedelta(seconds=1 / rate)
    slot = max(hold.next_slot_at or now, now - min(step / 2, MAX_LATENESS))
    row = Hold.objects.using(alias).filter(pk=hold.pk, next_slot_at=hold.next_slot_at, paused_at__isnull=True)
    return bool(row.update(next_slot_at=slot + step))


def next_slot_at(alias: str, *, untried_since: datetime | None = None) -> datetime | None:
    """Return when the next run of a rate-limited receiver may start; None if none waits for that.

    With `untried_since`: only of runs that nobody has started since then.
    """
    state = hold_cache.get(alias)
    if state.is_paused:
        return None
    now = timezone.now()

    def is_waited_for(hold: Hold) -> bool:
        return runs_from_first_due(alias, now, held_by=hold.pk, untried_since=untried_since) is not None

    return min((hold.next_slot_at or now for hold, _rate in state.rate_limited() if is_waited_for(hold)), default=None)


def count_failure(alias: str, run: Run) -> None:
    """Count a failure of a receiver for the run's webhook; pause it there after too many in a row."""
    after = settings().breaker_after
    if not after:
        return
    hold = get_hold(alias, breaker_scope(run.delivery.webhook_id, run.receiver))
    row = Hold.objects.using(alias).filter(pk=hold.pk)
    row.update(failures=F("failures") + 1)
    hold_cache.invalidate()
    count = row.values_list("failures", flat=True).get()
    if count < after or (hold.paused_at is not None and not hold.is_automatic):
        return
    if hold.paused_at is None:
        logger.error(
            "Receiver %s failed %s times in a row for webhook %s and is paused there. One run is tried every %s until "
            "one succeeds.",
            run.receiver,
            count,
            run.delivery.webhook_id,
            settings().breaker_pause,
        )
    paused = pauses.pause_hold(
        alias,
        hold.scope,
        reason=f"It failed {count} times in a row.",
        probe_at=timezone.now() + settings().breaker_pause,
    )
    if hold.paused_at is None:
        pauses.move_to_hold(alias, paused)  # claims move the rest, where a process makes any


def count_success(alias: str, run: Run) -> None:
    """Reset the failures of a receiver that works for the run's webhook; resume it if the breaker paused it."""
    if not settings().breaker_after:
        return
    known = hold_cache.get(alias).holds
    # The receiver's own hold: paused by a process of an earlier version, during a deployment.
    for scope in (breaker_scope(run.delivery.webhook_id, run.receiver), receiver_scope(run.receiver)):
        hold = known.get(scope)
        if hold is not None and hold.failures:
            _reset_failures(alias, hold, run)


def _reset_failures(alias: str, hold: Hold, run: Run) -> None:
    if hold.paused_at is not None and hold.is_automatic:
        logger.info("Receiver %s works again: its pause for webhook %s is over.", run.receiver, run.delivery.webhook_id)
        pauses.resume_hold(alias, hold.scope, only_automatic=True)
    elif hold.paused_at is None:
        Hold.objects.using(alias).filter(pk=hold.pk).update(failures=0)
        hold_cache.invalidate()


def take_probe(alias: str, hold: Hold) -> bool:
    """Take the probe of a hold that the breaker paused; return whether this process may start it."""
    row = Hold.objects.using(alias).filter(pk=hold.pk, probe_at=hold.probe_at, paused_at__isnull=False)
    return bool(row.update(probe_at=timezone.now() + settings().breaker_pause))
