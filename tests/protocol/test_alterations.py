"""A change of a body on the way is undone, for any bytes and within bounds."""

import gzip
import json
import os
import time
import zlib
from typing import Any

import pytest

from nateq_webhooks.protocol.alterations import MAX_INDENTED_CHARS, MAX_INFLATED_BYTES, Alteration, originals
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_envelope

DOCUMENT: dict[str, Any] = {
    "event": "ticket.created",
    "timestamp": "2026-06-30T12:00:00Z",
    "organization_id": "org_1",
    "data": {"id": "tkt_1", "url": "https://x.example/?a=1&b=<2>", "name": "سارة 😀", "amount": 12, "is_open": True},
    "metadata": {"delivery_id": "dlv_1", "attempt": 1, "version": "1.0"},
}
BODY = json.dumps(DOCUMENT).encode()
COMPACT = json.dumps(DOCUMENT, ensure_ascii=False, separators=(",", ":")).encode()
PRETTY = json.dumps(DOCUMENT, indent=2).encode()
BOM = b"\xef\xbb\xbf"


def undone(received: bytes, sent: bytes) -> str | None:
    """Return what was done to the body; None if its original is not found."""
    return next((original.alteration for original in originals(received) if original.body == sent), None)


@pytest.mark.parametrize(
    ("sent", "received", "alteration"),
    [
        (BODY, BODY + b"\n", "line_ends"),
        (BODY, BODY + b"\r\n", "line_ends"),
        (BODY + b"\n", BODY, "line_ends"),
        (BODY + b"\r\n", BODY, "line_ends"),
        (BODY, b" " + BODY + b"  ", "line_ends"),
        (BODY, BOM + BODY, "line_ends"),
        (BOM + BODY, BODY, "line_ends"),
        (PRETTY, PRETTY.replace(b"\n", b"\r\n"), "line_ends"),
        (PRETTY.replace(b"\n", b"\r\n"), PRETTY, "line_ends"),
        (PRETTY, BOM + PRETTY.replace(b"\n", b"\r\n") + b"\r\n", "line_ends"),
        (BODY, gzip.compress(BODY), "compressed"),
        (BODY, zlib.compress(BODY), "compressed"),
        (BODY, zlib.compress(BODY, wbits=-15), "compressed"),
        (gzip.compress(BODY, mtime=0), BODY, "decompressed"),
        (gzip.compress(BODY, compresslevel=1, mtime=0), BODY, "decompressed"),
        (zlib.compress(BODY), BODY, "decompressed"),
        (COMPACT, json.dumps(DOCUMENT, ensure_ascii=False).encode(), "reserialized"),
        (COMPACT, json.dumps(DOCUMENT, separators=(",", ":")).encode(), "reserialized"),
        (BODY, COMPACT, "reserialized"),
        (BODY, PRETTY, "reserialized"),
        (PRETTY, BODY, "reserialized"),
        (json.dumps(DOCUMENT, indent=4).encode(), BODY, "reserialized"),
        (COMPACT.replace(b"/", b"\\/"), COMPACT, "reserialized"),
        (COMPACT, COMPACT.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c"), "reserialized"),
        (
            COMPACT.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e"),
            COMPACT,
            "reserialized",
        ),
        (BODY, json.dumps(dict(reversed(DOCUMENT.items()))).encode(), "reserialized"),
        (b'{"a":1.0}', b'{"a":1.00}', "reserialized"),
        (b'{"a": 1.50}', b'{"a":1.5}', None),
    ],
)
def test_a_change_is_undone_and_named(sent: bytes, received: bytes, alteration: str | None) -> None:
    assert undone(received, sent) == alteration


@pytest.mark.parametrize("event", EVENTS)
def test_each_example_with_its_envelope_in_another_order_is_found(event: str) -> None:
    document = example_envelope(event, delivery_id="dlv_1")
    sent = json.dumps(document).encode()
    envelope = {key: document[key] for key in sorted(document)}
    received = json.dumps(envelope, separators=(",", ":"), ensure_ascii=False).encode()

    assert undone(received, sent) == "reserialized"


def test_the_body_itself_is_no_candidate_and_none_comes_twice() -> None:
    made = [original.body for original in originals(BODY)]

    assert BODY not in made
    assert len(set(made)) == len(made)


HOSTILE = {
    "nothing": b"",
    "no text": os.urandom(65_536),
    "open lists": b"[" * 65_536,
    "lists": b"[" * 900 + b"1" + b"]" * 900,
    "objects": b'{"a":' * 900 + b"1" + b"}" * 900,
    "deep and wide": b"[" * 490 + b"1," * 30_000 + b"1" + b"]" * 490,
    "wide and indented": b"[" * 30 + b"1," * 30_000 + b"1" + b"]" * 30,
    "an open string of escaped quotes": b'"' + b'\\"' * 32_000,
    "long numbers": b"[" + b",".join([b"9" * 4_000] * 15) + b"]",
    "too long a number": b"9" * 65_000,
    "infinity": b'{"a": 1e999, "b": NaN}',
    "half a pair": b'{"a": "\\ud800", "\\udc00": 1}',
    "a zip bomb": gzip.compress(b"\0" * 60_000_000),
    "a zip bomb of JSON": gzip.compress(b'{"a": "' + b"<" * 20_000_000 + b'"}'),
    "what grows": json.dumps({"event": ["x"], "metadata": [], "data": {"a": "<س/" * 15_000}}).encode(),
    "many keys": json.dumps({"event": "ticket.created", "data": {str(n): n for n in range(5_000)}}).encode(),
    "no object": b'"text"',
    "line ends": b"\r\n" * 32_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_any_bytes_make_few_small_candidates_quickly(body: bytes) -> None:
    began = time.thread_time()

    sizes = [len(original.body) for original in originals(body)]

    assert len(sizes) < 150
    assert max(sizes) <= max(MAX_INFLATED_BYTES, 6 * len(body) + 100)
    assert time.thread_time() - began < 1.5


def test_nothing_is_inflated_beyond_the_limit() -> None:
    just, over = b" " * (MAX_INFLATED_BYTES - 1), b" " * (MAX_INFLATED_BYTES + 1)

    assert undone(gzip.compress(just), just) == Alteration.COMPRESSED
    assert undone(gzip.compress(over), over) is None
    assert max(len(original.body) for original in originals(gzip.compress(over))) < 10_000


def test_a_document_is_not_indented_without_bound() -> None:
    long = json.dumps({"data": ["x" * 100] * 200})
    assert len(long) > MAX_INDENTED_CHARS

    assert undone(long.encode(), json.dumps(json.loads(long), indent=2).encode()) is None


def test_a_candidate_shows_nothing_of_the_body() -> None:
    assert "tkt_1" not in " ".join(map(repr, originals(BODY)))
