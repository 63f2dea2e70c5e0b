"""What Nateq sends, as pure Python: events, signatures and the envelope. Needs the standard library only."""

from nateq_webhooks.protocol.events import EVENTS, Event

__all__ = ["EVENTS", "Event"]
