"""`NateqClient` against this API, over real HTTP: what reads webhooks at Nateq reads them here."""

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest
from django.test import override_settings

from example_project.board.server import serving
from nateq_webhooks.client import EventType, NateqClient
from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqNotFoundError,
    NateqPermissionError,
    NateqRateLimitError,
    NateqValidationError,
)
from nateq_webhooks.models import Attempt, Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.signatures import sign
from tests.api.conftest import issue
from tests.builders import store_deliveries
from tests.client.scripted import FakeTime
from tests.conftest import SECRET, envelope

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.any_database]

SITE = "https://shop.example"


@pytest.fixture
def address() -> Iterator[str]:
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": SITE}), serving(0) as port:
        yield f"http://127.0.0.1:{port}/api/v1"


def connect(address: str, key: str) -> NateqClient:
    time = FakeTime()
    return NateqClient(key, address, sleep=time.sleep, clock=time.clock)


@pytest.fixture
def client(address: str) -> Iterator[NateqClient]:
    with connect(address, issue("webhooks:manage")) as client:
        yield client


def test_webhooks_are_listed_and_read(client: NateqClient) -> None:
    stored = [Webhook.objects.create(name=f"webhook {number}", events=["ticket.created"]) for number in range(120)]

    found = client.webhooks.list()

    assert {one.id for one in found} == {str(webhook.pk) for webhook in stored}
    one = client.webhooks.get(str(stored[0].pk))
    assert one.url == stored[0].public_url
    assert (one.events, one.is_active, one.created_at) == (("ticket.created",), True, stored[0].created_at)


def test_events_are_listed(client: NateqClient) -> None:
    assert client.webhooks.events() == [EventType(name=name, description=text) for name, text in EVENTS.items()]


def test_the_log_is_read_whole(client: NateqClient, webhook: Webhook) -> None:
    stored = store_deliveries(webhook, 130)
    for delivery in stored[:20]:
        Attempt.objects.create(delivery=delivery, number=2)

    read = list(client.webhooks.logs(str(webhook.pk)))

    assert len(read) == len({entry.id for entry in read}) == 150
    assert {entry.delivery_id for entry in read} == {delivery.delivery_id for delivery in stored}
    assert [entry.attempted_at for entry in read] == sorted((entry.attempted_at for entry in read), reverse=True)  # type: ignore[type-var]
    assert {entry.response_status for entry in read} == {200}


def test_errors_are_the_clients_own(address: str, client: NateqClient) -> None:
    with pytest.raises(NateqNotFoundError):
        client.webhooks.get("00000000-0000-0000-0000-000000000000")
    with connect(address, issue("deliveries:read")) as other, pytest.raises(NateqPermissionError) as refused:
        other.webhooks.list()
    assert refused.value.code == "INSUFFICIENT_SCOPE"
    assert (refused.value.request_id or "").startswith("req_")
    with connect(address, "tg_live_unknown") as other, pytest.raises(NateqAuthenticationError):
        other.webhooks.list()
    with connect(address, issue("webhooks:read", requests_per_minute=1)) as other:
        other.webhooks.list()
        with pytest.raises(NateqRateLimitError) as slow:
            other.webhooks.list()
    assert 1 <= (slow.value.retry_after or 0) <= 60


def test_webhooks_are_created_changed_and_deleted(address: str, client: NateqClient) -> None:
    url = f"{SITE}/nateq/{uuid.uuid4()}/"
    created = client.webhooks.create(url=url, events=["ticket.created"])

    assert (created.url, created.events) == (url, ("ticket.created",))
    assert created.secret == Webhook.objects.get().secret
    with pytest.raises(NateqValidationError) as refused:
        client.webhooks.create(url="https://elsewhere.example/", events=["ticket.created"])
    assert set(refused.value.details) == {"url"}  # type: ignore[call-overload]
    changed = client.webhooks.update(created.id, url=url, events=["lead.created"], is_active=False)
    assert (changed.events, changed.is_active) == (("lead.created",), False)
    client.webhooks.delete(created.id)
    assert client.webhooks.list() == []


def test_a_rotated_secret_signs_what_is_stored_over_http(address: str, client: NateqClient, webhook: Webhook) -> None:
    rotated = client.webhooks.rotate_secret(str(webhook.pk))

    for number, secret in enumerate([rotated.secret, SECRET]):
        body = json.dumps(envelope(delivery_id=f"dlv_{number}")).encode()
        target = address.removesuffix("/api/v1") + webhook.get_absolute_url()
        answer = httpx.post(target, content=body, headers={"X-Nateq-Signature": sign(body, secret)}, trust_env=False)
        assert answer.status_code == 200
    assert [entry.delivery_id for entry in client.webhooks.logs(rotated.webhook_id)] == ["dlv_1", "dlv_0"]


def test_a_webhook_with_deliveries_is_not_deleted(client: NateqClient, webhook: Webhook) -> None:
    store_deliveries(webhook)

    with pytest.raises(ApiError, match="has deliveries") as refused:
        client.webhooks.delete(str(webhook.pk))

    assert (refused.value.status, refused.value.is_ambiguous) == (409, False)
