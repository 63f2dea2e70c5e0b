"""What the tests of a delivery's page share: its addresses, and how they are asked for."""

from typing import Any

from django.test import Client
from django.urls import reverse

from nateq_webhooks.models import Delivery

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202egpj.exe"


def shown(client: Client, url: str, query: dict[str, Any] | None = None) -> str:
    response = client.get(url, query)
    assert response.status_code == 200
    return response.content.decode()


def detail_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])


def body_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_body", args=[delivery.pk])


def payload_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_payload", args=[delivery.pk])
