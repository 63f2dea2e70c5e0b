"""The migration that makes the webhook a part of the keys of order and of the breaker, with rows under way."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch.gates import controls
from nateq_webhooks.models import Delivery, Gate, Run, Turn, Webhook
from nateq_webhooks.models.gate import TURN_LANE, breaker_scope
from nateq_webhooks.runners.worker import drain
from tests.conftest import SECRET, Sender, envelope
from tests.dispatch.scene import Connect, make_due

pytestmark = pytest.mark.django_db(transaction=True)

CRM = "test.crm"
migration: Any = import_module("nateq_webhooks.migrations.0008_keys")


@pytest.fixture
def senders(webhook: Webhook, settings: Any) -> list[Sender]:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "DISPATCH": "worker", "ORDERED_BY": "data.conversation"}
    return [Sender(webhook), Sender(Webhook.objects.create(name="other", secret=SECRET))]


def migrate(forwards: Callable[[Any, Any], None]) -> None:
    with connection.schema_editor() as editor:
        forwards(apps, editor)


def old_key(receiver: str, value: str) -> str:
    """The key as earlier versions computed it."""
    return hashlib.sha256(f"{receiver}\0{value}".encode()).hexdigest()


def note(calls: list[str]) -> Callable[..., None]:
    def receive(*, delivery: Delivery, **kwargs: Any) -> None:
        calls.append(delivery.delivery_id)

    return receive


def test_turns_under_way_get_the_key_of_their_webhook_and_go_on_in_order(
    senders: list[Sender], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    connect(signals.ticket_created, note(calls), CRM)
    with monkeypatch.context() as patch:
        patch.setattr("nateq_webhooks.dispatch.order.turn_key", lambda webhook, *rest: old_key(*rest))
        for number in range(6):
            senders[number % 2].post(envelope(delivery_id=f"dlv_{number}", data={"conversation": "cnv_1"}))
        dispatch.run_due()  # makes the runs, and puts one up
    assert Turn.objects.filter(up__isnull=False).count() == 1
    assert Turn.objects.filter(key=old_key(CRM, '"cnv_1"')).count() == 6
    monkeypatch.setattr(migration, "PORTION", 4)

    migrate(migration.add_webhook_to_turns)
    senders[0].post(envelope(delivery_id="dlv_6", data={"conversation": "cnv_1"}))
    drain()

    assert calls[0] == "dlv_0"
    for sender in senders:
        of_one = [one for one in calls if Delivery.objects.get(delivery_id=one).webhook == sender.webhook]
        assert of_one == sorted(of_one)
    assert sorted(calls) == [f"dlv_{number}" for number in range(7)]
    assert not Turn.objects.exists()


def test_the_key_is_the_one_that_dispatch_computes(
    senders: list[Sender], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(signals.ticket_created, note([]), CRM)
    senders[0].post(envelope(data={"conversation": "cnv_1"}))
    with monkeypatch.context() as patch:
        patch.setattr("nateq_webhooks.dispatch.order.turn_key", lambda webhook, *rest: old_key(*rest))
        dispatch.run_due()

    migrate(migration.add_webhook_to_turns)

    turn = Turn.objects.get()
    assert turn.key == turn.up == dispatch.order.turn_key(senders[0].webhook.pk, CRM, '"cnv_1"')
    assert Run.objects.get().lane != TURN_LANE


def test_a_receivers_breaker_becomes_one_for_each_webhook(
    senders: list[Sender], connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "ORDERED_BY": "", "BREAKER_AFTER": 3}
    calls: list[str] = []
    connect(signals.ticket_created, note(calls), CRM)
    soon = timezone.now() + timedelta(minutes=1)
    state = {"paused_at": timezone.now(), "is_automatic": True, "probe_at": soon, "failures": 3, "is_cleared": False}
    gate = Gate.objects.create(scope=f"receiver:{CRM}", reason="It failed 3 times in a row.", **state)
    by_hand = Gate.objects.create(scope="receiver:test.paused", paused_at=timezone.now(), reason="moved")
    for number in range(6):
        senders[number % 2].post(envelope(delivery_id=f"dlv_{number}"))
    dispatch.run_due()
    assert Run.objects.filter(lane=gate.pk).count() == 6
    monkeypatch.setattr(migration, "PORTION", 2)

    migrate(migration.add_webhook_to_breakers)
    controls.invalidate()

    scopes = {breaker_scope(sender.webhook.pk, CRM) for sender in senders}
    paused = Gate.objects.filter(paused_at__isnull=False).exclude(pk=by_hand.pk)
    assert {one.scope for one in paused} == scopes
    for one in paused:
        assert (one.is_automatic, one.failures, one.probe_at, one.reason) == (True, 3, soon, gate.reason)
        assert Run.objects.filter(lane=one.pk).count() == 3
    by_hand.refresh_from_db()
    assert by_hand.paused_at is not None
    make_due()
    drain()
    assert calls == []
    Gate.objects.filter(scope__in=scopes).update(probe_at=timezone.now() - timedelta(seconds=1))
    controls.invalidate()
    drain()
    drain()
    assert sorted(calls) == [f"dlv_{number}" for number in range(6)]
