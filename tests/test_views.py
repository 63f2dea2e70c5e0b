"""The door: every answer, and what is stored behind it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from nateq_webhooks import signals
from nateq_webhooks.models import Attempt, Delivery, Run, Webhook
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db


def test_a_signed_delivery_is_stored_and_reaches_its_receiver(sender: Sender, connect: Callable[..., None]) -> None:
    seen: list[dict[str, Any]] = []
    connect(signals.ticket_created, lambda **kwargs: seen.append(kwargs))
    body = json.dumps(envelope()).encode()

    response = sender.post(body)

    assert response.status_code == 200
    delivery = Delivery.objects.get()
    assert delivery.body == body
    assert delivery.status == Delivery.Status.PROCESSED
    assert (delivery.event, delivery.resource, delivery.resource_id) == ("ticket.created", "ticket", "tkt_1")
    assert Delivery.objects.filter(payload__data__subject="Help").exists()
    assert seen[0]["event"].data == {"id": "tkt_1", "subject": "Help"}
    assert seen[0]["sender"] is Delivery
    assert seen[0]["delivery"] == delivery
    assert Run.objects.get().status == Run.Status.SUCCEEDED


def test_a_retry_of_a_stored_delivery_runs_no_receiver_again(sender: Sender, connect: Callable[..., None]) -> None:
    seen: list[str] = []
    connect(signals.ticket_created, lambda **kwargs: seen.append("ran"))
    sender.post(envelope())

    response = sender.post(envelope(attempt=2))

    assert response.status_code == 200
    assert seen == ["ran"]
    assert Delivery.objects.get().attempts_seen == 2
    assert Attempt.objects.get().number == 2


def test_a_bad_signature_is_refused_and_leaves_nothing(sender: Sender) -> None:
    response = sender.post(envelope(), secret="wrong")

    assert response.status_code == 401
    assert not Delivery.objects.exists()


def test_a_raising_receiver_stops_no_other_and_the_answer_stays_200(sender: Sender, connect: Callable[..., None]) -> None:
    seen: list[str] = []

    def fails(**kwargs: Any) -> None:
        raise LookupError("no such customer")

    connect(signals.ticket_created, fails, "fails")
    connect(signals.event_received, lambda **kwargs: seen.append("ran"), "works")

    assert sender.post(envelope()).status_code == 200

    assert seen == ["ran"]
    run = Run.objects.get(receiver="fails")
    assert run.status == Run.Status.FAILED
    assert "no such customer" in run.error
    assert "LookupError" in run.traceback
    assert Delivery.objects.get().status == Delivery.Status.FAILED
