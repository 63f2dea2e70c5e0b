"""A whole list from its pages, while entries arrive at its front (ours: docs/reference/client.md).

Pages are numbered from the front, so every entry that arrives pushes the others on: the next page begins with some
that were read before. Those are left out, and so are the arrivals. Pages overlap on purpose: one without anything
known means that entries went away and others moved forward, unread; then reading goes back to a known one. What was
read is a front part of the list at any time, so what follows a known entry is what comes next: nothing is missed.
"""

import itertools
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, TypeVar

from nateq_webhooks.client.answers import Page
from nateq_webhooks.errors import NateqUnexpectedAnswerError

OVERLAP: Final = 10
"""Entries at the end of a page that the next one begins with."""

REMEMBERED: Final = 20_000
"""Entries known by name: as many may arrive between two pages of a list in no order. A few megabytes."""

MAX_IDLE_PAGES: Final = 1_000
"""Pages in a row without anything new, after which the list is taken for endless."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What tells one entry from another, and when it happened (for a list that is newest first)."""

    key: Hashable
    moment: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where to read on: at an offset or, where the server has them, at its cursor."""

    offset: int = 0
    cursor: str | None = None


class Seen:
    """Which entries were given out or passed over: the last `remembered` by name, those before by their time.

    The time is relied on only while every entry so far was no newer than the one before it.
    """

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._given: dict[Hashable, datetime | None] = {}
        self._arrived: dict[Hashable, datetime | None] = {}
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._forgotten: datetime | None = None
        self._is_ordered = True

    def __contains__(self, entry: Identity) -> bool:
        return entry.key in self._arrived or self._was_given(entry)

    def add(self, entry: Identity) -> None:
        """Remember one that is given out."""
        if not self._given:
            self._first = entry.moment
        if entry.moment is None or entry.moment != self._first:
            is_later = self._last is not None and entry.moment is not None and entry.moment > self._last
            self._is_ordered = self._is_ordered and entry.moment is not None and not is_later
            self._last = entry.moment
        self._given[entry.key] = entry.moment
        if len(self._given) > self._remembered:
            self._forgotten = self._given.pop(next(iter(self._given)))

    def pass_over(self, entries: list[Identity]) -> None:
        """Remember what arrived at the front of the list after its first page was read.

        On a page those stand before the first entry that was given out, newer than the first entry of all, and behind
        them those of its very moment. Anywhere else a newer entry has not arrived: the list is in another order.
        """
        first = self._first
        if first is None:
            return
        unknown = itertools.takewhile(lambda entry: not self._was_given(entry), entries)
        front = [*itertools.takewhile(lambda entry: entry.moment is not None and entry.moment >= first, unknown)]
        if front and front[0].moment != first:
            self._arrived.update((entry.key, entry.moment) for entry in front)
        while len(self._arrived) > self._remembered:
            del self._arrived[next(iter(self._arrived))]

    def _was_given(self, entry: Identity) -> bool:
        if entry.key in self._given:
            return True
        if self._forgotten is None or entry.moment is None or not self._is_ordered:
            return False
        return entry.moment >= self._forgotten


class Reading(Generic[T]):
    """One pass over a list. `fetch` gets the page at a place, `identify` tells entries apart."""

    def __init__(self, fetch: Callable[[Place], Page[T]], identify: Callable[[T], Identity]) -> None:
        self._fetch = fetch
        self._identify = identify
        self._seen = Seen()
        self._reach = 0
        self._overlap = 0
        self._last_page: list[Identity] = []

    def __iter__(self) -> Iterator[T]:
        place: Place | None = Place()
        idle = 0
        while place is not None:
            page = self._fetch(place)
            entries = [self._identify(item) for item in page.items]
            self._seen.pass_over(entries)
            if self._has_gap(place, entries):
                place = self._further_back(place, entries)
                fresh = []
            else:
                fresh = self._fresh(page.items, entries)
                place = self._next(place, page, entries, is_idle=not fresh)
            idle = 0 if fresh else idle + 1
            if idle > MAX_IDLE_PAGES:
                raise NateqUnexpectedAnswerError(
                    f"The list does not end: {MAX_IDLE_PAGES} pages in a row had nothing new."
                )
            yield from fresh

    def _fresh(self, items: tuple[T, ...], entries: list[Identity]) -> list[T]:
        fresh = []
        for item, entry in zip(items, entries, strict=True):
            if entry not in self._seen:
                self._seen.add(entry)
                fresh.append(item)
        return fresh

    def _has_gap(self, place: Place, entries: list[Identity]) -> bool:
        if place.cursor is not None or place.offset == 0 or self._overlap == 0:
            return False
        return not any(entry in self._seen for entry in entries)

    def _further_back(self, place: Place, entries: list[Identity]) -> Place:
        step = max(len(entries), len(self._last_page), 1)
        self._last_page = entries
        self._reach = max(0, place.offset - step)
        return Place(offset=self._reach)

    def _next(self, place: Place, page: Page[T], entries: list[Identity], *, is_idle: bool) -> Place | None:
        """Say where the next page is; None when this one was the last."""
        if page.next_cursor is not None:
            return Place(cursor=page.next_cursor)
        if place.cursor is not None:
            return None
        reach, farthest = place.offset + len(entries), self._reach
        self._reach = max(reach, farthest)
        is_same = bool(entries) and entries == self._last_page
        self._last_page = entries
        if page.total is not None and reach >= page.total:
            return None
        if is_idle and (reach <= farthest or (is_same and self._overlap == 0)):
            return None
        if is_same:  # ninety arrivals, a server that rounds the offset to whole pages, or one without pages
            self._overlap = 0
            return Place(offset=farthest)
        self._overlap = min(OVERLAP, len(entries) // 2)
        return Place(offset=reach - self._overlap)
