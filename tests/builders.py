"""Rows for tests and benchmarks: deliveries, their runs, and rejections, as the package itself would have stored them.

`build_...` returns a row that is not stored yet. Each function takes any column by its name.
"""

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from django.utils import timezone

from nateq_webhooks.models import Delivery, Rejection, Run, Webhook
from nateq_webhooks.protocol.envelope import identity_of_id

_UNFINISHED: Final = (Run.Status.WAITING, Run.Status.RUNNING, Run.Status.FAILED)

_numbers: Final = itertools.count(1)


def ago(**span: float) -> datetime:
    """Return the time so long ago: `ago(minutes=5)`."""
    return timezone.now() - timedelta(**span)


def build_delivery(
    webhook: Webhook, received_at: datetime | None = None, status: str = Delivery.Status.PROCESSED, **over: Any
) -> Delivery:
    """Build a delivery with an id of its own."""
    delivery_id = over.pop("delivery_id", f"dlv_built_{next(_numbers)}")
    received_at = received_at or timezone.now()
    columns = {
        "webhook": webhook,
        "identity": identity_of_id(delivery_id),
        "delivery_id": delivery_id,
        "event": "ticket.created",
        "resource": "ticket",
        "resource_id": "tkt_1",
        "organization_id": "org_1",
        "version": "1.0",
        "body": b"{}",
        "headers": {},
        "status": status,
        "received_at": received_at,
        "last_received_at": received_at,
    }
    return Delivery(**(columns | over))


def store_deliveries(webhook: Webhook, count: int = 1, **over: Any) -> list[Delivery]:
    """Store some deliveries, the oldest first."""
    return insert(build_delivery(webhook, **over) for _ in range(count))


def insert(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Store deliveries in the order they were received."""
    in_order = sorted(deliveries, key=lambda each: each.received_at)
    built = Delivery.objects.bulk_create(in_order, batch_size=2_000)
    return list(Delivery.objects.order_by("-pk")[: len(built)])[::-1]  # MySQL returns no keys


def build_run(delivery: Delivery, status: str = Run.Status.SUCCEEDED, **over: Any) -> Run:
    """Build a run: finished a second after its delivery was received, or due in five minutes."""
    is_finished = status not in _UNFINISHED
    has_failed = status in (Run.Status.FAILED, Run.Status.DEAD)
    columns = {
        "delivery": delivery,
        "receiver": "shop.open_ticket",
        "status": status,
        "tries": 1,
        "started_at": delivery.received_at,
        "finished_at": delivery.received_at + timedelta(seconds=1) if is_finished else None,
        "error": "ValueError: no ticket" if has_failed else "",
        "next_try_at": None if is_finished else timezone.now() + timedelta(minutes=5),
    }
    return Run(**(columns | over))


def store_run(delivery: Delivery, receiver: str = "shop.send", **over: Any) -> Run:
    """Store a run, one that succeeded unless `status` says otherwise."""
    run = build_run(delivery, receiver=receiver, **over)
    run.save()
    return run


def store_dead_runs(webhook: Webhook, count: int, **over: Any) -> list[Run]:
    """Store some deliveries, each with a run that was given up."""
    deliveries = store_deliveries(webhook, count, received_at=ago(minutes=5), status=Delivery.Status.DEAD)
    return Run.objects.bulk_create([build_run(each, Run.Status.DEAD, **over) for each in deliveries])


def store_rejection(webhook: Webhook | None, reason: str = "no_match", **over: Any) -> Rejection:
    """Store a request that was refused just now."""
    return Rejection.objects.create(**({"webhook": webhook, "reason": reason, "received_at": timezone.now()} | over))
