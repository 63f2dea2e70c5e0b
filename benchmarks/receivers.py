"""The receiver of the benchmarks: it does nothing, and is connected to one event only."""

from typing import Final

from nateq_webhooks import signals

EVENT_WITH_RECEIVER: Final = "ticket.updated"
EVENT_WITHOUT_RECEIVER: Final = "ticket.created"


def ignore(**kwargs: object) -> None:
    """Receive an event, and do nothing."""


def connect() -> None:
    """Connect the receiver to its event."""
    signals.ticket_updated.connect(ignore)
