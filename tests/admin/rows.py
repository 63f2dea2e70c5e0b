"""Deliveries and runs as they would stand in the tables, many at once and at any time."""

import hashlib
import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from nateq_webhooks.models import Delivery, Run, Webhook

_numbers = itertools.count(1)


def ago(**span: float) -> datetime:
    return timezone.now() - timedelta(**span)


def delivery(webhook: Webhook, received_at: datetime, status: str = "processed", **over: Any) -> Delivery:
    """A delivery that is not stored yet."""
    number = next(_numbers)
    return Delivery(
        **{
            "webhook": webhook,
            "identity": hashlib.sha256(str(number).encode()).hexdigest(),
            "delivery_id": f"dlv_{number}",
            "event": "ticket.created",
            "resource": "ticket",
            "resource_id": f"tkt_{number}",
            "organization_id": "org_1",
            "version": "1.0",
            "body": b"{}",
            "headers": {},
            "payload": {},
            "status": status,
            "received_at": received_at,
            "last_received_at": received_at,
            "secret_id": "sec_1",
        }
        | over
    )


def store(deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Store deliveries in the order they came."""
    Delivery.objects.bulk_create(sorted(deliveries, key=lambda each: each.received_at))
    return list(Delivery.objects.order_by("pk"))


def run(delivery: Delivery, status: str = "dead", **over: Any) -> Run:
    """A run that is not stored yet, finished unless its status says otherwise."""
    is_open = status in ("waiting", "running", "failed")
    return Run(
        **{
            "delivery": delivery,
            "receiver": "shop.open_ticket",
            "status": status,
            "tries": 10,
            "started_at": delivery.received_at,
            "finished_at": delivery.received_at + timedelta(seconds=1),
            "error": "ValueError: no ticket" if status in ("dead", "failed") else "",
            "next_try_at": timezone.now() + timedelta(minutes=5) if is_open else None,
        }
        | over
    )


def dead_runs(webhook: Webhook, number: int, **over: Any) -> list[Run]:
    """Store so many deliveries, each with a run that was given up."""
    first = Delivery.objects.count()
    stored = store([delivery(webhook, ago(minutes=5), "dead") for _ in range(number)])[first:]
    return Run.objects.bulk_create([run(each, **over) for each in stored])
