"""Each fault of the sandbox's sender: what our receiver stores of it, and what the log shows.

All of it is the sandbox's only: this site's API sends nothing, and has no faults to switch on.
"""

from collections.abc import Callable, Iterator

import httpx
import pytest

from example_project.board.server import serving
from nateq_webhooks import signals
from nateq_webhooks.client import LogEntry, NateqClient
from nateq_webhooks.models import Attempt, Delivery, EventType, Run, Webhook
from nateq_webhooks.protocol.events import Event
from nateq_webhooks.sandbox import Fault, Sandbox
from tests.conftest import wait_until
from tests.contract.conftest import EVENTS, KEY, Connect

pytestmark = pytest.mark.django_db(transaction=True)

Register = Callable[[Sandbox, str], str]


@pytest.fixture
def site() -> Iterator[str]:
    """Our receiver on a server with a thread for each connection."""
    with serving(0) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def register(webhook: Webhook, connect: Connect) -> Register:
    """Register the local webhook at a sandbox; return its id there."""

    def register_at(sandbox: Sandbox, address: str) -> str:
        created = connect(sandbox).webhooks.create(url=address + webhook.get_absolute_url(), events=EVENTS)
        assert created.secret is not None
        webhook.secret = created.secret
        webhook.save()
        return created.id

    return register_at


@pytest.fixture
def nateq_id(sandbox: Sandbox, site: str, register: Register) -> str:
    return register(sandbox, site)


@pytest.fixture
def one_at_a_time(site: str, register: Register) -> Iterator[Sandbox]:
    """A sandbox that sends one delivery at a time, so that their order can be seen."""
    with Sandbox(key=KEY, senders=1) as sandbox:
        register(sandbox, site)
        yield sandbox


@pytest.fixture
def effects() -> Iterator[list[str]]:
    """A receiver of ticket.created, whose effect is a row and an entry here: the ids of the deliveries."""
    seen: list[str] = []

    def receiver(*, event: Event, **_: object) -> None:
        EventType.objects.create(name=event.delivery_id)
        seen.append(event.delivery_id)

    signals.ticket_created.connect(receiver, dispatch_uid="tests.contract.effects", weak=False)
    yield seen
    signals.ticket_created.disconnect(dispatch_uid="tests.contract.effects")


def stored() -> list[str]:
    return list(Delivery.objects.order_by("pk").values_list("delivery_id", flat=True))


def logged(client: NateqClient, nateq_id: str) -> list[LogEntry]:
    """The log as the API shows it, oldest first."""
    return [*client.webhooks.logs(nateq_id)][::-1]


def test_a_dropped_delivery_is_not_stored_and_stands_in_the_log_with_its_payload(
    sandbox: Sandbox, client: NateqClient, nateq_id: str
) -> None:
    sandbox.faults.set(Fault.DROP, count=1)
    lost, sent = sandbox.send("ticket.created", count=2)
    sandbox.wait_until_delivered()

    assert stored() == [sent]
    entries = {entry.delivery_id: entry for entry in logged(client, nateq_id)}
    assert (entries[lost].status, entries[lost].response_status) == ("dropped", None)
    assert entries[lost].payload["metadata"]["delivery_id"] == lost
    assert (entries[sent].status, entries[sent].response_status) == ("delivered", 200)


def test_a_duplicate_is_stored_once_and_both_stand_in_the_log(
    sandbox: Sandbox, client: NateqClient, nateq_id: str
) -> None:
    sandbox.faults.set(Fault.DUPLICATE, count=1)
    [delivery_id] = sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    delivery = Delivery.objects.get()
    assert (delivery.delivery_id, delivery.attempts_seen) == (delivery_id, 2)
    assert Attempt.objects.filter(delivery=delivery).count() == 1
    entries = logged(client, nateq_id)
    assert [(entry.delivery_id, entry.attempt) for entry in entries] == [(delivery_id, 1)] * 2
    assert {entry.response_body for entry in entries} == {'{"status": "stored"}', '{"status": "already stored"}'}


def test_a_reordered_delivery_is_stored_after_a_later_one(one_at_a_time: Sandbox, client: NateqClient) -> None:
    one_at_a_time.faults.set(Fault.REORDER, count=1, seconds=60)
    first, second = one_at_a_time.send("ticket.created", count=2)
    one_at_a_time.wait_until_delivered()

    assert stored() == [second, first]
    assert [attempt.delivery_id for attempt in one_at_a_time.log] == [first, second]


def test_a_delayed_delivery_is_stored_late_with_the_time_at_which_it_happened(one_at_a_time: Sandbox) -> None:
    one_at_a_time.faults.set(Fault.DELAY, count=1, seconds=0.5)
    late, punctual = one_at_a_time.send("ticket.created", count=2)
    one_at_a_time.wait_until_delivered()

    assert stored() == [punctual, late]
    happened = Delivery.objects.values_list("timestamp", flat=True)
    assert happened[0] == happened[1]
    attempted = {attempt.delivery_id: attempt.attempted_at for attempt in one_at_a_time.log}
    assert attempted[late] - attempted[punctual] > 0.2


def test_a_corrupt_signature_is_refused_and_the_retry_stored(
    sandbox: Sandbox, client: NateqClient, nateq_id: str
) -> None:
    sandbox.faults.set(Fault.CORRUPT_SIGNATURE, count=2)
    [delivery_id] = sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    delivery = Delivery.objects.get()
    assert (delivery.delivery_id, delivery.attempt, delivery.attempts_seen) == (delivery_id, 3, 1)
    assert [(entry.attempt, entry.status, entry.response_status) for entry in logged(client, nateq_id)] == [
        (1, "failed", 401),
        (2, "failed", 401),
        (3, "delivered", 200),
    ]


def test_a_delivery_that_is_put_off_and_comes_under_a_new_id_is_stored_under_that_one(
    sandbox: Sandbox, client: NateqClient, nateq_id: str, webhook: Webhook
) -> None:
    Webhook.objects.update(registration=Webhook.Registration.PENDING)
    sandbox.faults.set(Fault.NEW_ID, count=1)
    [first] = sandbox.send("ticket.created")
    wait_until(lambda: len(sandbox.log) > 0)
    Webhook.objects.update(registration=Webhook.Registration.REGISTERED)
    sandbox.wait_until_delivered()

    entries = logged(client, nateq_id)
    ids = [entry.delivery_id for entry in entries]
    assert ids[0] == first
    assert len(ids) == len(set(ids))
    assert [entry.response_status for entry in entries] == [503] * (len(entries) - 1) + [200]
    assert stored() == [ids[-1]]


def test_a_stored_delivery_that_comes_again_under_a_new_id_has_the_same_content(
    sandbox: Sandbox, client: NateqClient, nateq_id: str
) -> None:
    sandbox.faults.set(Fault.NEW_ID, count=1)
    [first] = sandbox.send("ticket.created")
    sandbox.wait_until_delivered()
    [attempt] = sandbox.log
    httpx.post(f"{sandbox.url}/deliveries/{attempt.delivery_seq}/resend", trust_env=False)
    wait_until(lambda: len(sandbox.log) == 2)

    again, before = sandbox.log
    assert before.delivery_id == first != again.delivery_id
    assert (before.number, again.number) == (1, 2)
    assert before.payload | {"metadata": None} == again.payload | {"metadata": None}
    assert [entry.response_status for entry in logged(client, nateq_id)] == [200, 200]
    assert first in stored()


def test_a_site_that_is_down_while_two_hundred_events_happen_has_each_once_in_the_end(
    register: Register, effects: list[str]
) -> None:
    """Registered through the client. The effect of each event is a row, committed with its run."""
    with serving(0) as port:
        pass  # the port is free again, and ours to come back to
    with Sandbox(key=KEY, retry_base=0.05, retry_longest=1, attempts=100) as sandbox:
        register(sandbox, f"http://127.0.0.1:{port}")
        sent = sandbox.send("ticket.created", count=200)
        wait_until(lambda: len({attempt.delivery_id for attempt in sandbox.log}) > 100, seconds=120)

        with serving(port) as back:
            assert back == port
            sandbox.wait_until_delivered(timeout=60)

        assert any(attempt.response_status is None for attempt in sandbox.log)
    assert sorted(stored()) == sorted(sent)
    wait_until(lambda: Run.objects.filter(status=Run.Status.SUCCEEDED).count() == 200, seconds=120)
    assert sorted(EventType.objects.values_list("name", flat=True)) == sorted(sent)
    assert sorted(effects) == sorted(sent)
