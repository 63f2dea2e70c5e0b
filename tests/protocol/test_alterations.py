"""What something on the way did to a body can be undone, whatever the body, within bounds."""

import gzip
import itertools
import json
import os
import time
import zlib
from typing import Any

import pytest

from nateq_webhooks.protocol.alterations import MAX_INDENTED_CHARS, Alteration, originals
from nateq_webhooks.protocol.compression import MAX_INFLATED_BYTES
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_envelope

NOW = 1_782_820_800
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


def undone(received: bytes, sent: bytes) -> set[Alteration] | None:
    """Return what was done to the body, None when it is not found."""
    for original in originals(received, seconds=NOW):
        if original.body == sent:
            return set(original.alterations)
    return None


@pytest.mark.parametrize(
    ("sent", "received", "alterations"),
    [
        (BODY, BODY + b"\n", "newline_added"),
        (BODY, BODY + b"\r\n", "newline_added"),
        (BODY + b"\n", BODY, "newline_stripped"),
        (BODY + b"\r\n", BODY, "newline_stripped"),
        (BODY, b" " + BODY + b"  ", "white_space"),
        (BODY, BOM + BODY, "bom_added"),
        (BOM + BODY, BODY, "bom_stripped"),
        (PRETTY, PRETTY.replace(b"\n", b"\r\n"), "line_ends"),
        (PRETTY.replace(b"\n", b"\r\n"), PRETTY, "line_ends"),
        (PRETTY, BOM + PRETTY.replace(b"\n", b"\r\n") + b"\r\n", "line_ends newline_added bom_added"),
        (BODY, gzip.compress(BODY), "compressed"),
        (BODY, zlib.compress(BODY), "compressed"),
        (BODY, zlib.compress(BODY, wbits=-15), "compressed"),
        (gzip.compress(BODY, mtime=0), BODY, "decompressed"),
        (gzip.compress(BODY, mtime=NOW - 3), BODY, "decompressed"),
        (gzip.compress(BODY, compresslevel=1, mtime=NOW), BODY, "decompressed"),
        (zlib.compress(BODY), BODY, "decompressed"),
        (COMPACT, json.dumps(DOCUMENT, ensure_ascii=False).encode(), "white_space"),
        (COMPACT, json.dumps(DOCUMENT, separators=(",", ":")).encode(), "escapes"),
        (BODY, COMPACT, "escapes white_space"),
        (BODY, PRETTY, "white_space"),
        (PRETTY, BODY, "white_space"),
        (json.dumps(DOCUMENT, indent=4).encode(), BODY, "white_space"),
        (COMPACT.replace(b"/", b"\\/"), COMPACT, "escapes"),
        (COMPACT, COMPACT.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e"), "escapes"),
        (COMPACT.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e"), COMPACT, "escapes"),
        (BODY, json.dumps(DOCUMENT, sort_keys=True).encode(), "key_order"),
        (json.dumps(DOCUMENT, sort_keys=True).encode(), BODY, "key_order"),
        (BODY, json.dumps(dict(reversed(DOCUMENT.items()))).encode(), "key_order"),
        (COMPACT, json.dumps(DOCUMENT, sort_keys=True).encode(), "key_order escapes white_space"),
        (b'{"a": 1.50, "a": [ ]}', b'{"a":1.50,"a":[]}', None),
        (b'{"a": 1.50, "b": []}', b'{"a":1.50,"b":[]}', "white_space"),
        (b'{"a":1.0}', b'{"a":1.00}', "numbers"),
    ],
)
def test_it_is_undone_and_named(sent: bytes, received: bytes, alterations: str | None) -> None:
    assert undone(received, sent) == (
        None if alterations is None else {Alteration(name) for name in alterations.split()}
    )


@pytest.mark.parametrize("event", EVENTS)
def test_sorted_and_pressed_together_each_events_example_is_found_again(event: str) -> None:
    document = example_envelope(event, delivery_id="dlv_1")
    sent = json.dumps(document).encode()
    received = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    assert undone(received, sent) is not None


def test_of_a_few_keys_of_data_every_order_is_tried() -> None:
    for keys in itertools.permutations("abcde"):
        sent = json.dumps(DOCUMENT | {"event": "x.y", "data": dict.fromkeys(keys, 0)}).encode()

        assert undone(json.dumps(json.loads(sent), sort_keys=True).encode(), sent) == {Alteration.KEY_ORDER}


def test_the_body_itself_is_no_candidate_and_none_comes_twice() -> None:
    made = [original.body for original in originals(BODY, seconds=NOW)]

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
    "much to permute": json.dumps({"event": "x", "data": {str(n): "x" * 1_500 for n in range(5)}}).encode(),
    "no object": b'"text"',
    "line ends": b"\r\n" * 32_000,
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_any_bytes_make_few_and_small_candidates_quickly(body: bytes) -> None:
    began = time.thread_time()

    sizes = [len(original.body) for original in originals(body, seconds=NOW)]

    assert len(sizes) < 2_500
    assert max(sizes) <= max(MAX_INFLATED_BYTES, 6 * len(body) + 100)
    assert time.thread_time() - began < 1.5


def test_nothing_is_inflated_beyond_the_limit() -> None:
    just, over = b" " * (MAX_INFLATED_BYTES - 1), b" " * (MAX_INFLATED_BYTES + 1)

    assert undone(gzip.compress(just), just) == {Alteration.COMPRESSED}
    assert undone(gzip.compress(over), over) is None
    assert max(len(original.body) for original in originals(gzip.compress(over), seconds=NOW)) < 10_000


def test_a_document_is_not_indented_without_bound() -> None:
    long = json.dumps({"data": ["x" * 100] * 200})
    assert len(long) > MAX_INDENTED_CHARS

    assert undone(long.encode(), json.dumps(json.loads(long), indent=2).encode()) is None


def test_a_candidate_shows_nothing_of_the_body() -> None:
    assert "tkt_1" not in " ".join(map(repr, originals(BODY, seconds=NOW)))
