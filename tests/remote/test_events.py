"""`manage.py nateq_events`: the live catalogue beside the built-in one, and coverage."""

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from nateq_webhooks import signals
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import Connect
from tests.remote.conftest import KEY, connected, text

pytestmark = pytest.mark.django_db

Run = Callable[..., Any]


def test_events_compares_the_live_list_and_the_receivers(connect: Connect) -> None:
    with (
        Sandbox(key=KEY, events={"ticket.merged": "Two tickets became one"}) as sandbox,
        connected(sandbox),
    ):
        Webhook.objects.create(name="shop", events=["ticket.created", "ticket.merged"])
        Webhook.objects.create(name="off", events=["lead.created"], is_active=False)
        connect(signals.ticket_created, lambda **_: None)
        for name in ("ticket.closd", "ticket.craeted"):
            connect(signals.signal_for(name), lambda **_: None)
        out = StringIO()
        call_command("nateq_events", "--json", stdout=out, stderr=StringIO())
        shown = text(command="nateq_events")

    found = json.loads(out.getvalue())
    assert {"name": "ticket.merged", "description": "Two tickets became one"} in found["live"]
    assert (found["new"], found["gone"]) == (["ticket.merged"], [])
    assert found["subscribed_without_receiver"] == ["ticket.merged"]
    assert found["receiver_without_subscription"] == ["ticket.closd", "ticket.craeted"]
    assert "no active webhook subscribes:\n  ticket.closd\n  ticket.craeted\n" in shown


def test_a_receiver_of_every_event_leaves_no_event_without_receivers(run: Run, connect: Connect) -> None:
    Webhook.objects.create(name="all")
    assert run(command="nateq_events")["subscribed_without_receiver"] == list(EVENTS)

    connect(signals.event_received, lambda **_: None)
    assert run(command="nateq_events")["subscribed_without_receiver"] == []
