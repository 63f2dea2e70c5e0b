"""Pausing and resuming: everything, one webhook's deliveries, or one receiver. Deliveries are stored all the while."""

import uuid
from typing import Final

from django.db import router

from nateq_webhooks.dispatch import gates
from nateq_webhooks.models import Gate, Webhook
from nateq_webhooks.models.gate import EVERYTHING, receiver_scope, scope_parts, webhook_scope

PORTIONS_AT_ONCE: Final = 10
"""Portions of runs that are moved before the call returns; workers, and `nateq_resume`, move the rest."""


def pause(
    *, webhook: Webhook | uuid.UUID | str | None = None, receiver: str | None = None, reason: str = "", by: str = ""
) -> list[Gate]:
    """Start no more runs: of everything, of one webhook (or its key or name) or of one receiver. Runs at work finish.

    It is in force in every process within a second, outlives restarts, and is shown with `reason` and `by`. With both a
    webhook and a receiver, both are paused. Returns the gates. Pausing what is paused changes the reason. Raises
    `LookupError` when no webhook has that name.
    """
    alias = router.db_for_write(Gate)
    closed = []
    for scope in _scopes(webhook, receiver):
        gate = gates.close(alias, scope, reason=reason, by=by)
        for _ in range(PORTIONS_AT_ONCE):
            if scope == EVERYTHING or gates.fill_lane(alias, gate) < gates.PORTION:
                break
        closed.append(gate)
    return closed


def resume(*, webhook: Webhook | uuid.UUID | str | None = None, receiver: str | None = None) -> list[Gate]:
    """Start runs again, in the order their deliveries came. Returns the gates that there are of what was named.

    With a receiver, also what the circuit breaker paused of it, for whichever webhook.
    """
    alias = router.db_for_write(Gate)
    scopes = _scopes(webhook, receiver)
    if receiver is not None:
        broken = Gate.objects.using(alias).filter(scope__startswith=webhook_scope(""), is_automatic=True)
        scopes += [gate.scope for gate in broken if scope_parts(gate.scope)[1] == receiver]
    opened = [gate for scope in scopes if (gate := gates.open_(alias, scope)) is not None]
    for gate in opened:
        for _ in range(PORTIONS_AT_ONCE):
            if is_limited(alias, gate) or not gates.clear_lane(alias, gate):
                break
    return opened


def is_limited(alias: str, gate: Gate) -> bool:
    """Whether a rate limit takes from the gate's lane, so that it must not be cleared."""
    return any(gate.pk == limited.pk for limited, _rate in gates.controls.get(alias).limited())


def paused(alias: str | None = None) -> list[Gate]:
    """Return the gates that are closed, the one before everything first.

    Read where they are written, by default: who has just paused or resumed must see it, and a replica may not yet.
    """
    return list(
        Gate.objects.using(alias or router.db_for_write(Gate)).filter(paused_at__isnull=False).order_by("scope")
    )


def _webhook_id(webhook: Webhook | uuid.UUID | str) -> uuid.UUID:
    if isinstance(webhook, Webhook):
        return webhook.pk
    try:
        return webhook if isinstance(webhook, uuid.UUID) else uuid.UUID(webhook)
    except ValueError:
        named = Webhook.objects.using(router.db_for_write(Webhook)).filter(name=webhook).first()
    if named is None:
        raise LookupError(f'There is no webhook called "{webhook}".')
    return named.pk


def _scopes(webhook: Webhook | uuid.UUID | str | None, receiver: str | None) -> list[str]:
    scopes = []
    if webhook is not None:
        scopes.append(webhook_scope(_webhook_id(webhook)))
    if receiver is not None:
        scopes.append(receiver_scope(receiver))
    return scopes or [EVERYTHING]
