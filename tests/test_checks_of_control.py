"""The system checks about control: what is paused, what is limited, and who could make an answer wait."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.hold import Hold
from tests.conftest import Connect, Sender, envelope
from tests.test_checks import found, ids

pytestmark = pytest.mark.django_db


def test_what_is_paused_is_a_warning_with_since_when_and_why(webhook: Webhook, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    assert ids(databases=["default"]) == []
    dispatch.pause(receiver="test.one", reason="CRM is being moved")
    dispatch.pause()

    everything, receiver = found(databases=["default"])

    assert (everything.id, receiver.id) == ("nateq_webhooks.W006", "nateq_webhooks.W006")
    assert everything.msg.startswith(f"Dispatch is paused for everything since {timezone.now():%Y-%m-%d}")
    assert "receiver:test.one" in receiver.msg
    assert "(CRM is being moved)" in receiver.msg
    assert "manage.py nateq_resume" in str(receiver.hint)
    dispatch.resume(receiver="test.one")
    dispatch.resume()
    assert ids(databases=["default"]) == []


def test_a_pause_of_the_breaker_ends_by_itself(db: None) -> None:
    Hold.objects.create(scope="receiver:test.one", paused_at=timezone.now(), is_automatic=True)

    (warning,) = found(databases=["default"])
    assert "resumes by itself when a probe succeeds" in str(warning.hint)


def test_a_backlog_of_what_is_paused_is_no_missing_worker(sender: Sender, connect: Connect, settings: Any) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "DISPATCH": "worker"}
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    sender.post(envelope())
    Delivery.objects.update(dispatch_at=timezone.now() - timedelta(hours=1))
    assert ids(databases=["default"]) == ["W005"]

    dispatch.pause()

    assert ids(databases=["default"]) == ["W006"]


def test_a_limit_of_a_receiver_that_is_not_connected_limits_nothing(connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    with override_settings(NATEQ_WEBHOOKS={"RATE_LIMITS": {"test.one": 5.0, "test.oen": 5}}):
        (warning,) = found()

    assert warning.id == "nateq_webhooks.W007"
    assert "'test.oen'" in warning.msg
    assert "test.one" in str(warning.hint)


def test_answers_can_wait_only_for_what_runs_in_the_request() -> None:
    with override_settings(NATEQ_WEBHOOKS={"ACK": "processed", "DISPATCH": "worker"}):
        assert ids() == ["E008"]
    with override_settings(NATEQ_WEBHOOKS={"ACK": "processed"}):
        assert ids() == []
