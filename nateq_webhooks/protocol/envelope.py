"""The body of a delivery (Nateq: Payload), parsed into an event, an identity and notes.

`read` returns an `Envelope` for any bytes. Only this module reads the envelope's keys (`examples` writes them).
`verbatim` parses the same JSON for display.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.protocol.columns import deeper_than, is_column_json
from nateq_webhooks.protocol.events import Event

MAX_DEPTH: Final = 500
"""Nesting that Python can load inside a receiver, too: its limit is 1,000 frames, the stack included."""

MAX_ATTEMPT: Final = 2**31 - 1
"""The largest number that the column of every database holds."""


class Note(StrEnum):
    """What is unusual about a stored delivery, or why it is unreadable."""

    NOT_UTF8 = "not_utf8"
    """The body is not UTF-8."""
    NOT_JSON = "not_json"
    """The body is not JSON."""
    NOT_OBJECT = "not_object"
    """The body is JSON, but not an object."""
    TOO_DEEP = "too_deep"
    """The body is nested deeper than `MAX_DEPTH`."""
    NUMBER_TOO_LONG = "number_too_long"
    """A number has more digits than Python reads (4,300)."""
    EVENT_UNUSABLE = "event_unusable"
    """`event` is missing, empty or not text."""
    TIMESTAMP_UNUSABLE = "timestamp_unusable"
    """`timestamp` is missing or not an ISO 8601 time between 1970 and 9998."""
    TIMESTAMP_NAIVE = "timestamp_naive"
    """`timestamp` has no offset; UTC was assumed."""
    ORGANIZATION_UNUSABLE = "organization_unusable"
    """`organization_id` is missing, empty or not text."""
    DATA_MISSING = "data_missing"
    """There is no `data`."""
    METADATA_UNUSABLE = "metadata_unusable"
    """`metadata` is missing or not an object."""
    DELIVERY_ID_UNUSABLE = "delivery_id_unusable"
    """`delivery_id` is missing, empty, or neither text nor an integer: the content is the identity."""
    ATTEMPT_UNUSABLE = "attempt_unusable"
    """`attempt` is missing or not a whole number from 1."""
    VERSION_UNUSABLE = "version_unusable"
    """`version` is missing or not text."""
    PAYLOAD_NOT_QUERYABLE = "payload_not_queryable"
    """No JSON column stores this payload (NUL, lone surrogate, NaN, nesting, size); receivers get it from the bytes."""
    CUT = "cut"
    """A text is longer than its column, or has a character that no database stores; the bytes are complete."""
    CONTENT_DIFFERS = "content_differs"
    """The sender repeated the delivery id with other content, which is kept in `OtherContent`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Envelope:
    """A parsed body: its event, its identity, and the payload for a JSON column.

    `identity` is the hex SHA-256 of the tagged delivery id, `content_hash` that of the content, which is the same for
    every attempt of the sender (ours: docs/reference/protocol.md). `payload_json` is the whole body as strict JSON text
    that the JSON columns of all databases store; None if there is none. A body that is not a JSON object or that Python
    can't parse has `is_readable` False, an empty event, and the reason as its note.
    """

    event: Event
    identity: str
    content_hash: str
    resource_id: str
    payload_json: str | None
    notes: tuple[Note, ...]
    is_readable: bool = True


def read(body: bytes, *, by_content: bool = False) -> Envelope:
    """Parse a delivery's body. Never raises. `by_content`: the content is the identity, not the delivery id."""
    document = _load(body)
    if isinstance(document, Note):
        content_hash = _identity("bytes", body)
        return Envelope(
            event=_NO_EVENT,
            identity=content_hash,
            content_hash=content_hash,
            resource_id="",
            payload_json=None,
            notes=(document,),
            is_readable=False,
        )
    notes: list[Note] = []
    event = _event(document, notes)
    texts, is_strict = _canonical_texts(document)
    content_hash = _identity_of_content(texts)
    payload_json = _object(texts) if is_strict and is_column_json(body, document) else None
    if payload_json is None:
        notes.append(Note.PAYLOAD_NOT_QUERYABLE)
    return Envelope(
        event=event,
        identity=content_hash if by_content else _identity_of_id(document) or content_hash,
        content_hash=content_hash,
        resource_id=_resource_id(event.data),
        payload_json=payload_json,
        notes=tuple(notes),
    )


_NO_EVENT: Final = Event(
    name="", timestamp=None, organization_id="", data=None, delivery_id="", attempt=None, version=""
)


def load_event(body: bytes) -> Event:
    """Parse the event of a stored body; callers share no mutable value.

    Raises `ValueError` if the body is unreadable (`Envelope.is_readable`).
    """
    document = _load(body)
    if isinstance(document, Note):
        raise ValueError(f"The stored body ({len(body)} bytes) is not a readable delivery: {document.value}.")
    return _event(document, [])


def value_at(body: bytes, path: str) -> str | None:
    """Return the value at a dotted path in the envelope as canonical JSON text, so that two can be compared.

    An example of `path` is "data.conversation_id". None if there is no value, it is null, or the body is unreadable.
    """
    value: object = _load(body)
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return None if value is None else _CANONICAL.encode(value)


def load_document(body: bytes) -> dict[str, Any] | None:
    """Return the whole document of a body, which the caller may change; None if the body is unreadable."""
    document = _load(body)
    return None if isinstance(document, Note) else document


def content_hash(body: bytes) -> str:
    """Return the hash of a body's content without its delivery id and attempt: `Envelope.content_hash`."""
    document = _load(body)
    if isinstance(document, Note):
        return _identity("bytes", body)
    return _identity_of_content(_canonical_texts(document)[0])


def identity_of_id(delivery_id: str | int) -> str:
    """Return the identity of a delivery with this id. Text and integer differ; case and accents count."""
    if isinstance(delivery_id, int):
        return _identity("int", str(delivery_id).encode())
    return _identity("str", delivery_id.encode("utf-8", "surrogatepass"))


def _load(body: bytes) -> dict[str, Any] | Note:
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return Note.NOT_UTF8
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return Note.NOT_JSON
    except ValueError:
        return Note.NUMBER_TOO_LONG
    except RecursionError:
        return Note.TOO_DEEP
    if not isinstance(document, dict):
        return Note.NOT_OBJECT
    return Note.TOO_DEEP if deeper_than(document, MAX_DEPTH, body) else document


def _event(document: Mapping[str, Any], notes: list[Note]) -> Event:
    """Build the event from the document; add a note for each unusable key."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        notes.append(Note.METADATA_UNUSABLE)
        metadata = {}
    if "data" not in document:
        notes.append(Note.DATA_MISSING)
    delivery_id = _usable_id(metadata)
    if delivery_id is None:
        notes.append(Note.DELIVERY_ID_UNUSABLE)
    return Event(
        name=_text(document, "event", Note.EVENT_UNUSABLE, notes),
        timestamp=_timestamp(document.get("timestamp"), notes),
        organization_id=_text(document, "organization_id", Note.ORGANIZATION_UNUSABLE, notes),
        data=document.get("data"),
        delivery_id="" if delivery_id is None else str(delivery_id),
        attempt=_attempt(metadata, notes),
        version=_text(metadata, "version", Note.VERSION_UNUSABLE, notes),
    )


def _text(source: Mapping[str, Any], key: str, note: Note, notes: list[Note]) -> str:
    value = source.get(key)
    if isinstance(value, str) and value:
        return value
    notes.append(note)
    return ""


def _timestamp(value: object, notes: list[Note]) -> datetime | None:
    try:
        if not isinstance(value, str):
            raise TypeError
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            notes.append(Note.TIMESTAMP_NAIVE)
            moment = moment.replace(tzinfo=UTC)
        moment = moment.astimezone(UTC)
        # Only years that MariaDB stores and that a conversion to any time zone leaves valid.
        if 1970 <= moment.year <= 9998:
            return moment
    except (TypeError, ValueError, OverflowError):
        pass
    notes.append(Note.TIMESTAMP_UNUSABLE)
    return None


def _attempt(metadata: Mapping[str, Any], notes: list[Note]) -> int | None:
    value = metadata.get("attempt")
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_ATTEMPT:
        return value
    notes.append(Note.ATTEMPT_UNUSABLE)
    return None


def _usable_id(metadata: Mapping[str, Any]) -> str | int | None:
    value = metadata.get("delivery_id")
    if isinstance(value, str):
        return value or None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _resource_id(data: object) -> str:
    """Return `data.id` as text; empty if it is missing or neither text nor an integer."""
    value = data.get("id") if isinstance(data, dict) else None
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _identity_of_id(document: Mapping[str, Any]) -> str | None:
    """Return the identity of the delivery id; None if it is missing or unusable."""
    metadata = document.get("metadata")
    delivery_id = _usable_id(metadata) if isinstance(metadata, dict) else None
    return None if delivery_id is None else identity_of_id(delivery_id)


def _identity_of_content(texts: Mapping[str, str]) -> str:
    """Return the hash of the values that are the same in every attempt of the sender, even under other ids.

    The values as Python parses them: white space, escapes, the order of keys and the notation of a number don't matter
    (of duplicate keys the last counts). An integer and a float differ (1 and 1.0), as do two notations of one time. A
    missing key counts as null.
    """
    content = ",".join(texts.get(key, "null") for key in ("event", "timestamp", "organization_id", "data"))
    return _identity("content", f"[{content}]".encode())


def _canonical_texts(document: Mapping[str, Any]) -> tuple[dict[str, str], bool]:
    """Return each value of the document as the same text for the same value, and whether that is strict JSON.

    It is not if a value holds NaN or an infinity. The hash of the content and the payload's column share these texts.
    """
    try:
        return {key: _STRICT.encode(value) for key, value in document.items()}, True
    except ValueError:
        return {key: _CANONICAL.encode(value) for key, value in document.items()}, False


def _object(texts: Mapping[str, str]) -> str:
    members = ",".join([f"{_CANONICAL.encode(key)}:{text}" for key, text in texts.items()])
    return f"{{{members}}}"


_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
_STRICT: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def _identity(tag: str, value: bytes) -> str:
    """Hash a tagged value; because of the tag an id, a content and a body never have the same identity."""
    return hashlib.sha256(tag.encode() + b":" + value).hexdigest()
