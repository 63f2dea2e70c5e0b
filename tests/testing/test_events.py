"""Events for tests: each is what Nateq sends, and `sign` signs what is sent for it."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from nateq_webhooks.errors import SecretError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.envelope import read
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_data
from nateq_webhooks.testing import make_event, sign

SECRET = "whsec_0123456789abcdef"


@pytest.mark.parametrize("name", [*EVENTS, "ticket.merged", "voice-call", "brand.new.thing"])
def test_an_event_has_everything_that_nateq_sends(name: str) -> None:
    event = make_event(name)

    assert list(event) == ["event", "timestamp", "organization_id", "data", "metadata"]
    assert event["event"] == name
    assert event["data"] == example_data(name)
    assert list(event["metadata"]) == ["delivery_id", "attempt", "version"]
    assert read(json.dumps(event).encode()).notes == ()


def test_the_time_is_now() -> None:
    age = datetime.now(UTC) - datetime.fromisoformat(make_event("lead.created")["timestamp"])

    assert abs(age) < timedelta(minutes=1)


def test_data_replaces_and_adds_keys_of_the_example_whatever_their_names() -> None:
    event = make_event("lead.created", name="Sara", self=1, metadata=None, organization_id="org_2", custom=[1])

    expected = {"name": "Sara", "self": 1, "metadata": None, "organization_id": "org_2", "custom": [1]}
    assert event["data"] == example_data("lead.created") | expected
    assert event["metadata"]["attempt"] == 1
    assert event["organization_id"] == make_event("lead.created")["organization_id"]


def test_two_events_share_neither_their_id_nor_anything_that_can_be_changed() -> None:
    one, other = make_event("ticket.created"), make_event("ticket.created")
    assert one["metadata"]["delivery_id"] != other["metadata"]["delivery_id"]

    one["data"]["requester"]["name"] = one["metadata"]["version"] = "changed"

    assert other["data"] == example_data("ticket.created") == make_event("ticket.created")["data"]
    assert other["metadata"]["version"] == "1.0"


@pytest.mark.parametrize("name", ["ticket_created", "TicketCreated", "ticket.*", "", "ticket created"])
def test_a_name_that_no_event_has_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not an event name"):
        make_event(name)


@pytest.mark.parametrize("encoding", ["utf-8", "base64"])
@pytest.mark.django_db
def test_a_signed_event_is_taken_from_djangos_test_client(settings: Settings, encoding: str) -> None:
    settings.NATEQ_WEBHOOKS = {"SECRET_ENCODING": encoding}
    webhook = Webhook.objects.create(name="shop", secret="whsec_" + "ab" * 32)
    event = make_event("ticket.created", subject="مرحبا", due=datetime.now(UTC), price=Decimal("1.10"))

    response = Client().post(
        webhook.get_absolute_url(),
        event,
        content_type="application/json",
        headers={"X-Nateq-Signature": sign(event, webhook.secret)},
    )

    assert response.status_code == 200
    assert Delivery.objects.get().load_event().data["price"] == "1.10"


def test_text_is_signed_as_its_utf_8_bytes() -> None:
    assert sign('"مرحبا"', SECRET) == sign('"مرحبا"'.encode(), SECRET)
    assert sign({"a": 1}, SECRET) == sign(b'{"a": 1}', SECRET) != sign(b'{"a":1}', SECRET)


def test_what_can_not_be_signed_is_refused(settings: Settings) -> None:
    body: Any = 5
    with pytest.raises(TypeError, match="not a int"):
        sign(body, SECRET)
    with pytest.raises(SecretError, match="empty"):
        sign(b"{}", "")
    settings.NATEQ_WEBHOOKS = {"SECRET_ENCODING": "base64"}
    with pytest.raises(SecretError, match="not base64") as caught:
        sign(b"{}", "whsec_!")
    assert "whsec_!" not in str(caught.value)
