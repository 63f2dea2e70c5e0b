"""The HTTP server under the API and the screen: odd requests, and the end of connections."""

import http.client
import socket
import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from nateq_webhooks.sandbox import Sandbox, SandboxError
from tests.sandbox.conftest import KEY, client_of


@pytest.fixture
def connection(sandbox: Sandbox) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", int(sandbox.url.rpartition(":")[2]), timeout=120)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("length", "status"), [("x", 400), ("-1", 400), ("1e3", 400), ("9" * 20, 413), ("9" * 5_000, 413)]
)
def test_an_invalid_or_too_large_content_length_is_refused(
    connection: http.client.HTTPConnection, length: str, status: int
) -> None:
    connection.putrequest("POST", "/api/v1/webhooks")
    connection.putheader("Content-Length", length)
    connection.endheaders()

    answer = connection.getresponse()

    assert answer.status == status
    assert answer.headers["Connection"] == "close"


def test_a_client_that_leaves_before_its_body_is_complete_changes_nothing(
    sandbox: Sandbox, connection: http.client.HTTPConnection
) -> None:
    connection.putrequest("POST", "/api/v1/sandbox/events")
    connection.putheader("Content-Length", "1000")
    connection.endheaders(b'{"event"')
    assert isinstance(connection.sock, socket.socket)
    connection.sock.shutdown(socket.SHUT_WR)

    assert connection.sock.recv(1) == b""
    assert sandbox.log == []


def test_a_client_that_breaks_off_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    with Sandbox(key=KEY) as sandbox:
        for request in (b"POST /api/v1/webhooks HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{", b"POST / HT"):
            with socket.create_connection(("127.0.0.1", int(sandbox.url.rpartition(":")[2])), timeout=120) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close with a reset
                client.sendall(request)
        with client_of(sandbox) as api:
            assert api.get("/webhooks").status_code == 200

    assert capfd.readouterr().err == ""


def test_a_connection_that_is_kept_open_ends_with_the_sandbox() -> None:
    sandbox = Sandbox(key=KEY)
    with client_of(sandbox) as api:
        with sandbox:
            assert api.get("/webhooks").status_code == 200
        with pytest.raises(httpx.TransportError):
            api.get("/webhooks")


def test_it_listens_on_ipv6_and_on_a_name_too() -> None:
    for host in ("::1", "localhost"):
        with Sandbox(key=KEY, host=host) as sandbox, client_of(sandbox) as api:
            assert api.get("/webhooks").status_code == 200
            assert httpx.get(sandbox.url, trust_env=False).status_code == 200


def test_a_server_says_what_it_is_and_not_what_it_runs_on(sandbox: Sandbox) -> None:
    assert httpx.get(sandbox.url, trust_env=False).headers["Server"].strip() == "nateq-sandbox"


def test_what_fails_in_the_sandbox_is_answered_500_and_its_log_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nateq.sqlite3"
    with Sandbox(key=KEY, database=file) as sandbox, client_of(sandbox) as api:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("DROP TABLE webhook")
        answers = [api.get("/webhooks"), api.get(sandbox.url)]
        with pytest.raises(SandboxError, match="failed at webhooks"):
            sandbox.webhooks.all()

    assert [answer.status_code for answer in answers] == [500, 500]
    assert answers[0].json()["error"]["code"] == "INTERNAL_ERROR"
    assert not any("table" in answer.text for answer in answers)
    assert "no such table: webhook" in capfd.readouterr().err


def test_the_control_channel_does_not_exist_without_its_token(sandbox: Sandbox) -> None:
    call = '{"call": "webhooks", "arguments": {}}'
    for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": "Bearer"}):
        answer = httpx.post(f"{sandbox.url}/_control", content=call, headers=headers, trust_env=False)
        assert answer.status_code == 404
    assert sandbox.webhooks.all() == []


def test_the_control_channel_meets_no_limit_and_no_fault() -> None:
    with Sandbox(key=KEY, rate_limit=1) as sandbox, client_of(sandbox) as api:
        sandbox.faults.set("api_500", rate=1)
        statuses = [api.get("/webhooks").status_code for _ in range(2)]
        made = [sandbox.webhooks.create("https://shop.example/", ["ticket.created"]) for _ in range(5)]

        assert statuses == [500, 429]
        assert sandbox.webhooks.all() == made[::-1]
