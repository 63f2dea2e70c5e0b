"""The search by delivery id: exact, and through the unique index of webhook and identity."""

from nateq_webhooks.models.delivery import MAX_DIGITS, with_delivery_id

__all__ = ["MAX_DIGITS", "with_delivery_id"]
