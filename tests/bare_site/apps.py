"""The app that connects a receiver."""

from typing import Any

from django.apps import AppConfig


class BareSiteConfig(AppConfig):
    """Connects a receiver when Django is ready."""

    name = "tests.bare_site"

    def ready(self) -> None:
        from nateq_webhooks import signals

        signals.ticket_created.connect(count, dispatch_uid="bare.count")


def count(**_: Any) -> None:
    """A receiver that writes."""
    from nateq_webhooks.models import Webhook

    Webhook.objects.create(name="made by a receiver")
