"""What is stored: webhooks and their secrets, deliveries and repeated attempts, runs."""

from nateq_webhooks.models.delivery import Attempt, Delivery
from nateq_webhooks.models.run import Run
from nateq_webhooks.models.webhook import Secret, Webhook

__all__ = ["Attempt", "Delivery", "Run", "Secret", "Webhook"]
