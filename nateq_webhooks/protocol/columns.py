"""Text and JSON of a body in the form that PostgreSQL, MariaDB and SQLite all store."""

import re
from typing import Any, Final

MAX_COLUMN_DEPTH: Final = 31
"""Nesting that the JSON columns of all databases store: MariaDB refuses 32."""

MAX_COLUMN_BYTES: Final = 1024 * 1024
"""Larger bodies are stored as bytes only: escaped twice, 1 MiB is 7 MiB of SQL; MariaDB's packets have 16 MiB."""


def is_column_json(body: bytes, document: dict[str, Any]) -> bool:
    """Return whether the JSON columns of all databases store the document, unless it holds NaN or an infinity."""
    if len(body) > MAX_COLUMN_BYTES or deeper_than(document, MAX_COLUMN_DEPTH, body):
        return False
    return not (_is_suspect(body) and _holds_unstorable(document))


def _is_suspect(body: bytes) -> bool:
    """Return whether each string must be checked for a NUL or half of a surrogate pair.

    Strict UTF-8 contains neither, so they can only come as escapes. Whole pairs (emoji) are common and storable; an
    escaped backslash makes the bytes around it ambiguous.
    """
    if not _ESCAPED.search(body):
        return False
    return b"\\\\" in body or _NUL_OR_HALF.search(body) is not None


_ESCAPED: Final = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_NUL_OR_HALF: Final = re.compile(
    rb"\\u(?:0000|[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F]))|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F]"
)


def _holds_unstorable(document: dict[str, Any]) -> bool:
    """Return whether a string in the document has a character that no database stores."""
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
    """Return `text` cut to `limit` characters, with U+FFFD for characters that no database stores.

    These are NUL, which PostgreSQL refuses, and halves of surrogate pairs, which can't be encoded.
    """
    text = text[:limit]
    return text if text.isprintable() else _REFUSED.sub("\ufffd", text)


def deeper_than(document: dict[str, Any], limit: int, body: bytes) -> bool:
    """Return whether the document (level 1) is nested deeper than `limit` levels, without recursion."""
    if body.count(b"{") + body.count(b"[") <= limit:  # the common case, and fast
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
