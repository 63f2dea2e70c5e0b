"""A delivery's body as a page shows it: its JSON as a document, and its raw bytes in pages."""

from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries import tree
from nateq_webhooks.protocol.verbatim import load_verbatim

MAX_TREE_BYTES: Final = 4 * 1024 * 1024
"""A larger body is only shown as bytes: parsing it takes half a second and a hundred times its memory."""

RAW_BYTES: Final = 20_000
"""Bytes of the body on a page."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raw:
    """A page of the body's bytes as text. `next_start` and `previous_start` are None if there is no further page."""

    text: str
    start: int
    end: int
    size: int
    next_start: int | None
    previous_start: int | None


def raw(body: bytes, start: int = 0) -> Raw:
    """Return the bytes from `start` on as UTF-8 text; invalid bytes and invisible characters are escaped."""
    start = _character_start(body, min(start, len(body)))
    end = _character_start(body, start + RAW_BYTES)
    return Raw(
        text=formatting.visible(body[start:end].decode(errors="backslashreplace")),
        start=start,
        end=end,
        size=len(body),
        next_start=end if end < len(body) else None,
        previous_start=max(0, start - RAW_BYTES) if start else None,
    )


def _character_start(body: bytes, offset: int) -> int:
    """Return `offset`, or the next offset that cuts no UTF-8 character, which has up to four bytes."""
    for cut in range(offset, min(offset + 4, len(body))):
        if body[cut] & 0b1100_0000 != 0b1000_0000:
            return cut
    return len(body) if offset + 4 >= len(body) else offset


def document(body: bytes) -> Any:
    """Return the body's JSON as it was written, if it is a list or an object and not too large; else None."""
    if len(body) > MAX_TREE_BYTES:
        return None
    try:
        loaded = load_verbatim(body)
    except ValueError:
        return None
    return loaded if tree.is_container(loaded) else None
