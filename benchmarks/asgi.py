"""The benchmarks' site under ASGI."""

from typing import Any

from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.test import override_settings

_ours = get_asgi_application()
with override_settings(MIDDLEWARE=[]):
    _bare = ASGIHandler()

from benchmarks import receivers
from nateq_webhooks.asgi import ReceiverApplication

receivers.connect()

receiver_application = ReceiverApplication(_ours, threads=4)
"""Serves the receiver view in threads that keep their connection to the database."""


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve the floors without middleware, everything else with it."""
    await (_bare if scope["path"].startswith("/bare") else _ours)(scope, receive, send)
