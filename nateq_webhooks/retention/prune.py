"""Removes what is older than `RETENTION` allows, in batches: whichever process ends, another one continues."""

import time
from datetime import datetime

from django.db import router
from django.db.models import Max
from django.utils import timezone

from nateq_webhooks import audit
from nateq_webhooks.conf import settings
from nateq_webhooks.conf.retention import Tier
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models import AuditEntry, Delivery
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.retention_progress import RetentionProgress
from nateq_webhooks.retention.call import Progress, PruneCall
from nateq_webhooks.retention.report import PruneReport
from nateq_webhooks.retention.walk import BATCH_SIZE, WALK_AGAIN, Walk


def prune(
    *,
    alias: str | None = None,
    now: datetime | None = None,
    dry_run: bool = False,
    seconds: float | None = None,
    pause: float = 1.0,
    progress: Progress | None = None,
) -> PruneReport:
    """Remove the contents and the deliveries that are older than `RETENTION` allows; return what was done.

    Identities of removed deliveries go after `REMOVED_KEPT_FOR`, and entries of the audit log after `AUDIT_RETENTION`.

    `seconds` is how long it may take; the next call continues. After each batch it pauses for `pause` times as long as
    the batch took, so that live traffic has its turn. Call it outside of a transaction. Raises `django.db.Error`; what
    was committed before stays.
    """
    alias = alias or router.db_for_write(Delivery)
    call = PruneCall(alias, now or timezone.now(), is_dry_run=dry_run, seconds=seconds, pause=pause, progress=progress)
    rules = settings().retention_rules
    walks = [Walk(call, rules, tier, age) for tier in (Tier.DELIVERY, Tier.PAYLOAD) for age in rules.ages(tier)]
    if walks:
        call.highest = Delivery.objects.using(alias).aggregate(highest=Max("pk"))["highest"] or 0
    for walk in walks:
        walk.run()
    _expire_identities(call)
    _prune_audit_log(call)
    if not dry_run:
        outdated = RetentionProgress.objects.using(alias).filter(updated_at__lt=call.now - 2 * WALK_AGAIN)
        retry_transaction(outdated.delete)
    return call.report


def _prune_audit_log(call: PruneCall) -> None:
    """Remove the entries that are older than `AUDIT_RETENTION`."""
    kept_for = settings().audit_retention
    if not kept_for:
        return
    before = call.now - kept_for
    if call.report.is_dry_run:
        call.report.audit_entries = AuditEntry.objects.using(call.alias).filter(at__lt=before).count()
        return
    while not call.is_over() and (removed := audit.prune(before, BATCH_SIZE, using=call.alias)):
        call.report.audit_entries += removed


def _expire_identities(call: PruneCall) -> None:
    """Delete the identities of removed deliveries whose time is over."""
    rows = RemovedDelivery.objects.using(call.alias)
    expired = rows.filter(expires_at__lte=call.now).order_by("expires_at").values_list("pk", flat=True)
    if call.report.is_dry_run:
        call.report.identities = expired.count()
        return
    while not call.is_over() and (pks := list(expired[:BATCH_SIZE])):
        started = time.monotonic()
        some = rows.filter(pk__in=pks)
        call.report.identities += retry_transaction(some.delete)[0]
        call.batch_done(started, call.highest)
