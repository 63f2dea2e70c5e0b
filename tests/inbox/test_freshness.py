"""Replay protection: a new delivery with an old timestamp is refused; a repetition of a stored one never is."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.inbox import freshness
from nateq_webhooks.inbox.freshness import STORING_TAKES
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.protocol.envelope import identity_of_id
from nateq_webhooks.testing import deliver
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db

WINDOW = timedelta(days=3)


@pytest.fixture(autouse=True)
def window(settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {"REPLAY_WINDOW": WINDOW}


@pytest.fixture
def runs(connect: Connect) -> list[str]:
    """The ids of the deliveries that a receiver got."""
    got: list[str] = []
    connect(signals.event_received, lambda event, **kwargs: got.append(event.delivery_id), "test.receiver")
    return got


def at(age: timedelta, **over: Any) -> Any:
    """Return an envelope whose timestamp is so old."""
    return envelope(timestamp=(datetime.now(UTC) - age).isoformat(), **over)


def with_timestamp(timestamp: object) -> Callable[[], Any]:
    return partial(envelope, timestamp=timestamp)


def refusals() -> list[str]:
    recorder.flush()
    return list(Rejection.objects.values_list("reason", flat=True))


@pytest.mark.parametrize("age", [timedelta(), WINDOW - timedelta(minutes=1), -timedelta(minutes=4)])
def test_a_recent_delivery_is_stored(sender: Sender, runs: list[str], age: timedelta) -> None:
    assert sender.post(at(age)).status_code == 200
    assert runs == ["dlv_1"]


@pytest.mark.parametrize(
    ("made", "reason", "error"),
    [
        pytest.param(partial(at, WINDOW + timedelta(seconds=1)), "stale", "timestamp too old", id="just too old"),
        pytest.param(partial(at, timedelta(days=20_000)), "stale", "timestamp too old", id="55 years"),
        pytest.param(partial(at, -timedelta(hours=1)), "future", "timestamp in the future", id="an hour ahead"),
        pytest.param(with_timestamp("9998-01-01T00:00:00Z"), "future", "timestamp in the future", id="year 9998"),
        pytest.param(with_timestamp(None), "no_timestamp", "no readable timestamp", id="null"),
        pytest.param(with_timestamp("yesterday"), "no_timestamp", "no readable timestamp", id="not a time"),
        pytest.param(with_timestamp(1_790_000_000), "no_timestamp", "no readable timestamp", id="a number"),
    ],
)
def test_others_are_refused_with_their_reason(
    sender: Sender, runs: list[str], boss: Client, made: Callable[[], Any], reason: str, error: str
) -> None:
    response = sender.post(made())

    assert (response.status_code, response.json()) == (403, {"error": error})
    assert not Delivery.objects.exists()
    assert runs == []
    assert refusals() == [reason]
    rejection = Rejection.objects.get()
    assert json.loads(rejection.hint) == {"code": reason, "details": {}}
    assert "It is from Nateq" in boss.get(f"/admin/nateq_webhooks/rejection/{rejection.pk}/change/").content.decode()


@pytest.mark.parametrize("timestamp", ["2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", None])
def test_a_repetition_of_a_stored_delivery_is_answered_as_ever(
    sender: Sender, settings: Settings, runs: list[str], timestamp: str | None
) -> None:
    body = envelope(timestamp=timestamp)
    settings.NATEQ_WEBHOOKS = {}
    sender.post(body)
    settings.NATEQ_WEBHOOKS = {"REPLAY_WINDOW": WINDOW}

    response = sender.post(body)

    assert (response.status_code, response.json()) == (200, {"status": "already stored"})
    assert Delivery.objects.get().attempts_seen == 2
    assert runs == ["dlv_1"]
    assert refusals() == []


def test_the_same_id_of_another_webhook_is_no_repetition(sender: Sender, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {}
    other = Webhook.objects.create(name="other")
    deliver(at(timedelta(days=9)), webhook=other)
    settings.NATEQ_WEBHOOKS = {"REPLAY_WINDOW": WINDOW}

    assert sender.post(at(timedelta(days=9))).status_code == 403


def test_a_removed_delivery_is_known(webhook: Webhook) -> None:
    RemovedDelivery.objects.create(webhook_id=webhook.pk, identity=identity_of_id("dlv_1"), reason="retention")

    def refusal(delivery_id: str) -> object:
        verified = verified_of(webhook, at(timedelta(days=9), delivery_id=delivery_id))
        return freshness.replay_refusal(verified)

    assert refusal("dlv_1") is None
    assert refusal("dlv_2") == "stale"


@pytest.mark.parametrize("expires_in", [timedelta(days=1), timedelta(seconds=30), -timedelta(seconds=1)])
def test_a_repeat_of_a_removed_delivery_is_answered_as_stored_as_long_as_it_is_remembered(
    sender: Sender, runs: list[str], expires_in: timedelta
) -> None:
    expires_at = timezone.now() + expires_in
    identity = identity_of_id("dlv_1")
    Webhook.objects.filter(pk=sender.webhook.pk).update(has_removed=True)
    RemovedDelivery.objects.create(
        webhook_id=sender.webhook.pk, identity=identity, reason="retention", expires_at=expires_at
    )

    response = sender.post(at(timedelta(days=9)))

    expected = (
        (200, {"status": "already stored"}) if expires_in > STORING_TAKES else (403, {"error": "timestamp too old"})
    )
    assert (response.status_code, response.json()) == expected
    assert runs == []
    assert not Delivery.objects.exists()


def verified_of(webhook: Webhook, body: Any) -> Any:
    from nateq_webhooks import inbox
    from nateq_webhooks.testing import sign

    raw = json.dumps(body).encode()
    configuration = inbox.find(webhook.pk)
    assert configuration is not None
    meta = {configuration.signature_meta_key: sign(raw, webhook.secret)}
    return inbox.verify(configuration, inbox.IncomingRequest(body=raw, meta=meta, remote_addr=None))


def test_an_unreadable_body_is_stored_as_invalid_as_ever(sender: Sender) -> None:
    assert sender.post(b"no JSON").status_code == 400
    assert Delivery.objects.get().status == Delivery.Status.INVALID


def test_a_recent_delivery_costs_no_further_statement_and_an_old_one_two(
    sender: Sender, settings: Settings, django_assert_num_queries: Any
) -> None:
    sender.post(at(timedelta(), delivery_id="first"))
    sender.post(at(timedelta(days=9)))

    with django_assert_num_queries(2) as captured:
        sender.post(at(timedelta(days=9)))
    assert not any("INSERT" in query["sql"] for query in captured.captured_queries)

    with django_assert_num_queries(0), patch.object(freshness, "_is_known") as looked_up:
        freshness.replay_refusal(verified_of(sender.webhook, at(timedelta())))
    assert not looked_up.called


def test_a_database_that_cannot_be_asked_is_a_503(sender: Sender) -> None:
    with patch.object(Delivery.objects, "using", side_effect=DatabaseError):
        assert sender.post(at(timedelta(days=9))).status_code == 503

    assert refusals() == []


def test_without_a_window_any_age_is_stored(sender: Sender, settings: Settings) -> None:
    settings.NATEQ_WEBHOOKS = {}

    assert sender.post(at(timedelta(days=9_000))).status_code == 200


def test_a_test_event_of_the_admin_is_recent(webhook: Webhook, boss: Client) -> None:
    url = f"/admin/nateq_webhooks/webhook/{webhook.pk}/test/"
    payload = boss.get(url).context["form"].initial["payload"]

    boss.post(url, {"payload": payload})

    assert Delivery.objects.exists()
