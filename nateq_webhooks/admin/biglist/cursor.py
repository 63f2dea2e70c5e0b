"""Where in a list a page stands: between two keys, not so and so many rows from the start."""

from dataclasses import dataclass
from typing import Final

MAX_KEY: Final = 2**63 - 1
"""The largest key that a big integer column holds."""

LAST: Final = "last"
"""What `?cursor=` says for the last page."""


@dataclass(frozen=True, slots=True)
class Place:
    """A page's place: after a row, before a row, or at an end of the list, as the list is ordered."""

    after: int | None = None
    before: int | None = None
    is_last: bool = False

    @property
    def is_backwards(self) -> bool:
        """Whether the page is read from its end: the rows before a row, or the last ones."""
        return self.before is not None or self.is_last

    @property
    def key(self) -> int | None:
        """The row that the page is read from, itself not on it."""
        return self.after if self.before is None else self.before


FIRST: Final = Place()


def parse(cursor: str) -> Place:
    """Return what `?cursor=` asks for: `123` after that row, `-123` before it, `last`, or nothing.

    Raises `ValueError` for anything else.
    """
    if not cursor:
        return FIRST
    if cursor == LAST:
        return Place(is_last=True)
    digits = cursor.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal()) or len(digits) > len(str(MAX_KEY)) or int(digits) > MAX_KEY:
        raise ValueError(f"{cursor[:40]!r} is no cursor: a row's number, the same with a minus sign, or {LAST!r}.")
    return Place(before=int(digits)) if cursor.startswith("-") else Place(after=int(digits))
