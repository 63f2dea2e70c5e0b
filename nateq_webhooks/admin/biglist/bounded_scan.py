"""Looking at rows one after another, for what no index leads to: as far as a limit allows, saying how far that was.

Rows are looked at from the newest on, in growing portions, until a page is full or the limit is reached; the next page
goes on from there.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.admin.biglist.key_queries import Rows
from nateq_webhooks.admin.biglist.keyset import Found

MAX_ROWS: Final = 10_000
"""Rows that one page looks at."""

MAX_SECONDS: Final = 0.04
"""How long one page looks at rows: they may be large, or far apart on the disk."""

FIRST_PORTION: Final = 50
GROWTH: Final = 4


@dataclass(frozen=True, slots=True)
class Walk:
    """The rows that match, found by looking at one after another."""

    rows: Rows
    everything: QuerySet[Any]
    matching: Callable[[QuerySet[Any]], QuerySet[Any]]
    clock: Callable[[], float] = time.monotonic

    def find(self, count: int, *, descending: bool, beyond: int | None) -> Found:
        """Look from one end on, or beyond a row, until `count` are found or the limit is reached."""
        start = self.clock()
        pks: list[int] = []
        looked_at, size = 0, FIRST_PORTION
        while size and len(pks) < count:
            found = self.rows.pks(size, descending=descending, beyond=beyond)
            pks += self._matching(found, descending=descending)
            looked_at += len(found)
            beyond = found[-1] if len(found) == size else None
            size = 0 if beyond is None else self._next_portion(size, looked_at, self.clock() - start)
        if len(pks) > count:
            return Found(pks[:count], pks[count - 1], looked_at)
        return Found(pks, beyond, looked_at)

    def _next_portion(self, size: int, looked_at: int, seconds: float) -> int:
        """Return how many rows to look at next: more each time, but no more than the time that is left allows."""
        in_time = int(looked_at * (MAX_SECONDS - seconds) / seconds) if seconds > 0 else MAX_ROWS
        portion = min(size * GROWTH, MAX_ROWS - looked_at, in_time)
        return portion if portion >= min(FIRST_PORTION, MAX_ROWS - looked_at) else 0

    def _matching(self, pks: list[int], *, descending: bool) -> list[int]:
        if not pks:
            return []
        matching = self.matching(self.everything.filter(pk__in=pks)).order_by()
        return sorted(matching.values_list("pk", flat=True), reverse=descending)
