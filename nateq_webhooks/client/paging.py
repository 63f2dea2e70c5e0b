"""Read a whole list from its pages while new entries arrive at its front (ours: docs/reference/client.md).

Pages are numbered from the front, so each new entry shifts the others back, and the next page repeats some that were
read before. Those are left out, and so are the new ones. Pages overlap on purpose: a page without any known entry
means that entries were removed and others moved forward, unread; then reading steps back until it finds a known one.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from nateq_webhooks.client.response_parsing import ResultPage
from nateq_webhooks.errors import NateqUnexpectedAnswerError

OVERLAP: Final = 10
"""Entries at the end of a page that the next one begins with."""

MAX_IDLE_PAGES: Final = 1_000
"""Pages in a row without an entry to return, after which the list is taken for endless."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What distinguishes one entry from another, and its time (in a list that is newest first)."""

    key: Hashable
    time: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """Where a page begins: at an offset or, if the server returned one, at a cursor."""

    offset: int = 0
    cursor: str | None = None


class PageReader(Generic[T]):
    """Iterates over a list once. `fetch` gets the page at a position, `identify` distinguishes entries."""

    def __init__(self, fetch: Callable[[Position], ResultPage[T]], identify: Callable[[T], Identity]) -> None:
        self._fetch = fetch
        self._identify = identify
        # Hashes of all keys: a million take 70 MB, and two of them are equal by accident once in 30 million reads.
        self._returned: set[int] = set()
        self._arrived: set[int] = set()
        self._newest: datetime | None = None
        self._farthest = 0
        self._overlap = 0
        self._last_page: list[Identity] = []

    def __iter__(self) -> Iterator[T]:
        position: Position | None = Position()
        idle = 0
        while position is not None:
            page = self._fetch(position)
            entries = [self._identify(item) for item in page.items]
            self._skip_arrivals(entries)
            fresh: list[T] = []
            if self._has_gap(position, entries):
                position = self._step_back(position, entries)
            else:
                fresh = self._unread(page.items, entries)
                position = self._next(position, page, entries, is_idle=not fresh)
            idle = 0 if fresh else idle + 1
            if idle > MAX_IDLE_PAGES:
                raise NateqUnexpectedAnswerError(
                    f"The list does not end: {MAX_IDLE_PAGES} pages in a row had nothing new."
                )
            yield from fresh

    def _skip_arrivals(self, entries: Sequence[Identity]) -> None:
        """Mark what was added to the front of the list after its first page was read.

        On a page it comes before the first entry that was returned: entries newer than the first one of all, followed
        by those of the same time. Anywhere else a newer entry is no arrival: the list is in another order.
        """
        newest = self._newest
        if newest is None:
            return
        unknown = itertools.takewhile(lambda entry: hash(entry.key) not in self._returned, entries)
        front = [*itertools.takewhile(lambda entry: entry.time is not None and entry.time >= newest, unknown)]
        if front and front[0].time != newest:
            self._arrived.update(hash(entry.key) for entry in front)

    def _is_known(self, entry: Identity) -> bool:
        return hash(entry.key) in self._returned or hash(entry.key) in self._arrived

    def _unread(self, items: Sequence[T], entries: Sequence[Identity]) -> list[T]:
        unread = []
        for item, entry in zip(items, entries, strict=True):
            if not self._is_known(entry):
                if not self._returned:
                    self._newest = entry.time
                self._returned.add(hash(entry.key))
                unread.append(item)
        return unread

    def _has_gap(self, position: Position, entries: Sequence[Identity]) -> bool:
        if position.cursor is not None or position.offset == 0 or self._overlap == 0:
            return False
        return not any(self._is_known(entry) for entry in entries)

    def _step_back(self, position: Position, entries: list[Identity]) -> Position:
        step = max(len(entries), len(self._last_page), 1)
        self._last_page = entries
        self._farthest = max(0, position.offset - step)
        return Position(offset=self._farthest)

    def _next(
        self, position: Position, page: ResultPage[T], entries: list[Identity], *, is_idle: bool
    ) -> Position | None:
        """Return where the next page begins; None if this one was the last."""
        if page.next_cursor is not None:
            return Position(cursor=page.next_cursor)
        if position.cursor is not None:
            return None
        end, farthest = position.offset + len(entries), self._farthest
        self._farthest = max(end, farthest)
        is_repeated = bool(entries) and entries == self._last_page
        self._last_page = entries
        if page.total is not None and end >= page.total:
            return None
        if is_idle and (end <= farthest or (is_repeated and self._overlap == 0)):
            return None
        if is_repeated:  # as many arrivals as the step, a server that rounds the offset, or one without pages
            self._overlap = 0
            return Position(offset=farthest)
        self._overlap = min(OVERLAP, len(entries) // 2)
        return Position(offset=end - self._overlap)
