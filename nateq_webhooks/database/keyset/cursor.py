"""Keyset pagination: a page begins after a row or ends before one, and costs the same wherever it is."""

from dataclasses import dataclass
from typing import Final

from nateq_webhooks.database.keyset.key_queries import Scan, ScanResult

MAX_KEY: Final = 2**63 - 1
"""The largest key that a big integer column holds."""

LAST: Final = "last"
"""The value of `?cursor=` for the last page."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of a page in the list's order: after a row, before a row, or at an end of the list."""

    after: int | None = None
    before: int | None = None
    is_last: bool = False

    @property
    def is_backwards(self) -> bool:
        """Whether the page is read from its end: the rows before a row, or the last rows."""
        return self.before is not None or self.is_last

    @property
    def key(self) -> int | None:
        """The key that the page is read from, exclusive."""
        return self.after if self.before is None else self.before


FIRST: Final = Cursor()


def parse(text: str) -> Cursor:
    """Return the cursor of `?cursor=`: `123` after that row, `-123` before it, `last`, or empty for the first page.

    Raises `ValueError` for anything else.
    """
    if not text:
        return FIRST
    if text == LAST:
        return Cursor(is_last=True)
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(MAX_KEY)) or int(digits) > MAX_KEY:
        raise ValueError(f"{text[:40]!r} is not a cursor: a row's number, the same with a minus sign, or {LAST!r}.")
    return Cursor(before=int(digits)) if text.startswith("-") else Cursor(after=int(digits))


@dataclass(frozen=True, slots=True)
class KeyPage:
    """The keys of a page in the list's order, and the cursors of the pages beside it."""

    pks: list[int]
    next: str | None
    previous: str | None
    found: ScanResult


EMPTY: Final = KeyPage([], None, None, ScanResult([], None))


def read_page(scan: Scan, cursor: Cursor, count: int, *, newest_first: bool) -> KeyPage:
    """Read the page at a cursor."""
    found = scan.find(count, descending=newest_first != cursor.is_backwards, beyond=cursor.key)
    step = -1 if newest_first else 1
    if not cursor.is_backwards:
        previous = None if cursor.after is None else f"-{max(cursor.after + step, 0)}"
        return KeyPage(found.pks, None if found.stopped_at is None else str(found.stopped_at), previous, found)
    if found.stopped_at is None and cursor.before is not None and len(found.pks) < count:
        return read_page(scan, FIRST, count, newest_first=newest_first)  # fewer rows than a page precede it
    following = None if cursor.before is None else str(max(cursor.before - step, 0))
    return KeyPage(found.pks[::-1], following, None if found.stopped_at is None else f"-{found.stopped_at}", found)
