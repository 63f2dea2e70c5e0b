"""Removing contents and deliveries, in the caller's transaction, so that a repeat of the sender brings nothing back."""

import functools
import threading
import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connections, models, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.deletion import ProtectedError, RestrictedError

from nateq_webhooks.conf.retention import STATUSES
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.models import Attempt, Delivery, OtherContent, Reissue, Run, RunTry, Webhook
from nateq_webhooks.models.hold import OrderLock
from nateq_webhooks.models.hourly_count import HourlyCount
from nateq_webhooks.models.redaction import mask_stored_errors
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.models.webhook import STALE_SECONDS

OF_RUNS: Final[Sequence[tuple[type[models.Model], str]]] = (
    (RunTry, "run"),
    (OrderLock, "run"),
    (ReplayedRun, "run"),
)
"""The tables that refer to runs, and by which field."""

OF_DELIVERIES: Final[Sequence[tuple[type[models.Model], str]]] = (
    (Run, "delivery"),
    (Attempt, "delivery"),
    (OtherContent, "delivery"),
    (Reissue, "delivery"),
    (Reissue, "original"),
    (UnredactedBody, "delivery"),
)
"""The tables that refer to deliveries, and by which field."""

READ_AT_A_TIME: Final = 50
"""Deliveries that are read with their bodies at a time."""

KNOWN_SECONDS: Final = STALE_SECONDS + 0.5
"""After so long every process knows that deliveries of a webhook were removed."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What identifies a delivery, and its key."""

    pk: int
    webhook_id: uuid.UUID
    identity: str


def announce_removals(alias: str, webhooks: Collection[uuid.UUID]) -> None:
    """Make sure that every process looks each new delivery of these webhooks up among the removed ones.

    Call it before the first removal, outside of its transaction. Waits some seconds if a webhook is new to this,
    until no process uses a configuration of before.
    """
    rows = Webhook.objects.using(alias).filter(pk__in=webhooks, has_removed=False)
    if rows.exists() and retry_transaction(lambda: rows.update(has_removed=True)) and not is_private(alias):
        threading.Event().wait(KNOWN_SECONDS)


def finished(alias: str, pks: Collection[int]) -> QuerySet[Delivery]:
    """Return those of some deliveries with nothing left to do: no run that is unfinished or not yet finalized."""
    open_runs = Run.objects.filter(delivery_id=OuterRef("pk"), next_try_at__isnull=False)
    rows = Delivery.objects.using(alias).filter(pk__in=pks, status__in=STATUSES, dispatch_at__isnull=True)
    return rows.filter(~Exists(open_runs))


def lock_finished(alias: str, pks: Collection[int]) -> list[Identity]:
    """Lock deliveries inside the caller's transaction; return those with nothing left to do.

    Those that another transaction has locked are left out, where the database can skip them. A run that is added at
    the same time, by a replay, waits for the transaction.
    """
    rows = Delivery.objects.using(alias).filter(pk__in=pks)
    features = connections[alias].features
    if features.has_select_for_update:
        rows = rows.select_for_update(skip_locked=features.has_select_for_update_skip_locked)
    else:
        # SQLite: any write takes the one lock there is.
        Delivery.objects.using(alias).filter(pk__in=list(pks)[:1]).update(status=models.F("status"))
    locked = list(rows.order_by("pk").values_list("pk", flat=True))
    # Asked under the lock: an answer from before it may be outdated.
    ready = finished(alias, locked).order_by("pk")
    return [Identity(*row) for row in ready.values_list("pk", "webhook_id", "identity")]


def remove_contents(alias: str, pks: Collection[int], now: datetime) -> None:
    """Remove body, payload and headers of locked deliveries, and the bytes of their other contents.

    What errors of runs quote at the paths of `REDACT` is masked for good. One that was blanked by an erasure stays
    marked as erased, with the time of the erasure.
    """
    for start in range(0, len(pks), READ_AT_A_TIME):
        mask_stored_errors(alias, list(pks)[start : start + READ_AT_A_TIME])
    rows = Delivery.objects.using(alias).filter(pk__in=pks)
    empty: dict[str, Any] = {"body": b"", "payload": None, "headers": {}}
    not_erased = Q(content_change=None) | ~Q(content_change=Delivery.ContentChange.ERASURE)
    rows.filter(~not_erased).update(**empty)
    rows.filter(not_erased).update(**empty, content_change=Delivery.ContentChange.RETENTION, content_changed_at=now)
    OtherContent.objects.using(alias).filter(delivery_id__in=pks).update(body=b"")
    _delete(alias, UnredactedBody, "delivery", pks)
    release_order(alias, pks)


def release_order(alias: str, pks: Collection[int]) -> frozenset[str]:
    """Let nothing wait any longer for the runs that were given up of deliveries without content (`ORDER_ON_DEAD`).

    What ends the waiting is a replay, and they can't be replayed any more. Return the keys of the queues, whose next
    run is promoted after the commit; maintenance does it otherwise.
    """
    rows = OrderLock.objects.using(alias).filter(run__delivery__in=pks, run__status=Run.Status.DEAD)
    locks = list(rows.values_list("pk", "key"))
    if locks:
        _delete(alias, OrderLock, "pk", [pk for pk, _key in locks])
    return frozenset(key for _pk, key in locks)


def remove_deliveries(
    alias: str, deliveries: Sequence[Identity], reason: RemovedDelivery.Reason, expires_at: datetime | None
) -> list[int]:
    """Delete locked deliveries with everything that belongs to them, and keep their identities until `expires_at`.

    Return the keys of those that were deleted: others are protected by rows of the project. Sends no signals of
    single rows, unless a model of the project refers to deliveries: then Django deletes, by its rules (`on_delete`).
    """
    if not deliveries:
        return []
    deleted = _delete_by_django(alias, deliveries) if is_referenced_by_project() else _delete_all(alias, deliveries)
    _remember(alias, deleted, reason, expires_at)
    pks = [one.pk for one in deleted]
    if pks:
        HourlyCount.objects.using(alias).forget(pks)
    return pks


def remember_contents(alias: str, contents: Iterable[tuple[uuid.UUID, str]]) -> None:
    """Remember contents that were erased, by webhook and hash: they are not stored under another delivery id either."""
    _remember(alias, [Identity(0, *one) for one in sorted(set(contents))], RemovedDelivery.Reason.ERASURE, None)


@functools.cache
def is_referenced_by_project() -> bool:
    """Return whether a model outside of this package refers to a table that is deleted from."""
    tables: set[type[models.Model]] = {Delivery, *(model for model, _field in (*OF_DELIVERIES, *OF_RUNS))}
    return bool({model for table in tables for model in referring(table)} - tables)


def referring(model: type[models.Model]) -> set[type[models.Model]]:
    """Return the models with a foreign key to a model."""
    fields: Iterable[Any] = model._meta.get_fields(include_hidden=True)
    return {field.related_model for field in fields if field.one_to_many or (field.one_to_one and field.auto_created)}


def _delete_all(alias: str, deliveries: Sequence[Identity]) -> Sequence[Identity]:
    pks = [one.pk for one in deliveries]
    runs = list(Run.objects.using(alias).filter(delivery_id__in=pks).order_by().values_list("pk", flat=True))
    for model, field in OF_RUNS:
        if runs:
            _delete(alias, model, field, runs)
    for model, field in OF_DELIVERIES:
        _delete(alias, model, field, pks)
    _delete(alias, Delivery, "pk", pks)
    return deliveries


def _delete_by_django(alias: str, deliveries: Sequence[Identity]) -> Sequence[Identity]:
    """Delete with Django's cascade, which reads whole rows; one by one if some of them are protected."""
    deleted: list[Identity] = []
    for start in range(0, len(deliveries), READ_AT_A_TIME):
        some = deliveries[start : start + READ_AT_A_TIME]
        if _deletes(alias, some):
            deleted += some
        else:
            deleted += [one for one in some if _deletes(alias, [one])]
    return deleted


def _deletes(alias: str, deliveries: Sequence[Identity]) -> bool:
    """Delete deliveries; return False, with none deleted, if one of them is protected."""
    try:
        with transaction.atomic(using=alias):
            Delivery.objects.using(alias).filter(pk__in=[one.pk for one in deliveries]).delete()
    except (ProtectedError, RestrictedError):
        return False
    return True


def _delete(alias: str, model: type[models.Model], field: str, keys: Collection[int]) -> None:
    """Delete rows in one statement: what refers to them is deleted before them."""
    rows: Any = model._meta.base_manager.using(alias).filter(**{f"{field}__in": keys})
    rows._raw_delete(alias)  # noqa: SLF001 - delete() would read every row first


def _remember(
    alias: str, deliveries: Sequence[Identity], reason: RemovedDelivery.Reason, expires_at: datetime | None
) -> None:
    """Keep the identities. One that was erased stays remembered without an end."""
    if not deliveries:
        return
    rows = RemovedDelivery.objects.using(alias)
    there = rows.filter(
        webhook_id__in={one.webhook_id for one in deliveries}, identity__in=[one.identity for one in deliveries]
    )
    known = {(webhook, identity) for webhook, identity in there.values_list("webhook_id", "identity")}
    if known:
        outdated = there.exclude(reason=RemovedDelivery.Reason.ERASURE)
        outdated.update(reason=reason, expires_at=expires_at)
    rows.bulk_create(
        RemovedDelivery(webhook_id=one.webhook_id, identity=one.identity, reason=reason, expires_at=expires_at)
        for one in deliveries
        if (one.webhook_id, one.identity) not in known
    )
