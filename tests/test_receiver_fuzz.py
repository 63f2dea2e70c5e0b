"""Whatever is sent to the receiver view, it answers as documented: never a 500, and no error is logged for it.

`NATEQ_FUZZ_EXAMPLES` says how many requests each test makes (200 without it); with `-s` the answers are counted.
"""

import json
import logging
import os
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.client import RequestFactory
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.envelope import Note, read
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Connect, envelope

hypothesis = pytest.importorskip("hypothesis")
from hypothesis import HealthCheck, given  # noqa: E402 - the extra `dev` may be missing
from hypothesis import settings as hypothesis_settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

EXAMPLES = int(os.environ.get("NATEQ_FUZZ_EXAMPLES", "200"))
DOCUMENTED = {200, 400, 401, 403, 404, 405, 411, 413, 503}

# JSON as senders may write it: any text with halves of surrogate pairs, numbers that no column holds. What is usual
# comes from a list, which is drawn ten times as fast as text.
_ODD_TEXTS = ["", "\x00", "\ud800", "\udfff\ud800", "a" * 300, "a" * 5_000, "\u202e", "\r\n", "😀", "é ", "$.a['b']"]
_TEXT = st.sampled_from(_ODD_TEXTS) | st.text(max_size=8)
_ODD_NUMBERS = [0, -1, 2**31, 2**63, 2**64, 10**400, -0.0, 1.5, 1e22, 1e308, float("nan"), float("inf")]
_LEAF = st.sampled_from([None, True, False, *_ODD_NUMBERS, *_ODD_TEXTS]) | st.integers() | st.floats() | _TEXT
_SOME_JSON = st.lists(_LEAF, max_size=3) | st.dictionaries(_TEXT, _LEAF, max_size=3)
_JSON = _LEAF | st.recursive(_SOME_JSON, lambda inner: st.lists(inner, max_size=2), max_leaves=4)
_NAMES = st.sampled_from(["ticket.created", "message.received", "lead.created", "unknown.event"])
_MOMENTS = st.sampled_from(
    ["2026-06-30T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-06-30", "0000", "1e9"]
)
_TODAY = datetime.now(UTC).isoformat()  # recent, for REPLAY_WINDOW
_CHANGES = {
    "event": _NAMES | _LEAF,
    "timestamp": _MOMENTS | _LEAF,
    "organization_id": _LEAF,
    "data": _JSON,
    "metadata": _JSON,
    "delivery_id": _JSON,
    "attempt": _JSON,
    "version": _JSON,
    "more": _JSON,
}


@st.composite
def envelopes(draw: Callable[[Any], Any]) -> Any:
    """An envelope of which a part or two may be missing or something else."""
    made = envelope(delivery_id=f"dlv_{draw(st.integers(0, 2**64))}", timestamp=_TODAY)
    for key in draw(st.lists(st.sampled_from([*_CHANGES]), max_size=2)):
        inside = made.get("metadata") if key in ("delivery_id", "attempt", "version") else made
        if not isinstance(inside, dict):
            continue
        inside[key] = draw(_CHANGES[key])
        if draw(st.sampled_from([False] * 4 + [True])):
            del inside[key]
    return made


def _written(document: Any, encoding: str, *, ascii_only: bool) -> bytes:
    return json.dumps(document, ensure_ascii=ascii_only).encode(encoding, "surrogatepass")


BODIES = st.one_of(
    st.builds(_written, envelopes(), st.just("utf-8"), ascii_only=st.booleans()),
    st.builds(_written, envelopes(), st.just("utf-8"), ascii_only=st.booleans()),
    st.builds(_written, envelopes(), st.just("utf-8"), ascii_only=st.booleans()),
    st.builds(_written, envelopes(), st.sampled_from(["utf-8-sig", "utf-16"]), ascii_only=st.booleans()),
    st.builds(lambda document, cut: json.dumps(document).encode()[:cut], envelopes(), st.integers(0, 200)),
    st.binary(max_size=300),
    st.builds(lambda depth, mark: mark * depth, st.integers(0, 3_000), st.sampled_from([b"[", b'{"a":', b"9"])),
    st.builds(lambda document: zlib.compress(json.dumps(document).encode()), envelopes()),
)

LENGTHS = st.one_of(
    st.sampled_from(
        ["", "+5", "-1", " 5", "5 ", "5, 5", "5,5", "0x5", "1_0", "9" * 5_000, "0" * 5_000 + "2", "٣", "²"]
    ),
    st.integers(-5, 2**80).map(str),
    st.text(max_size=4),
)
SIGNATURES = st.sampled_from(["", ",", "sha256=", "0" * 64, "é" * 64, "0" * 5_000, "0," * 50]) | st.text(max_size=6)
# PEP 3333: a server decodes what is in a header as Latin-1.
_LATIN = st.text(st.characters(max_codepoint=255), max_size=6)
HEADERS = st.dictionaries(
    st.sampled_from(["HTTP_COOKIE", "HTTP_X_OTHER", "HTTP_ACCEPT", "HTTP_X_FORWARDED_FOR", "HTTP_" + "A" * 5_000])
    | _LATIN.map(lambda name: "HTTP_" + name.upper()),
    _LATIN | st.sampled_from(["", "a" * 5_000, "\x1b[31m", "a=b; c", "sessionid=x"]),
    max_size=2,
)
TYPES = ["application/json", "application/json", "multipart/form-data; boundary=x", "", "text/plain; charset=utf-99"]


FLAWS = [
    *[()] * 8,
    ("method",),
    ("signature",),
    ("signature",),
    ("length",),
    ("length",),
    ("chunked",),
    ("chunked",),
    ("stream",),
    ("stream", "chunked"),
    ("signature", "length"),
    ("signature", "chunked"),
]
"""What is wrong with a request beside its body and its other headers; with most nothing is."""


class Odd(Exception):  # noqa: N818
    """What a server may raise that is no `OSError`."""


class Stream(BytesIO):
    """A body that may break off with an error."""

    def __init__(self, body: bytes, error: Exception | None) -> None:
        super().__init__(body)
        self.error = error

    def read(self, *arguments: Any) -> bytes:
        if self.error is not None:
            raise self.error
        return super().read(*arguments)


@st.composite
def environs(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """What a WSGI server may make of a request."""
    body = draw(BODIES)
    environ: dict[str, Any] = dict(draw(HEADERS))
    flaws = draw(st.sampled_from(FLAWS))
    methods = st.sampled_from(["GET", "HEAD", "PUT", "OPTIONS", "TRACE", "ZZ"])
    environ["REQUEST_METHOD"] = draw(methods) if "method" in flaws else "POST"
    environ["CONTENT_TYPE"] = draw(st.sampled_from(TYPES))
    environ["HTTP_X_NATEQ_SIGNATURE"] = draw(SIGNATURES) if "signature" in flaws else sign(body, SECRET)
    environ["CONTENT_LENGTH"] = draw(LENGTHS) if "length" in flaws else str(len(body))
    if "chunked" in flaws:
        del environ["CONTENT_LENGTH"]
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
        environ["wsgi.input_terminated"] = draw(st.booleans())
    failures = st.sampled_from([OSError("reset"), ConnectionResetError(), ValueError("chunk"), Odd("zz")])
    environ["wsgi.input"] = Stream(body, draw(failures) if "stream" in flaws else None)
    environ["REMOTE_ADDR"] = draw(st.sampled_from(["192.0.2.1", "", "::1", "x" * 100, "\x00"]))
    environ["QUERY_STRING"] = draw(st.sampled_from(["", "", "a=\xff", "%ff&&="]))
    return environ


@contextmanager
def errors() -> Iterator[list[logging.LogRecord]]:
    """The records of level ERROR that the package and Django's handler log."""
    found: list[logging.LogRecord] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record)

    keep = Keep(logging.ERROR)
    loggers = [logging.getLogger(name) for name in ("nateq_webhooks", "django")]
    for logger in loggers:
        logger.addHandler(keep)
    try:
        yield found
    finally:
        for logger in loggers:
            logger.removeHandler(keep)


@pytest.fixture
def webhooks(webhook: Webhook) -> list[Webhook]:
    """One of each state; most requests go to the one that accepts everything."""
    states: list[dict[str, Any]] = [
        {"is_active": False},
        {"registration": Webhook.Registration.PENDING},
        {"registration": Webhook.Registration.ROTATING},
        {"organization_id": "org_1"},
        {"organization_id": "org_2"},
        {"events": ["ticket.created"]},
        {"signature_header": "X-Other"},
    ]
    made = [Webhook(name=f"state {number}", secret=SECRET, **state) for number, state in enumerate(states)]
    Webhook.objects.bulk_create(made)
    return [webhook] * 8 + made


PROTECTION = {
    "REDACT": ["data.requester.email", {"path": "data.*", "store": True}],
    "REPLAY_WINDOW": timedelta(days=365),
    "ALLOWED_NETWORKS": ["192.0.2.0/24", "::1"],
}


def _numbers_as_floats(text: str) -> Any:
    """Read JSON; PostgreSQL returns 1e16 as an integer."""
    return json.loads(text, parse_int=float)


def assert_stored(body: bytes, webhook: Webhook, *, by_content: bool) -> None:
    """The newest delivery is this one, and its columns are what the parser reads: the same on every database."""
    stored, wanted = Delivery.objects.latest("pk"), read(body, by_content=by_content)
    event = wanted.event
    assert (bytes(stored.body), stored.webhook_id, stored.identity) == (body, webhook.pk, wanted.identity)
    assert (stored.attempt, stored.timestamp) == (event.attempt, event.timestamp)
    assert stored.content_hash == wanted.content_hash
    if Note.CUT not in stored.notes:
        assert (stored.event, stored.delivery_id, stored.version) == (event.name, event.delivery_id, event.version)
        assert (stored.organization_id, stored.resource) == (event.organization_id, event.resource)
        assert stored.notes == list(wanted.notes)
    if Note.PAYLOAD_NOT_QUERYABLE not in stored.notes:
        assert _numbers_as_floats(json.dumps(stored.payload)) == _numbers_as_floats(wanted.payload_json or "null")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("identity", "protection"),
    [("delivery_id", {}), ("content", {}), ("delivery_id", PROTECTION)],
    ids=["delivery_id", "content", "protection"],
)
def test_no_request_is_answered_with_500_or_logged_as_an_error(
    webhooks: list[Webhook],
    connect: Connect,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    identity: str,
    protection: dict[str, Any],
) -> None:
    settings.NATEQ_WEBHOOKS = {"IDENTITY": identity, "RUN_LEASE": timedelta(minutes=5), **protection}
    if protection:
        Webhook.objects.update(has_removed=True)
        cache.invalidate()
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    connect(signals.lead_created, lambda **kwargs: None, "test.fuzz")
    client, defaults = Client(raise_request_exception=False), RequestFactory().get("/").environ
    answers: Counter[int] = Counter()

    @hypothesis_settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(environs(), st.integers(0, len(webhooks) - 1), st.booleans())
    def send(environ: dict[str, Any], number: int, has_slash: bool) -> None:
        webhook, body = webhooks[number], environ["wsgi.input"].getvalue()
        path = webhook.get_absolute_url()
        with errors() as logged:
            response = client.request(**defaults | environ | {"PATH_INFO": path if has_slash else path.rstrip("/")})

        status = response.status_code
        answers[status] += 1
        assert status in DOCUMENTED
        assert not [record.getMessage() for record in logged]
        if response.content == b'{"status": "stored"}' and not protection:
            assert_stored(body, webhook, by_content=identity == "content")

    send()

    with capsys.disabled():
        sys.stdout.write(f"\n{connection.vendor}, {identity}: {sum(answers.values())} requests, {dict(answers)}\n")
    assert answers[200] > EXAMPLES / 20
    assert answers[500] == 0
