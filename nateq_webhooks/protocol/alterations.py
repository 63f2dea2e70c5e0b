"""Bodies that a proxy changed: what the sender may have signed before the body was changed on the way.

`originals` handles all bytes and is bounded in time and memory: it yields at most some hundred candidates, one at a
time. A change that loses information (1.50 written as 1.5, another order of the keys in `data`) can't be undone.
"""

import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

MAX_INDENTED_CHARS: Final = 16 * 1024
"""Larger documents are not tried with line breaks: Python writes them slowly, and deep nesting multiplies them."""

MAX_INFLATED_BYTES: Final = 1024 * 1024
"""Nothing is decompressed to more than this: 64 KiB can hold 64 MiB of zeros."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS

_BOM: Final = b"\xef\xbb\xbf"


class Alteration(StrEnum):
    """What was done to a body."""

    LINE_ENDS = "line_ends"
    """Line breaks, or the white space or byte order mark at its ends, were changed."""
    COMPRESSED = "compressed"
    DECOMPRESSED = "decompressed"
    RESERIALIZED = "reserialized"
    """Its JSON was parsed and written again: other white space, escapes or order of keys."""


@dataclass(frozen=True, slots=True)
class Original:
    """A possible original body and what was done to it. Its repr does not show the body."""

    body: bytes = field(repr=False)
    alteration: Alteration


def originals(body: bytes) -> Iterator[Original]:
    """Yield possible originals of a body, probable ones first, none twice, and never the body itself."""
    seen = {hash(body)}
    for alteration, candidates in (
        (Alteration.LINE_ENDS, _with_other_line_ends(body)),
        (Alteration.COMPRESSED, _decompressed(body)),
        (Alteration.RESERIALIZED, _serialized(body)),
        (Alteration.DECOMPRESSED, _compressed(body)),
    ):
        for candidate in candidates:
            if hash(candidate) not in seen:
                seen.add(hash(candidate))
                yield Original(candidate, alteration)


def _with_other_line_ends(body: bytes) -> Iterator[bytes]:
    unix = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for text in (body, unix, unix.replace(b"\n", b"\r\n")):
        stripped = text.removeprefix(_BOM).strip()
        for ended in (text, text.removeprefix(_BOM), stripped, stripped + b"\n", stripped + b"\r\n"):
            yield ended
            yield _BOM + ended


def _decompressed(body: bytes) -> Iterator[bytes]:
    for window in (_GZIP, _ZLIB, _RAW):
        decompressor = zlib.decompressobj(window)
        try:
            plain = decompressor.decompress(body, MAX_INFLATED_BYTES)
        except zlib.error:
            continue
        if decompressor.eof and not decompressor.unused_data:
            yield plain


def _compressed(body: bytes) -> Iterator[bytes]:
    """Yield the body compressed with the usual levels; a gzip header with a time in it can't be guessed."""
    for level, window in itertools.product((6, 9, 1), (_GZIP, _ZLIB)):
        packed = zlib.compress(body, level, window)
        yield packed
        if window == _GZIP:  # libraries write other bytes for the level and the operating system
            yield from (packed[:8] + bytes([flags, system]) + packed[10:] for flags in (0, 2, 4) for system in (255, 3))


def _serialized(body: bytes) -> Iterator[bytes]:
    """Yield its JSON as common libraries write it, with its keys in the received order and in Nateq's."""
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return
    for ordered, is_ascii in itertools.product((document, _in_published_order(document)), (False, True)):
        for text in _styles(ordered, is_ascii=is_ascii):
            html = text
            for character in "<>&\u2028\u2029":
                html = html.replace(character, f"\\u{ord(character):04x}")
            # Plain, as PHP escapes it, and as Go and Ruby do.
            for escaped in (text, text.replace("/", "\\/"), html):
                with suppress(UnicodeEncodeError):  # half of a surrogate pair, which only JSON's escapes can write
                    yield escaped.encode()


def _styles(document: Any, *, is_ascii: bool) -> Iterator[str]:
    try:
        for separators in ((",", ":"), (", ", ": ")):
            yield json.dumps(document, separators=separators, ensure_ascii=is_ascii)
        for indent in (2, 4):
            if text := _indented(document, indent, is_ascii=is_ascii):
                yield text
    except RecursionError:
        return


def _indented(document: Any, indent: int, *, is_ascii: bool) -> str:
    """Return the document with line breaks; nothing if it becomes too large."""
    parts: list[str] = []
    left = MAX_INDENTED_CHARS
    for part in json.JSONEncoder(indent=indent, ensure_ascii=is_ascii).iterencode(document):
        left -= len(part)
        if left < 0:
            return ""
        parts.append(part)
    return "".join(parts)


def _in_published_order(document: Any) -> Any:
    """Return the envelope with its keys in the order of Nateq's page; what reads and writes JSON may sort them."""
    if not isinstance(document, dict):
        return document
    envelope = _ordered(document, ("event", "timestamp", "organization_id", "data", "metadata"))
    if isinstance(metadata := envelope.get("metadata"), dict):
        envelope["metadata"] = _ordered(metadata, ("delivery_id", "attempt", "version"))
    return envelope


def _ordered(source: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: source[key] for key in keys if key in source} | dict(source)
