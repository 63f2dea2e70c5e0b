"""A repeat of a removed delivery stores nothing and runs nothing, also while the delivery is being removed."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import cycle
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import dispatch, retention, signals
from nateq_webhooks.inbox.configuration import TenantCache, cache
from nateq_webhooks.models import Attempt, Delivery, OtherContent, Run, Webhook
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.webhook import STALE_SECONDS
from nateq_webhooks.retention import removal
from nateq_webhooks.retention.removal import announce_removals, lock_finished, remove_deliveries
from tests.builders import ago
from tests.conftest import Connect, Sender, envelope
from tests.retention.conftest import Configure
from tests.waiting import Clock

pytestmark = pytest.mark.django_db(transaction=True)

ALREADY = b'{"status": "already stored"}'
RETENTION = RemovedDelivery.Reason.RETENTION


def make_old() -> None:
    Delivery.objects.update(received_at=ago(days=40))


@pytest.fixture
def effects(connect: Connect) -> Counter[str]:
    """How often a receiver ran for each delivery id."""
    seen: Counter[str] = Counter()

    def receiver(*, delivery: Delivery, **kwargs: Any) -> None:
        Group.objects.create(name=f"{delivery.delivery_id} {delivery.pk}")
        seen[delivery.delivery_id] += 1

    connect(signals.ticket_created, receiver, "shop.open")
    return seen


@pytest.mark.parametrize("dispatched", ["inline", "worker"])
@pytest.mark.parametrize("ack", ["stored", "processed"])
def test_a_repeat_of_a_removed_delivery_is_answered_200_and_runs_nothing(
    sender: Sender, configure: Configure, effects: Counter[str], dispatched: str, ack: str
) -> None:
    if (dispatched, ack) == ("worker", "processed"):
        pytest.skip("no such setting")
    configure(DISPATCH=dispatched, ACK=ack, RETENTION={"delivery": 30})
    assert sender.post(envelope()).status_code == 200
    while dispatch.run_due():
        pass
    make_old()
    assert retention.prune().deliveries == 1

    for attempt in (1, 2, 3):
        response = sender.post(envelope(attempt=attempt))
        assert (response.status_code, response.content) == (200, ALREADY)
        while dispatch.run_due():
            pass

    assert (effects, Delivery.objects.count(), Run.objects.count()) == ({"dlv_1": 1}, 0, 0)
    assert sender.post(envelope(delivery_id="dlv_2")).content == b'{"status": "stored"}'


def test_a_repeat_is_a_new_delivery_once_the_identity_has_expired(
    sender: Sender, configure: Configure, effects: Counter[str]
) -> None:
    configure(RETENTION={"delivery": 30}, REMOVED_KEPT_FOR=timedelta(days=1))
    sender.post(envelope())
    make_old()
    retention.prune()
    RemovedDelivery.objects.update(expires_at=ago(seconds=1))

    assert sender.post(envelope()).content == b'{"status": "stored"}'

    assert effects == {"dlv_1": 2}


def test_a_webhook_with_removed_deliveries_can_be_deleted(sender: Sender, configure: Configure) -> None:
    configure(RETENTION={"delivery": 30})
    sender.post(envelope())
    make_old()
    retention.prune()

    Webhook.objects.get().delete()

    assert RemovedDelivery.objects.count() == 1


@pytest.mark.parametrize("body", [b"[1]", b"not JSON"])
def test_the_repeat_of_an_unreadable_delivery_is_recognized_too(
    sender: Sender, configure: Configure, body: bytes
) -> None:
    configure(RETENTION={"delivery": {"invalid": 30}})
    assert sender.post(body).status_code == 400
    make_old()
    assert retention.prune().deliveries == 1

    assert sender.post(body).status_code == 200

    assert not Delivery.objects.exists()


def test_removed_content_does_not_come_back_by_a_repeat(sender: Sender, configure: Configure) -> None:
    configure(RETENTION={"payload": 30})
    sender.post(envelope())
    make_old()
    assert retention.prune().payloads == 1

    assert sender.post(envelope(attempt=2)).content == ALREADY
    delivery = Delivery.objects.get()
    assert (delivery.body, delivery.payload, delivery.headers, delivery.attempts_seen) == (b"", None, {}, 2)
    assert Attempt.objects.count() == 1
    assert not OtherContent.objects.exists()


def test_the_lookup_costs_one_statement_and_only_where_something_was_removed(
    sender: Sender, configure: Configure
) -> None:
    configure(DISPATCH="worker")
    other = Sender(Webhook.objects.create(name="other", secret="whsec_test_0123456789abcdef"))
    announce_removals("default", [sender.webhook.pk])
    for one in (sender, other):
        one.post(envelope(delivery_id="warm"))

    def statements(one: Sender) -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            one.post(envelope())
        return [query["sql"].partition(" ")[0] for query in queries if not query["sql"].startswith(("BEGIN", "COMMIT"))]

    assert statements(other) == ["INSERT"]
    assert statements(sender) == ["INSERT", "SELECT"]


@pytest.mark.parametrize("dispatched", ["inline", "worker"])
def test_a_repeat_that_waits_for_a_row_being_removed_does_not_slip_through(
    sender: Sender, configure: Configure, effects: Counter[str], dispatched: str
) -> None:
    """The INSERT waits for the transaction that deletes the row, and its own snapshot is older than that commit."""
    if not connection.features.has_select_for_update:
        pytest.skip("SQLite has one writer at a time")
    configure(DISPATCH=dispatched)
    sender.post(envelope())
    while dispatch.run_due():
        pass
    announce_removals("default", [sender.webhook.pk])
    pk = Delivery.objects.get().pk

    def repeat() -> bytes:
        try:
            return bytes(sender.post(envelope(attempt=2)).content)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as threads:
        with transaction.atomic():
            remove_deliveries("default", lock_finished("default", [pk]), RETENTION, None)
            repeated = threads.submit(repeat)
            assert not threading.Event().wait(0.5)
            assert not repeated.done()
        assert repeated.result(60) == ALREADY
    while dispatch.run_due():
        pass

    assert (effects, Delivery.objects.count(), Run.objects.count()) == ({"dlv_1": 1}, 0, 0)


def test_repeats_during_a_prune_run_nothing_again(
    sender: Sender, configure: Configure, effects: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of many deliveries is repeated again and again while they are removed a few at a time."""
    configure(RETENTION={"delivery": 30})
    monkeypatch.setattr(removal, "KNOWN_SECONDS", 1.0)  # a request that is under way knows the former configuration
    ids = [f"dlv_{number}" for number in range(60)]
    for name in ids:
        assert sender.post(envelope(delivery_id=name)).status_code == 200
    make_old()
    monkeypatch.setattr("nateq_webhooks.retention.walk.BATCH_SIZE", 3)
    stop = threading.Event()

    def repeat(offset: int) -> Counter[int]:
        answers: Counter[int] = Counter()
        try:
            for name in cycle(ids[offset::2]):
                if stop.is_set():
                    break
                answers[sender.post(envelope(delivery_id=name, attempt=2)).status_code] += 1
        finally:
            connections.close_all()
        return answers

    with ThreadPoolExecutor(2) as threads:
        repeating = [threads.submit(repeat, offset) for offset in range(2)]
        try:
            while not retention.prune().is_complete or Delivery.objects.exists():
                make_old()
        finally:
            stop.set()
        answers = sum((one.result(60) for one in repeating), Counter())

    assert effects == dict.fromkeys(ids, 1)
    assert set(answers) == {200}
    assert not Run.objects.exists()


def test_the_first_removal_waits_until_other_processes_know(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "KNOWN_SECONDS", 0.3)
    started = timezone.now()

    announce_removals("default", [webhook.pk])
    waited = timezone.now() - started
    announce_removals("default", [webhook.pk])

    assert timedelta(seconds=0.3) <= waited
    assert Webhook.objects.get().has_removed


def test_no_request_uses_an_old_copy_of_the_configuration(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was idle for an hour reads again first, in each of its threads."""
    clock = Clock()
    monkeypatch.setattr("nateq_webhooks.inbox.configuration.time", clock)
    assert cache.get(webhook.pk) is not None
    with connection.cursor() as cursor:  # as another process does it
        cursor.execute("UPDATE nateq_webhooks_webhook SET has_removed = %s, modified_at = %s", [True, timezone.now()])
    clock.now += STALE_SECONDS
    lock = cache._current()._lock
    found: list[bool] = []

    def look() -> None:
        try:
            configuration = cache.get(webhook.pk)
            found.append(configuration is not None and configuration.has_removed)
        finally:
            connections.close_all()

    lock.acquire()  # as if another thread were reading
    waiting = threading.Thread(target=look)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    lock.release()
    waiting.join(60)

    assert found == [True]


def test_while_one_request_reads_the_configuration_others_wait_for_it(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests that come together after a pause: none takes the former copy for the one that is being read."""
    clock = Clock()
    monkeypatch.setattr("nateq_webhooks.inbox.configuration.time", clock)
    assert cache.get(webhook.pk) is not None
    with connection.cursor() as cursor:  # as another process does it
        cursor.execute("UPDATE nateq_webhooks_webhook SET has_removed = %s, modified_at = %s", [True, timezone.now()])
    clock.now += STALE_SECONDS
    reading, go_on = threading.Event(), threading.Event()
    read = TenantCache._read

    def read_slowly(self: TenantCache, **arguments: bool) -> None:
        reading.set()
        assert go_on.wait(60)
        read(self, **arguments)

    monkeypatch.setattr(TenantCache, "_read", read_slowly)

    def look() -> bool:
        try:
            configuration = cache.get(webhook.pk)
            return configuration is not None and configuration.has_removed
        finally:
            connections.close_all()

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(look)
        assert reading.wait(60)
        others = [threads.submit(look) for _ in range(2)]
        threading.Event().wait(0.2)
        go_on.set()

        assert [one.result(60) for one in (first, *others)] == [True, True, True]
