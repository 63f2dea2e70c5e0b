"""The admin's pages as the tests request them: addresses, forms, and a receiver that fails."""

from typing import Any

from django.test import Client
from django.urls import reverse

from nateq_webhooks.models import Delivery, Webhook

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202egpj.exe"


def shown(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    """Return a page without the places where a name may break: they are no text."""
    return raw(client, url, query).replace("<wbr>", "")


def raw(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    """Return a page as it is sent."""
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def detail_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])


def body_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_body", args=[delivery.pk])


def payload_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_payload", args=[delivery.pk])


def webhook_form(**over: Any) -> dict[str, Any]:
    """Return what a browser posts from a webhook's change page, with the rows of its older secrets."""
    rows = {"older_secrets-TOTAL_FORMS": "0", "older_secrets-INITIAL_FORMS": "0"}
    return {"name": "shop", "is_active": "on", "new_secret": ""} | rows | over


def secret_row(webhook: Webhook, **columns: str) -> dict[str, str]:
    """Return the one row of older secrets in the form of a webhook."""
    row = {"older_secrets-TOTAL_FORMS": "1", "older_secrets-0-webhook": str(webhook.pk)}
    return row | {f"older_secrets-0-{name}": value for name, value in columns.items()}


def fail(**kwargs: Any) -> None:
    """A receiver that fails with a text of the customer's."""
    raise LookupError("no such <customer>")
