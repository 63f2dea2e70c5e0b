"""A receiver with an asynchronous client at the top of its module."""

import os
from typing import Any

import httpx
from asgiref.sync import sync_to_async
from django.dispatch import receiver

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.events import Event
from tests.dispatch.scene import BOUND_SECONDS, write

client = httpx.AsyncClient(timeout=BOUND_SECONDS)


@receiver(signals.message_received, atomic="NATEQ_NOT_ATOMIC" not in os.environ)
async def call_out(*, delivery: Delivery, event: Event, **kwargs: Any) -> None:
    """Call a service with a client that is kept between runs, and write a row."""
    await sync_to_async(write)(f"{delivery.delivery_id} call_out")
    (await client.get(event.data["url"])).raise_for_status()
