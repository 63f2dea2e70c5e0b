"""The events that Nateq publishes (Nateq: Available events), and the `Event` that a receiver gets."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from nateq_webhooks.protocol.i18n import gettext_noop

EVENTS: Final[dict[str, str]] = {
    "conversation.started": gettext_noop("A new conversation begins"),
    "conversation.ended": gettext_noop("A conversation is closed"),
    "conversation.assigned": gettext_noop("A conversation is assigned"),
    "message.received": gettext_noop("An inbound message arrives"),
    "message.sent": gettext_noop("An outbound message is sent"),
    "ticket.created": gettext_noop("A ticket is created"),
    "ticket.updated": gettext_noop("A ticket is updated"),
    "ticket.closed": gettext_noop("A ticket is closed"),
    "broadcast.sent": gettext_noop("A broadcast was sent"),
    "broadcast.failed": gettext_noop("A broadcast failed"),
    "user.created": gettext_noop("A workspace user is created"),
    "lead.created": gettext_noop("A new lead is captured"),
}
"""Each published event's name and when it fires. Other names are accepted everywhere: Nateq may add events."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event as Nateq sent it.

    `timestamp` is when it happened (aware, UTC), not when it was sent; None if the sender's value is missing or
    invalid. `data` may be any JSON. `delivery_id` is the sender's id as text, empty if it is missing or invalid;
    `attempt` counts the sender's attempts from 1, None if it is missing or invalid.
    """

    name: str
    timestamp: datetime | None
    organization_id: str
    data: Any
    delivery_id: str
    attempt: int | None
    version: str

    @property
    def resource(self) -> str:
        """The part of the name before the first dot: `ticket` of `ticket.created`."""
        return resource_of(self.name)


def resource_of(name: str) -> str:
    """Return the first part of an event name: `ticket` of `ticket.created`."""
    return name.partition(".")[0]
