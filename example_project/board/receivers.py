"""The receivers: what this project does when a Nateq event comes in.

A receiver is a plain function connected to a signal of `nateq_webhooks.signals`. It may raise: the others
still run, and the failure stands on the delivery in the admin.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.dispatch import receiver
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol import Event

from .expectations import EVENT_THAT_FAILS, Receiver
from .models import Effect, Ticket


@receiver(signals.ticket_created)
def open_ticket(*, event: Event, delivery: Delivery, **_kwargs: object) -> None:
    """Put a new ticket on the board."""
    _show(event, delivery, default_status=Ticket.Status.OPEN)


@receiver(signals.ticket_updated)
def update_ticket(*, event: Event, delivery: Delivery, **_kwargs: object) -> None:
    """Move a ticket to the column of its status."""
    _show(event, delivery, default_status=Ticket.Status.PENDING)


@receiver(signals.ticket_closed)
def close_ticket(*, event: Event, delivery: Delivery, **_kwargs: object) -> None:
    """Move a ticket to the last column."""
    _show(event, delivery, default_status=Ticket.Status.CLOSED)


@receiver(signals.event_received)
def write_journal(*, delivery: Delivery, **_kwargs: object) -> None:
    """Note every event of every kind, the ones Nateq has not thought of yet included."""
    _leave_trace(delivery, Receiver.JOURNAL)


class CrmUnavailableError(Exception):
    """The CRM does not answer."""


@receiver(signals.lead_created)
@receiver(signals.broadcast_failed)
def tell_crm(*, event: Event, delivery: Delivery, **_kwargs: object) -> None:
    """Pass leads on to a CRM; failed broadcasts hit its broken corner, to show what a failure looks like."""
    if event.name == EVENT_THAT_FAILS:
        raise CrmUnavailableError(f"The CRM answered 502 to {event.name} (this failure is part of the demo).")
    _leave_trace(delivery, Receiver.CRM)


def _show(event: Event, delivery: Delivery, *, default_status: Ticket.Status) -> None:
    """Apply a ticket event, once, and never let an older event overwrite a newer one."""
    if not delivery.resource_id:
        raise ValueError(f"{event.name} without data.id: there is no ticket to show.")
    happened_at = event.timestamp or timezone.now()
    fields = {
        "subject": _text(event.data, "subject", 200) or delivery.resource_id,
        "customer": _text(event.data.get("requester"), "name", 120),
        "channel": _text(event.data, "channel", 40),
        "priority": _text(event.data, "priority", 20),
        "status": _status(event.data, default_status),
        "happened_at": happened_at,
    }
    with transaction.atomic():
        ticket, created = Ticket.objects.select_for_update().get_or_create(
            external_id=delivery.resource_id, defaults=fields
        )
        # Deliveries may overtake each other: a retry of ticket.created can come after ticket.closed.
        if not created and happened_at >= ticket.happened_at:
            for name, value in fields.items():
                setattr(ticket, name, value)
        ticket.events_applied += 1
        ticket.save()
        _leave_trace(delivery, Receiver.BOARD)


def _status(data: Mapping[str, Any], default: Ticket.Status) -> str:
    """The column the event names, if it is one of ours; a closed ticket is closed whatever it says."""
    named = data.get("status")
    return named if named in Ticket.Status.values and default is not Ticket.Status.CLOSED else default


def _text(data: Any, key: str, length: int) -> str:
    """A text of the event's data cut to what the column holds; empty when it is missing or no text."""
    value = data.get(key) if isinstance(data, Mapping) else None
    return value[:length] if isinstance(value, str) else ""


def _leave_trace(delivery: Delivery, who: Receiver) -> None:
    Effect.objects.create(delivery_id=delivery.delivery_id, receiver=who)
