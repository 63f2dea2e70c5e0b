"""Nateq's protocol: events, signatures and the envelope. Standard library only."""

from nateq_webhooks.protocol.events import EVENTS, Event

__all__ = ["EVENTS", "Event"]
