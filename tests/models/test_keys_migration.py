"""The migration that makes the webhook a part of the keys of order and of the breaker, with rows under way."""

import hashlib
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, order
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, Hold, OrderLock, breaker_scope
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


def migrate_again() -> None:
    """Take the tables back to before the migration, and forward again with the rows that they have."""
    MigrationExecutor(connection).migrate([("nateq_webhooks", "0007_content")])
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes("nateq_webhooks"))


def old_key(receiver: str, value: str) -> str:
    """The key as earlier versions computed it."""
    return hashlib.sha256(f"{receiver}\0{value}".encode()).hexdigest()


def note(calls: list[str]) -> Callable[..., None]:
    def receive(*, delivery: Delivery, **kwargs: Any) -> None:
        calls.append(delivery.delivery_id)

    return receive


def test_order_locks_get_the_key_of_their_webhook_and_keep_the_order(
    senders: list[Sender], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    connect(signals.ticket_created, note(calls), CRM)
    with monkeypatch.context() as patch:
        patch.setattr("nateq_webhooks.dispatch.order.order_lock_key", lambda webhook, *rest: old_key(*rest))
        for number in range(6):
            senders[number % 2].post(envelope(delivery_id=f"dlv_{number}", data={"conversation": "cnv_1"}))
        api.run_due()  # creates the runs, and promotes one
    assert OrderLock.objects.filter(head_key__isnull=False).count() == 1
    assert OrderLock.objects.filter(key=old_key(CRM, '"cnv_1"')).count() == 6
    monkeypatch.setattr(migration, "PORTION", 4)

    migrate_again()
    senders[0].post(envelope(delivery_id="dlv_6", data={"conversation": "cnv_1"}))
    drain()

    assert calls[0] == "dlv_0"
    for sender in senders:
        of_one = [one for one in calls if Delivery.objects.get(delivery_id=one).webhook == sender.webhook]
        assert of_one == sorted(of_one)
    assert sorted(calls) == [f"dlv_{number}" for number in range(7)]
    assert not OrderLock.objects.exists()


def test_the_key_is_the_one_that_dispatch_computes(
    senders: list[Sender], connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(signals.ticket_created, note([]), CRM)
    senders[0].post(envelope(data={"conversation": "cnv_1"}))
    with monkeypatch.context() as patch:
        patch.setattr("nateq_webhooks.dispatch.order.order_lock_key", lambda webhook, *rest: old_key(*rest))
        api.run_due()

    migrate_again()

    lock = OrderLock.objects.get()
    assert lock.key == lock.head_key == order.order_lock_key(senders[0].webhook.pk, CRM, '"cnv_1"')
    assert Run.objects.get().held_by != HELD_BY_ORDER


def test_a_receivers_breaker_becomes_one_for_each_webhook(
    senders: list[Sender], connect: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "ORDERED_BY": "", "BREAKER_AFTER": 3}
    calls: list[str] = []
    connect(signals.ticket_created, note(calls), CRM)
    soon = timezone.now() + timedelta(minutes=1)
    state = {"paused_at": timezone.now(), "is_automatic": True, "probe_at": soon, "failures": 3, "is_empty": False}
    hold = Hold.objects.create(scope=f"receiver:{CRM}", reason="It failed 3 times in a row.", **state)
    by_hand = Hold.objects.create(scope="receiver:test.paused", paused_at=timezone.now(), reason="moved")
    for number in range(6):
        senders[number % 2].post(envelope(delivery_id=f"dlv_{number}"))
    api.run_due()
    assert Run.objects.filter(held_by=hold.pk).count() == 6
    monkeypatch.setattr(migration, "PORTION", 2)

    migrate_again()
    hold_cache.invalidate()

    scopes = {breaker_scope(sender.webhook.pk, CRM) for sender in senders}
    paused = Hold.objects.filter(paused_at__isnull=False).exclude(pk=by_hand.pk)
    assert {one.scope for one in paused} == scopes
    for one in paused:
        assert (one.is_automatic, one.failures, one.probe_at, one.reason) == (True, 3, soon, hold.reason)
        assert Run.objects.filter(held_by=one.pk).count() == 3
    by_hand.refresh_from_db()
    assert by_hand.paused_at is not None
    make_due()
    drain()
    assert calls == []
    Hold.objects.filter(scope__in=scopes).update(probe_at=timezone.now() - timedelta(seconds=1))
    hold_cache.invalidate()
    drain()
    drain()
    assert sorted(calls) == [f"dlv_{number}" for number in range(6)]
