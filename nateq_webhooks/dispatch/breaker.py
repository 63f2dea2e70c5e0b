"""The circuit breaker: a receiver that fails again and again is paused by itself, and tried again with a probe.

It counts, pauses and probes per webhook and receiver: deliveries of one webhook that a receiver can't handle don't
pause the others'. A receiver that is down for all is paused webhook by webhook, each after its own failures.

Off unless `BREAKER_AFTER` says otherwise. Its backlog keeps its tries meanwhile: only the probes use one up.
"""

import logging
from typing import Final

from django.db.models import F
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import gates
from nateq_webhooks.models import Gate, Run
from nateq_webhooks.models.gate import breaker_scope, receiver_scope

logger: Final = logging.getLogger("nateq_webhooks")


def failed(alias: str, run: Run) -> None:
    """Count a failure of a receiver for the run's webhook; pause it there when there were too many in a row."""
    after = settings().breaker_after
    if not after:
        return
    gate = gates.gate_of(alias, breaker_scope(run.delivery.webhook_id, run.receiver))
    mine = Gate.objects.using(alias).filter(pk=gate.pk)
    mine.update(failures=F("failures") + 1)
    gates.controls.invalidate()
    count = mine.values_list("failures", flat=True).get()
    if count < after or (gate.paused_at is not None and not gate.is_automatic):
        return
    if gate.paused_at is None:
        logger.error(
            "Receiver %s failed %s times in a row for webhook %s and is paused there; a probe is tried every %s.",
            run.receiver,
            count,
            run.delivery.webhook_id,
            settings().breaker_pause,
        )
    gates.close(
        alias,
        gate.scope,
        reason=f"It failed {count} times in a row.",
        probe_at=timezone.now() + settings().breaker_pause,
    )


def succeeded(alias: str, run: Run) -> None:
    """Forget the failures of a receiver that works for the run's webhook; open its gate if the breaker closed it."""
    if not settings().breaker_after:
        return
    known = gates.controls.get(alias).gates
    # The receiver's own gate: closed by a process of an earlier version, during a deployment.
    for scope in (breaker_scope(run.delivery.webhook_id, run.receiver), receiver_scope(run.receiver)):
        gate = known.get(scope)
        if gate is not None and gate.failures:
            _forget_failures(alias, gate, run)


def _forget_failures(alias: str, gate: Gate, run: Run) -> None:
    if gate.paused_at is not None and gate.is_automatic:
        logger.info("Receiver %s works again and is no longer paused.", run.receiver)
        gates.open_(alias, gate.scope, only_automatic=True)
    elif gate.paused_at is None:
        Gate.objects.using(alias).filter(pk=gate.pk).update(failures=0)
        gates.controls.invalidate()


def take_probe(alias: str, gate: Gate) -> bool:
    """Let one run through a gate that the breaker closed; say whether it is this process that may."""
    mine = Gate.objects.using(alias).filter(pk=gate.pk, probe_at=gate.probe_at, paused_at__isnull=False)
    return bool(mine.update(probe_at=timezone.now() + settings().breaker_pause))
