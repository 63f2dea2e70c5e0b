"""The receiver view behind real servers, over real HTTP, with many senders at once."""

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest

from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, envelope
from tests.server import post, running

pytestmark = pytest.mark.django_db(transaction=True)

BODY = json.dumps(envelope(data={"id": "tkt_1", "name": "سارة 😀"}), ensure_ascii=False).encode()


@pytest.fixture(params=["gunicorn", "uvicorn", "uvicorn, in threads"])
def port(request: pytest.FixtureRequest, webhook: Webhook) -> Iterator[int]:
    with running(request.param) as port:
        yield port


def signed(body: bytes) -> dict[str, str]:
    return {"X-Nateq-Signature": "sha256=" + sign(body, SECRET)}


def test_a_signature_made_by_openssl_is_accepted(port: int, webhook: Webhook) -> None:
    made = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", SECRET, "-hex"], input=BODY, capture_output=True, check=True
    )
    digest = made.stdout.decode().split()[-1]

    status, answer = post(port, webhook.get_absolute_url(), BODY, {"X-Nateq-Signature": digest})

    assert (status, answer) == (200, b'{"status": "stored"}')
    assert Delivery.objects.get().body == BODY


def test_a_signature_made_by_an_npm_signer_is_accepted(port: int, webhook: Webhook) -> None:
    """`await sign("whsec_test_0123456789abcdef", BODY)` of @octokit/webhooks-methods 6.0.0 said this."""
    made = "sha256=96cf819c2fe2d6fb929b484fdb19c2260bcbc7869b4522ee8e2eee6ba984373a"

    status, answer = post(port, webhook.get_absolute_url(), BODY, {"X-Nateq-Signature": made})

    assert (status, answer) == (200, b'{"status": "stored"}')


def test_a_chunked_body_is_received_whole(port: int, webhook: Webhook) -> None:
    status, _answer = post(port, webhook.get_absolute_url(), BODY, signed(BODY), chunked=True)

    assert status == 200
    assert Delivery.objects.get().body == BODY


def test_too_large_a_body_is_413(port: int, webhook: Webhook) -> None:
    body = b"x" * 1_100_000

    answers = {
        chunked: post(port, webhook.get_absolute_url(), body, signed(body), chunked=chunked)[0]
        for chunked in (False, True)
    }

    assert answers == {False: 413, True: 413}


WRONG, RIGHT = "0" * 64, sign(BODY, SECRET)
REPEATED = {
    "wrong and right": ([WRONG, RIGHT], 200),
    "right and wrong": ([RIGHT, WRONG], 200),
    "eight": ([WRONG] * 7 + [RIGHT], 200),
    "nine": ([WRONG] * 8 + [RIGHT], 401),
    "empty ones": (["", ""], 401),
}


def test_a_repeated_header_arrives_joined_and_any_of_up_to_eight_may_match(port: int, webhook: Webhook) -> None:
    def post_repeated(values: list[str]) -> int:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as client:
            client.putrequest("POST", webhook.get_absolute_url())
            client.putheader("Content-Length", str(len(BODY)))
            for value in values:
                client.putheader("X-Nateq-Signature", value)
            client.endheaders(BODY)
            return client.getresponse().status

    answers = {name: post_repeated(values) for name, (values, _expected) in REPEATED.items()}

    assert answers == {name: expected for name, (_values, expected) in REPEATED.items()}


def test_identical_deliveries_at_the_same_moment_are_stored_once(port: int, webhook: Webhook) -> None:
    path = webhook.get_absolute_url()
    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(lambda _: post(port, path, BODY, signed(BODY)), range(48)))

    assert [status for status, _answer in answers] == [200] * 48
    assert sum(answer == b'{"status": "stored"}' for _status, answer in answers) == 1
    delivery = Delivery.objects.get()
    assert (delivery.attempts_seen, delivery.attempts.count()) == (48, 47)


def test_many_different_deliveries_at_once_are_all_stored(port: int, webhook: Webhook) -> None:
    path = webhook.get_absolute_url()
    bodies = [json.dumps(envelope(delivery_id=f"dlv_{number}")).encode() for number in range(200)]
    with ThreadPoolExecutor(16) as senders:
        answers = list(senders.map(lambda body: post(port, path, body, signed(body)), bodies))

    assert [status for status, _answer in answers] == [200] * 200
    assert Delivery.objects.count() == 200


def test_djangos_own_server_says_that_it_needs_a_length(webhook: Webhook) -> None:
    with running("runserver") as port:
        assert post(port, webhook.get_absolute_url(), BODY, signed(BODY), chunked=True)[0] == 411
        assert post(port, webhook.get_absolute_url(), BODY, signed(BODY))[0] == 200


NO_HTTP = {
    "a chunk without a size": (b"Transfer-Encoding: chunked\r\n", b"zz\r\n"),
    "a chunk of a negative size": (b"Transfer-Encoding: chunked\r\n", b"-5\r\nhello\r\n0\r\n\r\n"),
    "a chunk without its end": (b"Transfer-Encoding: chunked\r\n", b"5\r\nhelloXX0\r\n\r\n"),
    "a length of 5,000 digits": (b"Content-Length: " + b"9" * 5_000 + b"\r\n", b"{}"),
    "a negative length": (b"Content-Length: -1\r\n", b"{}"),
    "a length with a sign": (b"Content-Length: +2\r\n", b"{}"),
    "a length in other digits": ("Content-Length: \u0662\r\n".encode(), b"{}"),
    "two lengths": (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"{}"),
    "a body that is too short": (b"Content-Length: 200\r\n", b"{}"),
    "both": (b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", b"zz\r\n"),
}


@pytest.mark.parametrize("kind", ["gunicorn", "uvicorn", "uvicorn, in threads", "runserver", "granian"])
def test_what_is_no_http_is_never_a_500(webhook: Webhook, kind: str) -> None:
    if kind == "granian":
        pytest.importorskip("granian")
    with running(kind) as port:
        answers = {name: raw(port, webhook.get_absolute_url(), *parts) for name, parts in NO_HTTP.items()}
        good = post(port, webhook.get_absolute_url(), BODY, signed(BODY))[0]

    assert not {name: answer for name, answer in answers.items() if b" 500 " in answer}
    assert not {name: answer for name, answer in answers.items() if b" 200 " in answer}
    assert good == 200


def raw(port: int, path: str, headers: bytes, body: bytes) -> bytes:
    """Send bytes that no HTTP client would, and nothing more; return the first line of the answer, if one comes."""
    with socket.create_connection(("127.0.0.1", port), 20) as sending:
        sending.sendall(b"POST %s HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n" % path.encode())
        sending.sendall(headers + b"\r\n" + body)
        sending.shutdown(socket.SHUT_WR)
        with suppress(OSError):
            return sending.makefile("rb").readline()
    return b""
