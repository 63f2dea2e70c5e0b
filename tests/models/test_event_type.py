"""Events of the live catalogue that this version does not know."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from nateq_webhooks.models import EventType
from nateq_webhooks.models.event_type import known_events
from nateq_webhooks.protocol.events import EVENTS

pytestmark = pytest.mark.django_db


def test_only_new_events_of_the_catalogue_are_remembered() -> None:
    live = {"ticket.created": "A ticket is created", "ticket.merged": "Two become one", "x" * 300: "too long"}

    EventType.objects.remember(live)
    EventType.objects.remember(live | {"ticket.merged": "Tickets are merged"})

    assert list(EventType.objects.values_list("name", "description")) == [("ticket.merged", "Tickets are merged")]
    assert list(known_events()) == [*EVENTS, "ticket.merged"]


def test_a_remembered_event_is_a_choice_in_the_admin(client: Client) -> None:
    EventType.objects.remember({"ticket.merged": "Tickets are merged"})
    client.force_login(User.objects.create_superuser("boss"))

    page = client.get("/admin/nateq_webhooks/webhook/add/").content.decode()

    assert 'value="ticket.merged"' in page
    assert "Tickets are merged" in page
