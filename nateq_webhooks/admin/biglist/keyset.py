"""Pages by keyset: a page begins after a row, or ends before one, and costs the same wherever it is."""

from collections.abc import Callable
from dataclasses import dataclass

from nateq_webhooks.admin.biglist.cursor import FIRST, Place
from nateq_webhooks.admin.biglist.key_queries import Rows

Find = Callable[..., "Found"]
"""`find(count, descending=..., beyond=...)`."""


@dataclass(frozen=True, slots=True)
class Found:
    """Rows found from one end on, at most as many as were asked for, and how far was looked."""

    pks: list[int]
    stopped_at: int | None
    "The last row looked at; None when there is none beyond it."
    looked_at: int = 0
    "How many payloads were looked at."


@dataclass(frozen=True, slots=True)
class Page:
    """A page's rows, as the list is ordered, and the cursors of the pages beside it."""

    pks: list[int]
    next: str | None
    previous: str | None
    found: Found


def finding(rows: Rows) -> Find:
    """Return how to find rows through their indexes."""

    def find(count: int, *, descending: bool, beyond: int | None) -> Found:
        pks = rows.pks(count + 1, descending=descending, beyond=beyond)
        return Found(pks[:count], pks[count - 1] if len(pks) > count else None)

    return find


def read(find: Find, place: Place, count: int, *, newest_first: bool) -> Page:
    """Read the page at a place."""
    found: Found = find(count, descending=newest_first != place.is_backwards, beyond=place.key)
    if not place.is_backwards:
        return Page(
            found.pks, _after(found.stopped_at), _before_inclusive(place.after, newest_first=newest_first), found
        )
    if found.stopped_at is None and place.before is not None and len(found.pks) < count:
        return read(find, FIRST, count, newest_first=newest_first)  # less than a page is left: the first one is full
    pks = found.pks[::-1]
    return Page(pks, _after_inclusive(place.before, newest_first=newest_first), _before(found.stopped_at), found)


def _after(pk: int | None) -> str | None:
    return None if pk is None else str(pk)


def _before(pk: int | None) -> str | None:
    return None if pk is None else f"-{pk}"


def _before_inclusive(pk: int | None, *, newest_first: bool) -> str | None:
    """Return the cursor of the page that ends with the row `pk`: it ends before the one after it."""
    return None if pk is None else f"-{max(pk - 1 if newest_first else pk + 1, 0)}"


def _after_inclusive(pk: int | None, *, newest_first: bool) -> str | None:
    """Return the cursor of the page that begins with the row `pk`."""
    return None if pk is None else str(max(pk + 1 if newest_first else pk - 1, 0))
