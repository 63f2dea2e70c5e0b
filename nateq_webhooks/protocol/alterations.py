"""What something on the way may have done to a body, undone: each candidate may be what the sender signed.

`originals` is total over all bytes and bounded in time and memory: at most some two thousand candidates, made one at a
time. What was lost for good (1.50 written as 1.5) can't be undone.
"""

import itertools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.protocol.compression import deflated, inflated
from nateq_webhooks.protocol.key_orders import likely_orders, permuted_orders

MAX_INDENTED_CHARS: Final = 16 * 1024
"""Larger documents are not tried with line breaks: Python writes them slowly, and deep nesting multiplies them."""

MAX_PERMUTED_BYTES: Final = 8 * 1024
"""Of larger documents only the likely orders of keys are tried."""


class Alteration(StrEnum):
    """What was done to a body."""

    NEWLINE_ADDED = "newline_added"
    NEWLINE_STRIPPED = "newline_stripped"
    BOM_ADDED = "bom_added"
    BOM_STRIPPED = "bom_stripped"
    LINE_ENDS = "line_ends"
    """CR LF became LF, or the other way round."""
    COMPRESSED = "compressed"
    DECOMPRESSED = "decompressed"
    WHITE_SPACE = "white_space"
    """The white space around it or between the tokens of its JSON."""
    KEY_ORDER = "key_order"
    ESCAPES = "escapes"
    """How characters are written inside strings: as they are, or as `\\u0623`, `\\/`, `\\u003c`."""
    NUMBERS = "numbers"
    """JSON that says the same, but writes a number or something else another way."""


@dataclass(frozen=True, slots=True)
class Original:
    """What a body may have been before, and what then was done to it. Its repr does not show the body."""

    body: bytes = field(repr=False)
    alterations: tuple[Alteration, ...]


def originals(body: bytes, *, seconds: int) -> Iterator[Original]:
    """Yield what a body may have been, likely ones first, none twice, and never the body itself.

    `seconds` is when it came (Unix time): a sender that compressed it may have written the time into it.
    """
    seen = {hash(body)}
    for original in itertools.chain(_framed(body), _inflated(body), _rewritten(body), _deflated(body, seconds)):
        if hash(original.body) not in seen:
            seen.add(hash(original.body))
            yield original


_BOM: Final = b"\xef\xbb\xbf"


def _framed(body: bytes) -> Iterator[Original]:
    """Yield it with other line ends, another end, with or without a byte order mark, and all together."""
    for text, lines in _with_other_lines(body):
        for trimmed, end in _with_another_end(text):
            yield Original(trimmed, lines + end)
            if trimmed.startswith(_BOM):
                yield Original(trimmed.removeprefix(_BOM), (*lines, *end, Alteration.BOM_ADDED))
            else:
                yield Original(_BOM + trimmed, (*lines, *end, Alteration.BOM_STRIPPED))


def _with_other_lines(body: bytes) -> Iterator[tuple[bytes, tuple[Alteration, ...]]]:
    yield body, ()
    if b"\n" in body or b"\r" in body:
        unix = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        yield unix, (Alteration.LINE_ENDS,)
        yield unix.replace(b"\n", b"\r\n"), (Alteration.LINE_ENDS,)


def _with_another_end(body: bytes) -> Iterator[tuple[bytes, tuple[Alteration, ...]]]:
    yield body, ()
    if body.endswith(b"\n"):
        yield body.removesuffix(b"\n").removesuffix(b"\r"), (Alteration.NEWLINE_ADDED,)
    yield body + b"\n", (Alteration.NEWLINE_STRIPPED,)
    yield body + b"\r\n", (Alteration.NEWLINE_STRIPPED,)
    yield body.strip(), (Alteration.WHITE_SPACE,)


def _inflated(body: bytes) -> Iterator[Original]:
    return (Original(plain, (Alteration.COMPRESSED,)) for plain in inflated(body))


def _deflated(body: bytes, seconds: int) -> Iterator[Original]:
    return (Original(packed, (Alteration.DECOMPRESSED,)) for packed in deflated(body, seconds))


def _rewritten(body: bytes) -> Iterator[Original]:
    """Yield its JSON, written in other ways."""
    try:
        text = body.decode("utf-8-sig")
        document = json.loads(text)
    except (ValueError, RecursionError):
        return
    for other in itertools.chain(_respaced(text), _restyled(document)):
        if original := _encoded(other):
            yield Original(original, _difference(text, other) or (Alteration.NUMBERS,))
    permuted = permuted_orders(document) if len(body) <= MAX_PERMUTED_BYTES else ()
    for other in itertools.chain(
        itertools.chain.from_iterable(map(_restyled, likely_orders(document))),
        itertools.chain.from_iterable(map(_on_one_line, permuted)),
    ):
        if original := _encoded(other):
            yield Original(original, (Alteration.KEY_ORDER, *_difference(text, other)))


def _encoded(text: str) -> bytes | None:
    try:
        return text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which the escapes of JSON can say and UTF-8 can't
        return None


_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[:,]|[ \t\r\n]+')


def _respaced(text: str) -> Iterator[str]:
    """Yield valid JSON with other white space and everything else as it is, however its numbers are written.

    Only for what has been parsed: in anything else a quote without an end makes the search slow.
    """
    compact = _TOKEN.sub(lambda found: "" if found[0][0] in " \t\r\n" else found[0], text)
    yield compact
    yield _TOKEN.sub(lambda found: found[0] + " " if found[0] in (":", ",") else found[0], compact)


_SPACED: Final = (", ", ": ")
_COMPACT: Final = (",", ":")


def _restyled(document: Any) -> Iterator[str]:
    """Yield the document as the common libraries write it."""
    yield from _on_one_line(document)
    for is_ascii, indent in itertools.product((False, True), (2, 4)):
        if indented := _indented(document, indent, is_ascii=is_ascii):
            yield from _escaped(indented)


def _on_one_line(document: Any) -> Iterator[str]:
    for is_ascii, separators in itertools.product((False, True), (_COMPACT, _SPACED)):
        try:
            yield from _escaped(json.dumps(document, separators=separators, ensure_ascii=is_ascii))
        except RecursionError:
            return


def _escaped(text: str) -> Iterator[str]:
    """Yield the text plain, with slashes escaped (PHP), and with what HTML gives a meaning escaped (Go, Ruby)."""
    yield text
    if "/" in text:
        yield text.replace("/", "\\/")
    escaped = text
    for character, escape in _HTML.items():
        escaped = escaped.replace(character, escape)
    if escaped is not text:
        yield escaped


_HTML: Final = {character: f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def _indented(document: Any, indent: int, *, is_ascii: bool) -> str:
    """Return the document with line breaks; nothing when it grows too large or is nested too deeply."""
    parts: list[str] = []
    left = MAX_INDENTED_CHARS
    try:
        for part in json.JSONEncoder(indent=indent, ensure_ascii=is_ascii).iterencode(document):
            left -= len(part)
            if left < 0:
                return ""
            parts.append(part)
    except RecursionError:
        return ""
    return "".join(parts)


def _difference(received: str, original: str) -> tuple[Alteration, ...]:
    """Say in what two texts of the same JSON differ, beside the order of keys and how numbers are written."""
    found = []
    if _escapes(received) != _escapes(original):
        found.append(Alteration.ESCAPES)
    if _spaces(received) != _spaces(original):
        found.append(Alteration.WHITE_SPACE)
    return tuple(found)


def _escapes(text: str) -> tuple[bool, int]:
    return text.isascii(), text.count("\\")


def _spaces(text: str) -> int:
    return sum(map(text.count, " \t\r\n"))
