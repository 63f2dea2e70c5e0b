"""What a database's columns hold of a body: text and JSON that PostgreSQL, MariaDB and SQLite store alike."""

import json
import re
from typing import Any, Final

MAX_COLUMN_DEPTH: Final = 31
"""Nesting that every database's JSON column holds: MariaDB refuses 32."""

MAX_COLUMN_BYTES: Final = 1024 * 1024
"""Larger bodies are kept as bytes only: escaped twice, 1 MiB is 7 MiB of SQL, and MariaDB's packet ends at 16 MiB."""


def column_json(body: bytes, document: dict[str, Any]) -> str | None:
    """Return the document as JSON text that PostgreSQL, MariaDB and SQLite all store, or None."""
    if len(body) > MAX_COLUMN_BYTES or deeper_than(document, MAX_COLUMN_DEPTH, body):
        return None
    if _is_suspect(body) and _holds_unstorable(document):
        return None
    try:
        return _STRICT.encode(document)
    except ValueError:  # NaN or an infinity
        return None


_STRICT: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


def _is_suspect(body: bytes) -> bool:
    """Say whether the strings must be looked at one by one for a NUL or half of a surrogate pair.

    Strict UTF-8 holds neither, so they can only come as escapes. Whole pairs are the common case (emoji), and well;
    a backslash that is itself escaped makes the bytes around it ambiguous.
    """
    if not _ESCAPED.search(body):
        return False
    return b"\\\\" in body or _NUL_OR_HALF.search(body) is not None


_ESCAPED: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_NUL_OR_HALF: Final = re.compile(
    rb"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F]))|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def _holds_unstorable(document: dict[str, Any]) -> bool:
    """Say whether a string in the document holds a character that no database stores."""
    todo: list[Any] = [document]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            if _REFUSED.search(value):
                return True
        elif isinstance(value, dict):
            todo.extend(value)
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return False


_REFUSED: Final = re.compile("[\x00\ud800-\udfff]")


def column_text(text: str, limit: int) -> str:
    """Return `text` as a column of `limit` characters holds it: cut, and U+FFFD for what no database stores.

    That is a NUL, which PostgreSQL refuses, and half of a surrogate pair, which none can encode.
    """
    text = text[:limit]
    return text if text.isprintable() else _REFUSED.sub("\ufffd", text)


def deeper_than(document: dict[str, Any], limit: int, body: bytes) -> bool:
    """Say whether the document, itself level 1, is nested deeper than `limit` levels, without recursion."""
    if body.count(b"{") + body.count(b"[") <= limit:  # the common case, and it costs next to nothing
        return False
    level: list[Any] = [document]
    for _ in range(limit):
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not level:
            return False
    return True
