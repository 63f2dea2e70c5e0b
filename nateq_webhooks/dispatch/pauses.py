"""Pausing and resuming: everything, one webhook's deliveries, or one receiver. Deliveries are stored all the while."""

import logging
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import router, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from nateq_webhooks import audit
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.holds import HoldState, get_hold, hold_cache, read_holds
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import EVERYTHING, Hold, receiver_scope, scope_parts, webhook_scope
from nateq_webhooks.models.run import NOT_HELD
from nateq_webhooks.receivers import registry

logger: Final = logging.getLogger("nateq_webhooks")

BATCH_SIZE: Final = 1000
"""Runs that are moved to or from a hold in one statement."""

BATCHES_AT_ONCE: Final = 10
"""Batches of runs that are moved before `pause` or `resume` returns; workers and the commands move the rest."""


def pause(
    *, webhook: Webhook | uuid.UUID | str | None = None, receiver: str | None = None, reason: str = "", by: str = ""
) -> list[Hold]:
    """Start no more runs: of everything, of one webhook (or its key or name) or of one receiver. Runs at work finish.

    It is in force in every process within a second, outlives restarts, and is shown with `reason` and `by`. With both a
    webhook and a receiver, both are paused. Returns the holds. Pausing what is paused changes `reason` and `by`, but
    without a reason it changes nothing. Raises `LookupError` if no webhook has that name. A receiver need not be
    connected, but then a warning is logged: its name may be mistyped.
    """
    if receiver is not None and registry.get(receiver) is None:
        logger.warning(
            'The receiver "%s" is paused, but this process has no receiver of that name. Is the name right?',
            receiver,
        )
    alias = router.db_for_write(Hold)
    paused_holds = []
    for scope in _scopes(webhook, receiver):
        with transaction.atomic(using=alias):
            hold = pause_hold(alias, scope, reason=reason, by=by)
            audit.record(audit.Action.PAUSED, actor=by, **_about(alias, hold), using=alias)
        gather(alias, hold, read_holds(alias))
        paused_holds.append(hold)
    return paused_holds


def resume(*, webhook: Webhook | uuid.UUID | str | None = None, receiver: str | None = None) -> list[Hold]:
    """Start runs again, in the order their deliveries came. Returns the holds that existed.

    With a receiver, also resumes what the circuit breaker has paused of it, for any webhook.
    """
    alias = router.db_for_write(Hold)
    scopes = _scopes(webhook, receiver)
    if receiver is not None:
        broken = Hold.objects.using(alias).filter(scope__startswith=webhook_scope(""), is_automatic=True)
        scopes += [hold.scope for hold in broken if scope_parts(hold.scope)[1] == receiver]
    return [hold for scope in scopes if (hold := resume_scope(alias, scope)) is not None]


def resume_scope(alias: str, scope: str) -> Hold | None:
    """Resume one hold and move its runs back, the oldest first; None if there is none. Workers move the rest."""
    with transaction.atomic(using=alias):
        is_paused = Hold.objects.using(alias).filter(scope=scope, paused_at__isnull=False).exists()
        hold = resume_hold(alias, scope)
        if hold is None:
            return None
        if is_paused:
            audit.record(audit.Action.RESUMED, **_about(alias, hold), using=alias)
    for _ in range(BATCHES_AT_ONCE):
        if is_rate_limited(alias, hold) or not move_from_hold(alias, hold):
            break
    gather_all(alias)
    return hold


def gather_all(alias: str) -> None:
    """Move runs to the paused holds: after the end of one pause, those that another one holds back, too."""
    state = read_holds(alias)
    for hold in state.paused:
        gather(alias, hold, state)


def gather(alias: str, hold: Hold, state: HoldState) -> None:
    """Move the runs that a paused hold holds back to it: from the queue, and from rate limits. Claims move the rest.

    The pause of everything has no runs of its own: it is asked before any claim.
    """
    if hold.scope == EVERYTHING:
        return
    others = state.holds.values()
    sources = [NOT_HELD, *(other.pk for other in others if not other.is_paused and other.pk != hold.pk)]
    for source in sources:
        for _ in range(BATCHES_AT_ONCE):
            if move_to_hold(alias, hold, source) < BATCH_SIZE:
                break


def is_rate_limited(alias: str, hold: Hold) -> bool:
    """Return whether the hold is a rate limit's, whose runs start from it and must stay."""
    return any(hold.pk == limited.pk for limited, _rate in hold_cache.get(alias).rate_limited())


def paused(alias: str | None = None) -> list[Hold]:
    """Return the holds that are paused, that of everything first.

    By default from the database that is written to: a replica may not have what was paused or resumed just now.
    """
    return list(
        Hold.objects.using(alias or router.db_for_write(Hold)).filter(paused_at__isnull=False).order_by("scope")
    )


def webhook_names(rows: QuerySet[Webhook], holds: Iterable[Hold]) -> dict[str, str]:
    """Return the names of those of the webhooks that holds are about, by key as text; queries only if there are any."""
    keys = {webhook for hold in holds if (webhook := scope_parts(hold.scope)[0])}
    found = rows.filter(pk__in=keys).order_by().values_list("pk", "name") if keys else ()
    return {str(key): name for key, name in found}


def _about(alias: str, hold: Hold) -> dict[str, Any]:
    """Return what a hold is about, as the audit log's entry names it: in words, and by the webhook's id."""
    webhook, _receiver = scope_parts(hold.scope)
    target = named_scopes(alias, [hold])[hold.pk]
    return {"target": target, "webhook_id": uuid.UUID(webhook) if webhook else None}


def named_scopes(alias: str, holds: Sequence[Hold]) -> dict[int, str]:
    """Return what each hold is about, by its key, with the webhook's name instead of its key: "webhook:shop"."""
    names = webhook_names(Webhook.objects.using(alias), holds)
    found = {}
    for hold in holds:
        webhook, receiver = scope_parts(hold.scope)
        scope = f"webhook:{names[webhook]}" if webhook in names else str(hold)
        found[hold.pk] = f"{scope}/receiver:{receiver}" if webhook in names and receiver else scope
    return found


def pause_hold(alias: str, scope: str, *, reason: str = "", by: str = "", probe_at: datetime | None = None) -> Hold:
    """Pause a hold; return it. `move_to_hold` then takes its runs out of the way of others.

    With `probe_at` the circuit breaker pauses it, which changes nothing that a person has paused. Pausing a paused one
    changes who did it and why; without a reason it changes nothing that a person has paused.
    """
    hold = get_hold(alias, scope)
    by_a_person = Hold.objects.using(alias).filter(pk=hold.pk, paused_at__isnull=False, is_automatic=False)
    if probe_at is None and not reason and by_a_person.update(is_empty=False):
        hold.refresh_from_db(using=alias)
        return hold
    now = timezone.now()
    changes = {
        "paused_at": hold.paused_at or now,
        "paused_by": by[:150],
        "reason": reason[:500],
        "is_automatic": probe_at is not None,
        "probe_at": probe_at,
        "is_empty": False,
    }
    row = Hold.objects.using(alias).filter(pk=hold.pk)
    if probe_at is not None:
        row = row.filter(Q(paused_at__isnull=True) | Q(is_automatic=True))
    row.update(**changes)
    _invalidate_cache(alias)
    hold.refresh_from_db(using=alias)
    return hold


def resume_hold(alias: str, scope: str, *, only_automatic: bool = False) -> Hold | None:
    """Resume a hold; None if there is none. `move_from_hold` moves its runs back, here or in the workers.

    With `only_automatic` a hold that a person has paused stays paused.
    """
    holds = Hold.objects.using(alias).filter(scope=scope)
    hold = (holds.filter(is_automatic=True) if only_automatic else holds).first()
    if hold is None:
        return None
    changes = {"paused_at": None, "paused_by": "", "reason": "", "is_automatic": False, "probe_at": None, "failures": 0}
    row = holds.filter(pk=hold.pk)
    (row.filter(is_automatic=True) if only_automatic else row).update(**changes)
    _invalidate_cache(alias)
    hold.refresh_from_db(using=alias)
    return hold


def move_to_hold(alias: str, hold: Hold, source: int = NOT_HELD) -> int:
    """Move a batch of the runs that a hold holds back from `source` to it, the oldest first; return how many."""
    runs = Run.objects.using(alias).not_finalized(source).pending()
    webhook, receiver = scope_parts(hold.scope)
    if webhook:
        runs = runs.filter(delivery__webhook_id=webhook)
    if receiver:
        runs = runs.filter(receiver=receiver)
    pks = list(runs.order_by("next_try_at").values_list("pk", flat=True)[:BATCH_SIZE])
    return retry_transaction(lambda: move_runs(alias, pks, source, hold.pk), alias=alias)


def move_from_hold(alias: str, hold: Hold) -> int:
    """Move a batch of the runs of a resumed hold back, the oldest first; return how many. 0: it has none left."""
    runs = Run.objects.using(alias).not_finalized(hold.pk).order_by("next_try_at")
    pks = list(runs.values_list("pk", flat=True)[:BATCH_SIZE])
    moved = retry_transaction(lambda: move_runs(alias, pks, hold.pk, NOT_HELD, every_status=True), alias=alias)
    if not moved:
        Hold.objects.using(alias).filter(pk=hold.pk, paused_at__isnull=True).update(is_empty=True)
        hold_cache.invalidate()
    return moved


def move_runs(alias: str, pks: Sequence[int], source: int, target: int, *, every_status: bool = False) -> int:
    """Move runs from one hold to another if they are still in the first and, by default, pending; return how many."""
    if not pks:
        return 0
    runs = Run.objects.using(alias).filter(pk__in=pks, held_by=source)
    return (runs if every_status else runs.pending()).update(held_by=target)


def _invalidate_cache(alias: str) -> None:
    """Have this process read the holds again: at once, and when others can see the change, too."""
    hold_cache.invalidate()
    transaction.on_commit(hold_cache.invalidate, using=alias, robust=True)


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
