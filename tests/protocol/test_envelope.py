"""The envelope: what is read from a body, what is noted about it, and that no bytes at all make reading it raise."""

import copy
import hashlib
import json
import math
import random
import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from nateq_webhooks.protocol.columns import MAX_COLUMN_BYTES, MAX_COLUMN_DEPTH, column_text
from nateq_webhooks.protocol.envelope import (
    MAX_ATTEMPT,
    MAX_DEPTH,
    Envelope,
    Note,
    identity_of_id,
    load_event,
    read,
)
from nateq_webhooks.protocol.events import EVENTS, Event, resource_of

# The page's example (Nateq: Payload), with its comment and its dots filled in.
PAGE = b"""{
  "event": "ticket.created",
  "timestamp": "2026-06-30T12:00:00Z",
  "organization_id": "org_1",
  "data": { "id": "tkt_1", "subject": "Help" },
  "metadata": { "delivery_id": "dlv_1", "attempt": 1, "version": "1.0" }
}"""


def document(**over: Any) -> dict[str, Any]:
    """The page's example; a key given as `...` is left out."""
    whole = json.loads(PAGE) | over
    return {key: value for key, value in whole.items() if value is not ...}


def body(**over: Any) -> bytes:
    return json.dumps(document(**over)).encode()


def with_metadata(**over: Any) -> bytes:
    metadata = document()["metadata"] | over
    return body(metadata={key: value for key, value in metadata.items() if value is not ...})


def with_data(raw: str) -> bytes:
    """The page's example with `data` as this very JSON text."""
    return body(data="RAW").replace(b'"RAW"', raw.encode())


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """A document of this many levels, itself the first."""
    return with_data(opening * (depth - 2) + "{}" + closing * (depth - 2)) if depth > 1 else b"{}"


def nested_objects(depth: int) -> bytes:
    return nested(depth, '{"a":', "}")


def without_metadata_objects(depth: int) -> bytes:
    """As `nested`, with one long branch and nothing else."""
    return b'{"data":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


# The page's example


def test_the_example_of_the_page_is_read_without_a_note() -> None:
    envelope = read(PAGE)

    assert envelope.event == Event(
        name="ticket.created",
        timestamp=datetime(2026, 6, 30, 12, 0, tzinfo=UTC),
        organization_id="org_1",
        data={"id": "tkt_1", "subject": "Help"},
        delivery_id="dlv_1",
        attempt=1,
        version="1.0",
    )
    assert envelope.event.resource == "ticket"
    assert envelope.resource_id == "tkt_1"
    assert envelope.is_readable
    assert envelope.notes == ()
    assert envelope.payload_json is not None
    assert json.loads(envelope.payload_json) == json.loads(PAGE)


@pytest.mark.parametrize("name", EVENTS)
def test_every_published_event_is_read_without_a_note(name: str) -> None:
    envelope = read(body(event=name))

    assert (envelope.event.name, envelope.notes) == (name, ())
    assert envelope.event.resource == name.split(".")[0]


def test_the_twelve_events_of_the_page_are_known() -> None:
    assert set(EVENTS) == {
        "conversation.started",
        "conversation.ended",
        "conversation.assigned",
        "message.received",
        "message.sent",
        "ticket.created",
        "ticket.updated",
        "ticket.closed",
        "broadcast.sent",
        "broadcast.failed",
        "user.created",
        "lead.created",
    }


@pytest.mark.parametrize(
    ("name", "resource"),
    [("ticket.merged", "ticket"), ("a.b.c", "a"), ("nodot", "nodot"), (".x", ""), ("", "")],
)
def test_the_resource_of_an_event_is_the_part_before_the_first_dot(name: str, resource: str) -> None:
    assert resource_of(name) == resource


def test_an_event_and_an_envelope_are_frozen() -> None:
    envelope = read(PAGE)

    with pytest.raises(FrozenInstanceError):
        envelope.event.name = "ticket.closed"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        envelope.identity = ""  # type: ignore[misc]


# Unusual values are noted


@pytest.mark.parametrize("raw", [PAGE, body(event="ticket.merged"), body(surprise={"new": True})])
def test_unknown_events_and_keys_are_not_noted(raw: bytes) -> None:
    assert read(raw).notes == ()


@pytest.mark.parametrize("value", [..., None, "", 7, 7.5, True, [], {}, ["ticket.created"]])
@pytest.mark.parametrize(
    ("make", "key", "attribute", "note"),
    [
        (body, "event", "name", Note.EVENT_UNUSABLE),
        (body, "organization_id", "organization_id", Note.ORGANIZATION_UNUSABLE),
        (with_metadata, "version", "version", Note.VERSION_UNUSABLE),
    ],
    ids=["event", "organization_id", "version"],
)
def test_a_value_that_is_no_text_is_noted_and_read_as_empty(
    make: Callable[..., bytes], key: str, attribute: str, note: Note, value: object
) -> None:
    envelope = read(make(**{key: value}))

    assert envelope.notes == (note,)
    assert getattr(envelope.event, attribute) == ""
    assert envelope.is_readable


@pytest.mark.parametrize("value", [None, [], {}, "", "text", 0, 7.5, True, [1, {"id": 2}], {"camelCase": 1}])
def test_data_may_be_any_json(value: object) -> None:
    envelope = read(body(data=value))

    assert envelope.notes == ()
    assert envelope.event.data == value


@pytest.mark.parametrize("value", [..., None, "", "text", 7, [], True])
def test_metadata_that_is_no_object_is_noted_with_all_that_is_missing_for_it(value: object) -> None:
    envelope = read(body(metadata=value))

    assert envelope.notes == (
        Note.METADATA_UNUSABLE,
        Note.DELIVERY_ID_UNUSABLE,
        Note.ATTEMPT_UNUSABLE,
        Note.VERSION_UNUSABLE,
    )
    assert (envelope.event.delivery_id, envelope.event.attempt, envelope.event.version) == ("", None, "")


@pytest.mark.parametrize("value", [1, 2, 17, 2**31 - 1])
def test_an_attempt_counts_from_one(value: int) -> None:
    envelope = read(with_metadata(attempt=value))

    assert (envelope.event.attempt, envelope.notes) == (value, ())


@pytest.mark.parametrize(
    "value", [..., None, 0, -1, 1.0, "1", True, [], {}, MAX_ATTEMPT + 1, 10**4000, 1e300, float("inf")]
)
def test_an_attempt_that_is_no_positive_integer_is_read_as_none(value: object) -> None:
    envelope = read(with_metadata(attempt=value))

    assert Note.ATTEMPT_UNUSABLE in envelope.notes
    assert envelope.event.attempt is None


@pytest.mark.parametrize("value", [..., None, "", True, False, 7.0, [], ["dlv_1"], {}, {"id": 1}])
def test_a_delivery_id_that_is_neither_text_nor_an_integer_is_noted(value: object) -> None:
    envelope = read(with_metadata(delivery_id=value))

    assert envelope.notes == (Note.DELIVERY_ID_UNUSABLE,)
    assert envelope.event.delivery_id == ""


@pytest.mark.parametrize("value", ["dlv_1", " ", "é", "😀", "x" * 10_000, 7, 0, -7, 10**40])
def test_text_and_integers_are_delivery_ids(value: str | int) -> None:
    envelope = read(with_metadata(delivery_id=value))

    assert envelope.notes == ()
    assert envelope.event.delivery_id == str(value)
    assert envelope.identity == identity_of_id(value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"id": "tkt_1"}, "tkt_1"),
        ({"id": 7}, "7"),
        ({"id": -7}, "-7"),
        ({"id": "9b2d7c1e-5f60-4c0e-8a7e-3a1d5c2b4f60"}, "9b2d7c1e-5f60-4c0e-8a7e-3a1d5c2b4f60"),
        ({"id": ""}, ""),
        ({"id": None}, ""),
        ({"id": True}, ""),
        ({"id": ["tkt_1"]}, ""),
        ({"id": {"value": 1}}, ""),
        ({"ID": "tkt_1"}, ""),
        ({}, ""),
        (["id"], ""),
        ("id", ""),
        (7, ""),
        (None, ""),
    ],
)
def test_the_resource_id_is_the_id_of_data_as_text(data: object, expected: str) -> None:
    assert read(body(data=data)).resource_id == expected


def test_an_empty_object_is_readable_and_has_every_note() -> None:
    envelope = read(b"{}")

    assert envelope.is_readable
    assert envelope.notes == (
        Note.METADATA_UNUSABLE,
        Note.DATA_MISSING,
        Note.DELIVERY_ID_UNUSABLE,
        Note.EVENT_UNUSABLE,
        Note.TIMESTAMP_UNUSABLE,
        Note.ORGANIZATION_UNUSABLE,
        Note.ATTEMPT_UNUSABLE,
        Note.VERSION_UNUSABLE,
    )
    assert envelope.payload_json == "{}"
    assert envelope.event.data is None


def test_missing_data_is_noted() -> None:
    assert read(body(data=...)).notes == (Note.DATA_MISSING,)


# Timestamps


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-06-30T12:00:00Z", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30T12:00:00.5Z", datetime(2026, 6, 30, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-06-30T12:00:00.123456Z", datetime(2026, 6, 30, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-06-30T12:00:00.123456789Z", datetime(2026, 6, 30, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-06-30T12:00:00+00:00", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30T15:00:00+03:00", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30T15:00:00+0300", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30T06:30:00-05:30", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30 12:00:00Z", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("2026-06-30T12:00Z", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("20260630T120000Z", datetime(2026, 6, 30, 12, tzinfo=UTC)),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1969-12-31T23:00:00-01:00", datetime(1970, 1, 1, tzinfo=UTC)),
        ("9998-12-31T23:59:59.999999Z", datetime(9998, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
    ],
)
def test_a_timestamp_is_read_as_aware_utc(text: str, moment: datetime) -> None:
    envelope = read(body(timestamp=text))

    assert envelope.notes == ()
    assert envelope.event.timestamp == moment
    assert envelope.event.timestamp is not None
    assert envelope.event.timestamp.utcoffset() == timedelta()


@pytest.mark.parametrize("text", ["2026-06-30T12:00:00", "2026-06-30T12:00:00.000", "2026-06-30 12:00"])
def test_a_timestamp_without_an_offset_is_taken_for_utc_and_noted(text: str) -> None:
    envelope = read(body(timestamp=text))

    assert envelope.notes == (Note.TIMESTAMP_NAIVE,)
    assert envelope.event.timestamp == datetime(2026, 6, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        ...,
        None,
        "",
        " ",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-06-30T25:00:00Z",
        "2026-06-30T12:00:60Z",
        "2026-06-30T12:00:00+25:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59Z",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00Z",
        "2026-06-30T12:00:00\ud800",
        "٢٠٢٦-06-30T12:00:00Z",
        "1" * 100_000,
        "1782820800",
        1_782_820_800,
        1_782_820_800.5,
        -1,
        10**30,
        True,
        [],
        ["2026-06-30T12:00:00Z"],
        {"seconds": 1},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_invalid_timestamp_is_noted_and_read_as_none(value: object) -> None:
    envelope = read(body(timestamp=value))

    assert Note.TIMESTAMP_UNUSABLE in envelope.notes
    assert envelope.event.timestamp is None
    assert envelope.is_readable


# Unreadable bodies


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        pytest.param(b"", Note.NOT_JSON, id="empty"),
        pytest.param(b" \n", Note.NOT_JSON, id="white space"),
        pytest.param(b"ticket", Note.NOT_JSON, id="a word"),
        pytest.param(b"{", Note.NOT_JSON, id="cut"),
        pytest.param(PAGE[:-1], Note.NOT_JSON, id="cut by one byte"),
        pytest.param(PAGE + b"}", Note.NOT_JSON, id="one brace too many"),
        pytest.param(PAGE + PAGE, Note.NOT_JSON, id="two documents"),
        pytest.param(b"{'event': 'ticket.created'}", Note.NOT_JSON, id="Python"),
        pytest.param(b'{"event": "a",}', Note.NOT_JSON, id="a comma too many"),
        pytest.param(b'{"event": "a\nb"}', Note.NOT_JSON, id="a line break in a text"),
        pytest.param(b'{"event": "a\x00b"}', Note.NOT_JSON, id="a raw NUL in a text"),
        pytest.param(b"event=ticket.created", Note.NOT_JSON, id="a form"),
        pytest.param(b"\xef\xbb\xbf", Note.NOT_JSON, id="a BOM alone"),
        pytest.param(b"\xef\xbb\xbf\xef\xbb\xbf{}", Note.NOT_JSON, id="two BOMs"),
        pytest.param(b'{"event": "\xff"}', Note.NOT_UTF8, id="a byte that UTF-8 does not have"),
        pytest.param(b'{"event": "\xed\xa0\x80"}', Note.NOT_UTF8, id="a surrogate as bytes"),
        pytest.param(b'{"event": "\xc0\x80"}', Note.NOT_UTF8, id="an overlong NUL"),
        pytest.param('{"event": "é"}'.encode("latin-1"), Note.NOT_UTF8, id="Latin-1"),
        pytest.param(PAGE.decode().encode("utf-16"), Note.NOT_UTF8, id="UTF-16 with a BOM"),
        pytest.param(b"\x1f\x8b\x08\x00", Note.NOT_UTF8, id="gzip"),
        pytest.param(b"[]", Note.NOT_OBJECT, id="a list"),
        pytest.param(b"[" + PAGE + b"]", Note.NOT_OBJECT, id="a list of one delivery"),
        pytest.param(b'"text"', Note.NOT_OBJECT, id="a text"),
        pytest.param(b"7", Note.NOT_OBJECT, id="a number"),
        pytest.param(b"null", Note.NOT_OBJECT, id="null"),
        pytest.param(b"true", Note.NOT_OBJECT, id="true"),
        pytest.param(b"NaN", Note.NOT_OBJECT, id="NaN"),
        pytest.param(with_data("9" * 4_301), Note.NUMBER_TOO_LONG, id="4,301 digits"),
        pytest.param(with_data("-" + "9" * 100_000), Note.NUMBER_TOO_LONG, id="100,000 digits"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, Note.TOO_DEEP, id="100,000 lists"),
        pytest.param(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, Note.TOO_DEEP, id="100,000 objects"),
        pytest.param(b"[" * 100_000, Note.TOO_DEEP, id="100,000 lists never closed"),
    ],
)
def test_an_unreadable_body_has_its_reason_as_note(raw: bytes, note: Note) -> None:
    envelope = read(raw)

    assert envelope.notes == (note,)
    assert not envelope.is_readable
    assert envelope.payload_json is None
    assert envelope.resource_id == ""
    assert (envelope.event.name, envelope.event.data, envelope.event.delivery_id) == ("", None, "")
    with pytest.raises(ValueError, match=f"{len(raw)} bytes.*{note.value}"):
        load_event(raw)


def test_reading_gives_every_note_except_those_of_the_inbox() -> None:
    """A new note needs its cases here. The inbox knows the columns (`CUT`) and what is stored (`CONTENT_DIFFERS`)."""
    given: set[Note] = set()
    for raw in (
        b"{}",
        b"",
        b"[]",
        b"\xff",
        body(timestamp="2026-06-30T12:00:00"),
        with_data("9" * 4_301),
        with_data("NaN"),
        without_metadata_objects(MAX_DEPTH + 1),
    ):
        given.update(read(raw).notes)
    assert given == set(Note) - {Note.CUT, Note.CONTENT_DIFFERS}


def test_a_bom_before_the_object_is_accepted() -> None:
    plain, marked = read(PAGE), read(b"\xef\xbb\xbf" + PAGE)

    assert marked == plain
    assert load_event(b"\xef\xbb\xbf" + PAGE) == load_event(PAGE)


def test_an_integer_of_4300_digits_is_read_exactly() -> None:
    envelope = read(with_data("9" * 4_300))

    assert envelope.event.data == 10**4_300 - 1
    assert envelope.notes == ()


@pytest.mark.parametrize("make", [nested, nested_objects, without_metadata_objects])
def test_a_body_is_readable_down_to_its_deepest_level_allowed(make: Any) -> None:
    assert read(make(MAX_DEPTH)).is_readable
    assert load_event(make(MAX_DEPTH)).data is not None
    assert read(make(MAX_DEPTH + 1)).notes == (Note.TOO_DEEP,)


def test_brackets_in_texts_are_no_levels() -> None:
    envelope = read(body(data={"subject": "[{" * 10_000}))

    assert envelope.notes == ()
    assert envelope.payload_json is not None


def test_the_last_of_duplicate_keys_counts_for_the_event_and_the_identity() -> None:
    raw = PAGE.replace(b'"delivery_id": "dlv_1"', b'"delivery_id": "dlv_0", "delivery_id": "dlv_1"')
    raw = raw.replace(b'"event": "ticket.created"', b'"event": "ticket.closed", "event": "ticket.created"')

    assert read(raw) == read(PAGE)


def test_long_texts_are_read_whole() -> None:
    envelope = read(body(event="e" * 300, organization_id="o" * 300, data={"id": "i" * 300}))

    assert (len(envelope.event.name), len(envelope.event.organization_id)) == (300, 300)
    assert len(envelope.resource_id) == 300
    assert envelope.notes == ()


# Payloads that a JSON column stores


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(with_data(r'"\u0000"'), id="a NUL"),
        pytest.param(with_data(r'"a\u0000b"'), id="a NUL inside"),
        pytest.param(with_data(r'{"a\u0000": 1}'), id="a NUL in a key"),
        pytest.param(with_data(r'[[{"a": ["\u0000"]}]]'), id="a NUL far inside"),
        pytest.param(body(event="a\x00b"), id="a NUL in the event"),
        pytest.param(with_metadata(delivery_id="\x00"), id="a NUL in the id"),
        pytest.param(with_metadata(**{"\x00": 1}), id="a NUL in a key of the metadata"),
        pytest.param(with_data(r'"\\\u0000"'), id="a NUL after a backslash"),
        pytest.param(with_data(r'"\ud800"'), id="a lone high surrogate"),
        pytest.param(with_data(r'"\uDBFF"'), id="a lone high surrogate, upper case"),
        pytest.param(with_data(r'"\udc00"'), id="a lone low surrogate"),
        pytest.param(with_data(r'"\uDfFf"'), id="a lone low surrogate, mixed case"),
        pytest.param(with_data(r'"\ud83dx\ude00"'), id="a pair torn apart"),
        pytest.param(with_data(r'"\ude00\ud83d"'), id="a pair the wrong way round"),
        pytest.param(with_data(r'"\ud83d\ud83d\ude00"'), id="half a pair before a pair"),
        pytest.param(with_data(r'"\ud83d\ude00\ude00"'), id="half a pair after a pair"),
        pytest.param(with_data(r'"\\ud83d\ude00"'), id="half a pair after an escaped backslash"),
        pytest.param(with_data(r'{"\ud800": 1}'), id="a lone surrogate in a key"),
        pytest.param(with_data(r'[{"a": {"\udfff": []}}]'), id="a lone surrogate in a key far inside"),
        pytest.param(with_data("NaN"), id="NaN"),
        pytest.param(with_data("Infinity"), id="Infinity"),
        pytest.param(with_data("-Infinity"), id="-Infinity"),
        pytest.param(with_data("1e400"), id="1e400"),
        pytest.param(with_data("-1e400"), id="-1e400"),
        pytest.param(with_data('[[1, {"a": 1e309}]]'), id="1e309 far inside"),
        pytest.param(nested(MAX_COLUMN_DEPTH + 1), id="32 levels"),
        pytest.param(nested_objects(MAX_COLUMN_DEPTH + 1), id="32 levels of objects"),
        pytest.param(without_metadata_objects(MAX_COLUMN_DEPTH + 1), id="32 levels, one branch"),
        pytest.param(with_data('"' + "x" * MAX_COLUMN_BYTES + '"'), id="more than a mebibyte"),
    ],
)
def test_a_payload_that_no_json_column_stores_is_noted_and_read_from_the_bytes(raw: bytes) -> None:
    envelope = read(raw)

    assert envelope.payload_json is None
    assert Note.PAYLOAD_NOT_QUERYABLE in envelope.notes
    assert envelope.is_readable
    assert repr(load_event(raw).data) == repr(json.loads(raw).get("data"))


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        pytest.param(r'"\ud83d\ude00"', "😀", id="a surrogate pair"),
        pytest.param(r'"\uD83D\uDE00"', "😀", id="a surrogate pair, upper case"),
        pytest.param(r'{"\ud83d\ude00": 1}', {"😀": 1}, id="a surrogate pair in a key"),
        pytest.param(r'"\\u0000"', r"\u0000", id="an escaped backslash before u0000"),
        pytest.param(r'"\\\\u0000"', r"\\u0000", id="two escaped backslashes before u0000"),
        pytest.param(r'"\\ud800"', r"\ud800", id="an escaped backslash before ud800"),
        pytest.param(r'"\\\ud83d\ude00"', "\\😀", id="a surrogate pair after an escaped backslash"),
        pytest.param(r'"\u0001\u001f\u007f"', "\x01\x1f\x7f", id="other control characters"),
        pytest.param(r'"\ud7ff\ue000\ufffe\uffff"', "\ud7ff\ue000\ufffe\uffff", id="beside the surrogates"),
        pytest.param('"😀 مرحبا é"', "😀 مرحبا é", id="text as UTF-8"),
        pytest.param('{"a.b": 1, "%s": 2, "$": 3, "a\\"b": 4, "": 5}', None, id="odd keys"),
        pytest.param("1e308", 1e308, id="1e308"),
        pytest.param("1e22", 1e22, id="1e22"),
        pytest.param("-0.0", -0.0, id="-0.0"),
        pytest.param("123456789012345678901234567890", 123456789012345678901234567890, id="30 digits"),
        pytest.param("0.1", 0.1, id="0.1"),
        pytest.param('"NaN"', "NaN", id="NaN as text"),
        pytest.param('{"NaN": "Infinity"}', {"NaN": "Infinity"}, id="NaN and Infinity as text"),
    ],
)
def test_a_payload_that_a_json_column_stores_is_not_noted(raw: str, data: object) -> None:
    envelope = read(with_data(raw))

    assert envelope.notes == ()
    assert envelope.payload_json is not None
    assert json.loads(envelope.payload_json) == json.loads(with_data(raw))
    if data is not None:
        assert json.loads(envelope.payload_json)["data"] == data


@pytest.mark.parametrize("make", [nested, without_metadata_objects])
def test_31_levels_are_kept_in_the_column(make: Any) -> None:
    envelope = read(make(MAX_COLUMN_DEPTH))

    assert MAX_COLUMN_DEPTH == 31
    assert Note.PAYLOAD_NOT_QUERYABLE not in envelope.notes
    assert envelope.payload_json is not None


def test_a_body_of_a_mebibyte_is_kept_in_the_column() -> None:
    raw = with_data('"' + "x" * (MAX_COLUMN_BYTES - len(with_data('""'))) + '"')

    assert len(raw) == 1024 * 1024
    assert read(raw).payload_json is not None


def test_many_shallow_brackets_are_no_depth() -> None:
    assert read(with_data("[" + ",".join(["{}"] * 5_000) + "]")).notes == ()


@pytest.mark.parametrize(
    ("text", "limit", "expected"),
    [
        ("ticket", 10, "ticket"),
        ("ticket", 6, "ticket"),
        ("ticket", 5, "ticke"),
        ("a\x00b", 5, "a\ufffdb"),
        ("\ud800\udfff", 5, "\ufffd\ufffd"),
        ("😀😀", 1, "😀"),
        ("مرحبا", 3, "مرح"),
        ("", 5, ""),
    ],
)
def test_a_text_is_cut_to_its_column_without_characters_that_no_database_stores(
    text: str, limit: int, expected: str
) -> None:
    assert column_text(text, limit) == expected


# Identity


def test_every_identity_is_a_sha256_in_hex() -> None:
    for raw in (PAGE, b"", b"{}", with_metadata(delivery_id="x" * 10_000)):
        assert re.fullmatch("[0-9a-f]{64}", read(raw).identity)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(7, "7", id="an integer and its text"),
        pytest.param("7", "07", id="a leading zero"),
        pytest.param("abc", "ABC", id="case"),
        pytest.param("abc", "abc ", id="a trailing space"),
        pytest.param("abc", " abc", id="a leading space"),
        pytest.param("e", "é", id="an accent"),
        pytest.param("é", "e\u0301", id="composed and decomposed"),
        pytest.param("😀", "😁", id="emoji"),
        pytest.param("ß", "ss", id="sharp s"),
        pytest.param("ي", "ى", id="Arabic yeh"),
        pytest.param("a\x00b", "a\x00c", id="after a NUL"),
        pytest.param("\ud800", "\ud801", id="lone surrogates"),
        pytest.param("\ud800", "\ufffd", id="a lone surrogate and the replacement"),
        pytest.param("x" * 10_000 + "1", "x" * 10_000 + "2", id="the last of 10,001 characters"),
        pytest.param(0, "", id="zero and nothing"),
        pytest.param(1, "1.0", id="one and 1.0"),
    ],
)
def test_ids_that_differ_in_anything_have_different_identities(one: object, other: object) -> None:
    assert read(with_metadata(delivery_id=one)).identity != read(with_metadata(delivery_id=other)).identity


def test_the_id_alone_is_the_identity_whatever_else_changes() -> None:
    first = read(PAGE).identity

    assert read(with_metadata(attempt=2)).identity == first
    assert read(with_metadata(attempt=..., version=...)).identity == first
    assert read(body(event="lead.created", data=[], timestamp=7)).identity == first


UNUSABLE: list[object] = [..., None, "", True, 7.0, [], {}]


@pytest.mark.parametrize("value", UNUSABLE)
def test_without_a_usable_id_the_identity_stays_the_same_over_the_attempts(value: object) -> None:
    first = read(with_metadata(delivery_id=value, attempt=1)).identity

    assert read(with_metadata(delivery_id=value, attempt=2)).identity == first
    assert read(with_metadata(delivery_id=value, attempt=..., version="2.0")).identity == first
    assert read(with_metadata(delivery_id=value, attempt=2, sent_at="2026-06-30T13:00:00Z")).identity == first


def test_without_a_usable_id_neither_white_space_nor_the_order_of_keys_counts() -> None:
    raw = document(metadata={"attempt": 1})
    turned = {key: raw[key] for key in reversed(raw)} | {"data": dict(reversed(raw["data"].items()))}

    compact = json.dumps(raw, separators=(",", ":")).encode()
    pretty = json.dumps(turned, indent=4).encode()

    assert read(compact).identity == read(pretty).identity


@pytest.mark.parametrize("value", UNUSABLE)
@pytest.mark.parametrize(
    "change",
    [
        {"event": "ticket.closed"},
        {"timestamp": "2026-06-30T12:00:01Z"},
        {"timestamp": "2026-06-30T12:00:00.000Z"},
        {"organization_id": "org_2"},
        {"data": {"id": "tkt_2", "subject": "Help"}},
        {"data": {"id": "tkt_1", "subject": "Help", "more": None}},
        {"data": ["tkt_1"]},
    ],
    ids=str,
)
def test_without_a_usable_id_another_content_is_another_delivery(value: object, change: dict[str, object]) -> None:
    metadata = {} if value is ... else {"delivery_id": value}

    assert read(body(metadata=metadata)).identity != read(body(metadata=metadata, **change)).identity


@pytest.mark.parametrize("data", [1, 1.0, True, "1", [1]], ids=repr)
def test_without_a_usable_id_types_of_one_are_distinguished(data: object) -> None:
    others: list[object] = [1, 1.0, True, "1", [1]]

    same = [
        other
        for other in others
        if read(body(metadata={}, data=other)).identity == read(body(metadata={}, data=data)).identity
    ]

    assert [repr(each) for each in same] == [repr(data)]


@pytest.mark.parametrize(
    "raw", ["NaN", "1e400", r'"\ud800"', r'"\u0000"', "9" * 4_300, "[" * 400 + "]" * 400], ids=lambda raw: raw[:8]
)
def test_unusual_content_has_an_identity_that_is_the_same_for_every_attempt(raw: str) -> None:
    first = with_data(raw).replace(b'"dlv_1"', b"null")
    second = first.replace(b'"attempt": 1', b'"attempt": 2')

    assert first != second
    assert read(first).is_readable
    assert read(first).identity == read(second).identity
    assert read(first).identity != read(body(data=None, metadata={})).identity


def test_an_unreadable_body_is_identified_by_its_bytes() -> None:
    assert read(b"[]").identity == read(b"[]").identity
    assert len({read(raw).identity for raw in (b"", b"[]", b"[] ", b"[ ]", b"\xff", b"\xfe", b"{")}) == 7


def test_no_id_has_the_identity_of_a_content_or_a_body() -> None:
    nameless = body(metadata={})
    content = json.dumps(
        [document()[key] for key in ("event", "timestamp", "organization_id", "data")],
        sort_keys=True,
        separators=(",", ":"),
    )
    taken = {read(nameless).identity, read(b"[]").identity, identity_of_id(7), identity_of_id("7")}
    assert len(taken) == 4

    for kind in ("", ":", "int", "str", "bytes", "content"):
        for value in ("7", "[]", content, nameless.decode(), *taken):
            for separator in ("", ":", "\x00", " "):
                chosen = kind + separator + value
                if chosen != "7":
                    assert identity_of_id(chosen) not in taken


def test_an_identity_is_not_the_plain_hash_of_the_id() -> None:
    assert identity_of_id("dlv_1") != hashlib.sha256(b"dlv_1").hexdigest()


# Loading again


def test_each_load_gives_fresh_data() -> None:
    first, second = load_event(PAGE), load_event(PAGE)
    first.data["subject"] = "changed"
    first.data["more"] = [1]

    assert second.data == {"id": "tkt_1", "subject": "Help"}
    assert load_event(PAGE).data == {"id": "tkt_1", "subject": "Help"}


def test_a_loaded_event_is_the_one_that_was_read() -> None:
    assert load_event(PAGE) == read(PAGE).event


def test_numbers_come_from_the_bytes_as_they_were_sent() -> None:
    data = load_event(with_data("[1e22, -0.0, 1.0, 1, 12345678901234567890.5, 123456789012345678901]")).data

    assert [type(each) for each in data] == [float, float, float, int, float, int]
    assert math.copysign(1, data[1]) == -1
    assert data[5] == 123456789012345678901


# Totality

NUMBERS = [0, -1, 7, 2**31, 2**63, 10**400, -0.0, 1.5, float("nan"), float("inf"), float("-inf")]
TIMES = ["2026-06-30T12:00:00", "9999-12-31T23:59:59-14:00"]
TEXTS = ["", " ", "\x00", "\ud800", "\udfff", "😀", "x" * 10_000, "ticket.created", *TIMES]
NESTED = [[], {}, [[[]]], {"": {"": {}}}, {"\x00": 1}, {"\ud800": [1]}, {"id": {"id": 1}}]
NASTY: list[Any] = [None, True, False, *NUMBERS, *TEXTS, *NESTED]


def nasty_documents(count: int, seed: int) -> Iterator[Any]:
    """Envelopes with values replaced, keys dropped, moved and added."""
    dice = random.Random(seed)
    for _ in range(count):
        whole = copy.deepcopy(document())
        for _ in range(dice.randrange(1, 5)):
            place: Any = dice.choice([whole, whole.get("metadata"), whole.get("data")])
            if not isinstance(place, dict):
                continue
            key = dice.choice([*place, "event", "timestamp", "metadata", "delivery_id", "attempt", "id", "\x00", "new"])
            if dice.random() < 0.2:
                place.pop(key, None)
            else:
                place[key] = copy.deepcopy(dice.choice(NASTY))
        yield whole


def mutated_bytes(count: int, seed: int) -> Iterator[bytes]:
    """Bodies with bytes flipped, cut, doubled and put in."""
    dice = random.Random(seed)
    pieces = [b"\x00", b"\xff", b'"', b"\\", b"{", b"}", b"[", b",", b":", b"\\u0000", b"\\ud800", b"1e999", b"NaN"]
    for _ in range(count):
        raw = bytearray(PAGE)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(raw) + 1)
            until = min(at + dice.randrange(1, 20), len(raw))
            how = dice.randrange(4)
            if how == 0 and at < len(raw):
                raw[at] ^= 1 << dice.randrange(8)
            elif how == 1:
                del raw[at:until]
            elif how == 2:
                raw[at:at] = raw[at:until]
            else:
                raw[at:at] = dice.choice(pieces)
        yield bytes(raw)


def refuse_constant(name: str) -> float:
    raise AssertionError(f"{name} is no JSON")


def deepest(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((deepest(each) for each in value.values()), default=0)
    return 1 + max((deepest(each) for each in value), default=0) if isinstance(value, list) else 0


def assert_sound(raw: bytes, envelope: Envelope) -> None:
    """What holds for whatever was read."""
    event = envelope.event
    assert re.fullmatch("[0-9a-f]{64}", envelope.identity)
    assert len(set(envelope.notes)) == len(envelope.notes)
    for text in (event.name, event.organization_id, event.delivery_id, event.version, envelope.resource_id):
        assert isinstance(text, str)
    assert event.attempt is None or 1 <= event.attempt <= MAX_ATTEMPT
    assert event.timestamp is None or event.timestamp.utcoffset() == timedelta()
    if not envelope.is_readable:
        assert len(envelope.notes) == 1
        assert envelope.payload_json is None
        with pytest.raises(ValueError, match="not a readable delivery"):
            load_event(raw)
        return
    assert repr(load_event(raw)) == repr(event)
    assert (envelope.payload_json is None) == (Note.PAYLOAD_NOT_QUERYABLE in envelope.notes)
    if envelope.payload_json is not None:
        kept = json.loads(envelope.payload_json, parse_constant=refuse_constant)
        assert kept == json.loads(raw.decode("utf-8-sig"))
        assert deepest(kept) <= MAX_COLUMN_DEPTH
        assert not re.search("[\x00\ud800-\udfff]", json.dumps(kept, ensure_ascii=False).replace("\\u0000", "\x00"))


def test_reading_is_total_over_nasty_documents() -> None:
    readable = 0
    for whole in nasty_documents(3_000, seed=20260630):
        raw = json.dumps(whole).encode()
        envelope = read(raw)
        assert_sound(raw, envelope)
        readable += envelope.is_readable
    assert readable == 3_000


def test_reading_is_total_over_mutated_bytes() -> None:
    outcomes = set()
    for raw in mutated_bytes(5_000, seed=20260701):
        envelope = read(raw)
        assert_sound(raw, envelope)
        outcomes.add(envelope.is_readable)
    assert outcomes == {True, False}


def test_reading_is_total_over_random_bytes() -> None:
    dice = random.Random(20260702)
    for _ in range(3_000):
        raw = dice.randbytes(dice.randrange(60))
        assert_sound(raw, read(raw))


def test_sqlite_accepts_every_payload_for_the_column() -> None:
    database = sqlite3.connect(":memory:")
    taken = 0
    for whole in nasty_documents(500, seed=20260703):
        payload = read(json.dumps(whole).encode()).payload_json
        if payload is not None:
            assert database.execute("SELECT json_valid(?)", [payload]).fetchone() == (1,), payload
            taken += 1
    database.close()
    assert taken > 100
