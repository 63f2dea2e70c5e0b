"""Exports keep no server: bounded in time and number, over real HTTP, with clients that take nothing or go away."""

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from nateq_webhooks.admin.deliveries import export_stream
from nateq_webhooks.admin.deliveries.export import SEND_SECONDS, _limit_sending
from nateq_webhooks.admin.deliveries.export_slots import MAX_CONCURRENT, ExportSlots, slots
from nateq_webhooks.admin.deliveries.export_stream import Export, Stream
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.builders import store_deliveries
from tests.conftest import SECRET, envelope, wait_until
from tests.server import post, running

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.pages]

EXPORT = reverse("admin:nateq_webhooks_delivery_export")
EVERYTHING = {"format": "jsonl", "everything": "yes"}
TOKEN = "t" * 32


@pytest.fixture
def large(webhook: Webhook) -> list[Delivery]:
    """More than the buffers of a connection hold; stored one by one, as MariaDB takes 16 MiB a statement."""
    return [row for _ in range(24) for row in store_deliveries(webhook, 1, body=b"x" * 1_000_000)]


def cookies(name: str) -> str:
    """The cookies of a superuser's session."""
    client = Client()
    client.force_login(User.objects.create_superuser(name))
    return f"sessionid={client.cookies['sessionid'].value}; csrftoken={TOKEN}"


def ask(port: int, cookie: str, fields: dict[str, str]) -> socket.socket:
    """Ask for an export, and take nothing of the answer."""
    body = urlencode({**fields, "csrfmiddlewaretoken": TOKEN}).encode()
    head = (
        f"POST {EXPORT} HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {cookie}\r\nContent-Length: {len(body)}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
    )
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port))
    client.sendall(head.encode() + body)
    client.settimeout(30)
    return client


def status(client: socket.socket) -> int:
    """The status of an answer, of which nothing else is taken."""
    return int(client.recv(16).split()[1])


def answer_of(port: int, cookie: str, fields: dict[str, str]) -> tuple[int, bytes]:
    client = ask(port, cookie, fields)
    answer = http.client.HTTPResponse(client)
    answer.begin()
    with client:
        return answer.status, answer.read()


@pytest.fixture
def port(webhook: Webhook) -> Iterator[int]:
    with running("four threads") as port:
        yield port


def receives(port: int, webhook: Webhook) -> int:
    body = json.dumps(envelope()).encode()
    return post(port, webhook.get_absolute_url(), body, {"X-Nateq-Signature": sign(body, SECRET)})[0]


def test_an_export_over_http_is_complete(port: int, webhook: Webhook) -> None:
    store_deliveries(webhook, 3)

    code, content = answer_of(port, cookies("boss"), EVERYTHING)

    assert (code, len(content.splitlines())) == (200, 3)


def test_eight_clients_that_read_nothing_leave_threads_for_the_sender(
    port: int, webhook: Webhook, large: list[Delivery]
) -> None:
    users = [cookies(f"boss {number}") for number in range(4)]
    clients = [ask(port, cookie, EVERYTHING) for cookie in users for _ in range(2)]
    try:
        statuses = [status(client) for client in clients]

        assert sorted(statuses) == [200] * MAX_CONCURRENT + [429] * (8 - MAX_CONCURRENT)
        assert receives(port, webhook) == 200
    finally:
        for client in clients:
            client.close()


def test_an_export_ends_with_its_client(port: int, large: list[Delivery]) -> None:
    cookie = cookies("boss")
    client = ask(port, cookie, EVERYTHING)
    assert status(client) == 200
    client.close()

    wait_until(lambda: answer_of(port, cookie, {**EVERYTHING, "event": "lead.created"})[0] == 200)


def test_the_timeout_of_the_servers_socket_is_set() -> None:
    ours, theirs = socket.socketpair()
    request = RequestFactory().post(EXPORT)
    request.META["gunicorn.socket"] = ours

    _limit_sending(request)

    assert ours.gettimeout() == SEND_SECONDS
    ours.close()
    theirs.close()


def stream_of(monkeypatch: pytest.MonkeyPatch, client: Client, clock: Callable[[], float], **data: str) -> Any:
    """Ask for an export whose clock is the test's."""

    def stream(export: Export, ended: Callable[[], None]) -> Stream:
        return Stream(export, ended, clock)

    monkeypatch.setattr("nateq_webhooks.admin.deliveries.export.Stream", stream)
    return client.post(EXPORT, {"format": "jsonl", "event": "ticket.created", **data})


def test_an_export_that_takes_too_long_ends_with_the_address_to_continue_at(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = store_deliveries(webhook, 6)
    monkeypatch.setattr(export_stream, "BATCH_SIZE", 2)
    times = iter([0.0] * 8 + [export_stream.MAX_SECONDS] * 4)

    answer = stream_of(monkeypatch, boss, lambda: next(times, 0.0))
    *rows, last = [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]

    assert 0 < len(rows) < 6
    assert last["last_id"] == rows[-1]["id"]
    assert "Not complete" in last["not_complete"]
    page = boss.get(last["continue"])
    assert page.status_code == 200
    monkeypatch.undo()
    rest = boss.post(EXPORT, {"format": "jsonl", **page.context["hidden"], "after": page.context["after"]})
    more = [json.loads(line) for line in b"".join(rest.streaming_content).splitlines()]  # type: ignore[attr-defined]
    assert [row["id"] for row in rows + more] == [one.pk for one in stored]


def test_an_unfinished_csv_export_ends_with_the_address_to_continue_at(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_deliveries(webhook, 3)
    times = iter([0.0] * 5 + [export_stream.MAX_SECONDS] * 4)

    answer = stream_of(monkeypatch, boss, lambda: next(times, 0.0), format="csv")
    text = b"".join(answer.streaming_content).decode()

    assert text.splitlines()[-1].startswith("Not complete")
    assert "Continue: http://testserver/admin/" in text.splitlines()[-1]


def test_a_client_that_reads_too_slowly_is_disconnected(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_deliveries(webhook, 1, body=b"x" * 500_000)
    times = iter([0.0] * 5)

    answer = stream_of(monkeypatch, boss, lambda: next(times, export_stream.MAX_SECONDS + export_stream.GRACE + 1))

    with pytest.raises(TimeoutError, match="too little"):
        list(answer.streaming_content)
    assert slots.acquire("anybody")
    slots.release("anybody")


def test_a_slot_is_given_back_by_a_response_that_was_never_read(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 1)

    for _ in range(3):
        answer = boss.post(EXPORT, EVERYTHING)
        assert answer.status_code == 200
        answer.close()


def test_each_user_has_one_slot_and_the_number_of_all_slots_is_bounded() -> None:
    some = ExportSlots()

    assert [some.acquire("a"), some.acquire("a"), some.acquire("b"), some.acquire("c")] == [True, False, True, False]
    some.release("a")
    some.release("a")
    assert [some.acquire("c"), some.acquire("a")] == [True, False]
