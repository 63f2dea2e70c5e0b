"""What each call brings back, and what it changes there: at the sandbox, and where marked `BOTH` at this site's API."""

from dataclasses import replace

import httpx
import pytest

from nateq_webhooks.client import CreatedWebhook, EventType, NateqClient, RemoteWebhook
from nateq_webhooks.errors import NateqNotFoundError
from nateq_webhooks.protocol.events import EVENTS as CATALOGUE
from nateq_webhooks.sandbox import Fault, Sandbox
from nateq_webhooks.sandbox.options import OPERATIONS
from tests.contract.calls import ABOUT_ONE, CALLS, READS, WRITES, Made
from tests.contract.conftest import EVENTS, KEY, URL, Connect
from tests.contract.servers import BOTH, Server
from tests.sandbox.receiver import Receiver


def as_webhook(created: CreatedWebhook) -> RemoteWebhook:
    return RemoteWebhook(
        id=created.id,
        url=created.url,
        events=created.events,
        is_active=created.is_active,
        created_at=created.created_at,
    )


def test_the_client_has_every_operation_of_the_sandbox() -> None:
    assert set(CALLS) == set(OPERATIONS)
    assert set(CALLS) == {*READS, *WRITES}
    assert set(ABOUT_ONE) <= set(CALLS)


@BOTH
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_every_call_succeeds_on_a_webhook_that_is_there(
    client: NateqClient, created: CreatedWebhook, call: Made
) -> None:
    call(client, created.id)


@BOTH
def test_a_created_webhook_comes_back_with_a_secret_and_is_there(
    server: Server, client: NateqClient, created: CreatedWebhook
) -> None:
    assert (created.url, created.events) == (URL, tuple(EVENTS))
    assert server.secrets() == {created.id: created.secret}
    assert created.is_active is True
    assert created.created_at is not None
    assert created.created_at.utcoffset() is not None
    assert client.webhooks.get(created.id) == as_webhook(created)


@BOTH
@pytest.mark.parametrize("name", ["list", "get", "update"])
def test_the_secret_is_in_no_later_answer(server: Server, created: CreatedWebhook, name: str) -> None:
    method, path = {"list": ("GET", ""), "get": ("GET", f"/{created.id}"), "update": ("PATCH", f"/{created.id}")}[name]
    answer = httpx.request(
        method,
        f"{server.base_url}/webhooks{path}",
        headers={"Authorization": f"Bearer {server.key}"},
        json={"is_active": True} if name == "update" else None,
        trust_env=False,
    )

    assert answer.status_code == 200
    assert created.id in answer.text
    assert created.secret is not None
    assert created.secret not in answer.text


@BOTH
def test_a_list_of_several_pages_is_read_whole(server: Server, client: NateqClient) -> None:
    ids = server.fill(205, EVENTS)

    assert [webhook.id for webhook in client.webhooks.list()] == ids[::-1]


@BOTH
def test_each_field_is_changed_by_itself(client: NateqClient, created: CreatedWebhook) -> None:
    before = as_webhook(created)

    stopped = client.webhooks.update(created.id, is_active=False)
    assert stopped == replace(before, is_active=False)
    narrowed = client.webhooks.update(created.id, events=["lead.created"])
    assert narrowed == replace(stopped, events=("lead.created",))
    assert client.webhooks.update(created.id, url=URL) == narrowed
    assert client.webhooks.get(created.id) == narrowed


def test_the_url_is_changed_at_nateq(client: NateqClient, created: CreatedWebhook) -> None:
    """The sandbox's only: at this site a URL follows from the webhook's id."""
    moved = client.webhooks.update(created.id, url="https://shop.example/other/")

    assert moved == replace(as_webhook(created), url="https://shop.example/other/")


@BOTH
def test_a_rotation_replaces_the_secret(server: Server, client: NateqClient, created: CreatedWebhook) -> None:
    rotated = client.webhooks.rotate_secret(created.id)

    assert rotated.secret != created.secret
    assert server.secrets() == {rotated.webhook_id: rotated.secret} == {created.id: rotated.secret}


@BOTH
def test_a_deleted_webhook_is_gone(client: NateqClient, created: CreatedWebhook) -> None:
    client.webhooks.delete(created.id)

    assert client.webhooks.list() == []
    with pytest.raises(NateqNotFoundError):
        client.webhooks.get(created.id)


def test_a_rotated_secret_signs_what_is_sent_from_then_on(sandbox: Sandbox, client: NateqClient) -> None:
    with Receiver() as receiver:
        created = client.webhooks.create(url=receiver.url, events=EVENTS)
        rotated = client.webhooks.rotate_secret(created.id)
        sandbox.send("ticket.created")
        sandbox.wait_until_delivered()

    [arrival] = receiver.arrivals
    assert created.secret is not None
    assert rotated.webhook_id == created.id
    assert arrival.is_signed_with(rotated.secret)
    assert not arrival.is_signed_with(created.secret)


def test_the_catalogue_is_nateqs_with_what_this_sandbox_adds(connect: Connect) -> None:
    with Sandbox(key=KEY, events={"ticket.merged": "Two tickets became one"}) as sandbox:
        events = connect(sandbox).webhooks.events()

    published = [EventType(name=name, description=text) for name, text in CATALOGUE.items()]
    assert events == [*published, EventType(name="ticket.merged", description="Two tickets became one")]


def test_an_entry_of_the_log_says_what_was_sent_and_answered(sandbox: Sandbox, client: NateqClient) -> None:
    with Receiver() as receiver:
        receiver.answer = lambda arrival: 500 if arrival.attempt == 1 else 200
        created = client.webhooks.create(url=receiver.url, events=EVENTS)
        [delivery_id] = sandbox.send("ticket.created", {"id": "tkt_1"})
        sandbox.wait_until_delivered()
        second, first = client.webhooks.logs(created.id)

    assert first.delivery_id == second.delivery_id == delivery_id
    assert (first.event, first.attempt, first.status, first.response_status) == ("ticket.created", 1, "failed", 500)
    assert (second.event, second.attempt, second.status, second.response_status) == (
        "ticket.created",
        2,
        "delivered",
        200,
    )
    assert first.response_body == "thanks"
    assert first.attempted_at is not None
    assert second.attempted_at is not None
    assert first.next_attempt_at is not None
    assert first.attempted_at < first.next_attempt_at <= second.attempted_at
    assert second.next_attempt_at is None
    assert first.duration_ms is not None
    assert [first.payload, second.payload] == [arrival.payload for arrival in receiver.arrivals]


def test_the_log_misses_nothing_and_repeats_nothing_while_entries_arrive(sandbox: Sandbox, client: NateqClient) -> None:
    created = client.webhooks.create(url=URL, events=EVENTS)
    sandbox.faults.set(Fault.DROP, rate=1)  # logged at once, and posted nowhere
    there = sandbox.send("ticket.created", count=430)

    read = []
    for entry in client.webhooks.logs(created.id):
        read.append(entry.delivery_id)
        if len(read) % 45 == 0:
            sandbox.send("ticket.created", count=70)

    assert len(read) == len(set(read))
    assert set(read) == set(there)
    assert len(sandbox.log) > 1000


def test_the_log_misses_nothing_while_retries_arrive_of_what_is_read(sandbox: Sandbox, client: NateqClient) -> None:
    with Receiver() as receiver:
        receiver.status = 503
        created = client.webhooks.create(url=receiver.url, events=EVENTS)
        sandbox.send("ticket.created", count=120)
        receiver.wait_for(120, seconds=120)
        receiver.status = 200
        read = []
        for entry in client.webhooks.logs(created.id):
            read.append((entry.delivery_id, entry.attempt))
            if len(read) == 30:
                sandbox.wait_until_delivered(timeout=120)

        firsts = {(attempt.delivery_id, 1) for attempt in sandbox.log}
    assert len(read) == len(set(read))
    # What had ended when reading began: a few of the first attempts may have been under way still.
    assert len(firsts & set(read)) >= 120 - 8
