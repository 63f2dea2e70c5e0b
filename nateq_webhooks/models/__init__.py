"""What is stored: webhooks and their secrets, deliveries and repeated attempts, runs."""

from nateq_webhooks.models.delivery import Attempt, Delivery
from nateq_webhooks.models.event_type import EventType
from nateq_webhooks.models.run import Run
from nateq_webhooks.models.webhook import Secret, Webhook

__all__ = ["Attempt", "Delivery", "EventType", "Run", "Secret", "Webhook"]
