"""A scan for conditions without an index: row by row, up to a limit, with a report of how far it went.

Rows are read in growing batches, in the list's order, until the page is full or the limit is reached. The next page
continues after the last row that was scanned.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks.database.keyset.key_queries import KeyQuery, ScanResult

MAX_ROWS: Final = 10_000
"""Rows that are scanned for one page."""

MAX_SECONDS: Final = 0.04
"""How long one page scans: rows may be large, or far apart on the disk."""

FIRST_BATCH: Final = 50
GROWTH: Final = 4


@dataclass(frozen=True, slots=True)
class BoundedScan:
    """The rows of a query that match a condition without an index."""

    query: KeyQuery
    everything: QuerySet[Any]
    matching: Callable[[QuerySet[Any]], QuerySet[Any]]
    clock: Callable[[], float] = time.monotonic

    def find(self, count: int, *, descending: bool, beyond: int | None) -> ScanResult:
        """Scan until `count` rows are found or the limit is reached."""
        start = self.clock()
        pks: list[int] = []
        rows_scanned, size = 0, FIRST_BATCH
        while size and len(pks) < count:
            batch = self.query.pks(size, descending=descending, beyond=beyond)
            pks += self._matching(batch, descending=descending)
            rows_scanned += len(batch)
            beyond = batch[-1] if len(batch) == size else None
            size = 0 if beyond is None else self._next_size(size, rows_scanned, self.clock() - start)
        if len(pks) > count:
            return ScanResult(pks[:count], pks[count - 1], rows_scanned)
        return ScanResult(pks, beyond, rows_scanned)

    def _next_size(self, size: int, rows_scanned: int, seconds: float) -> int:
        """Return the size of the next batch: it grows, but not beyond what the remaining time allows."""
        in_time = int(rows_scanned * (MAX_SECONDS - seconds) / seconds) if seconds > 0 else MAX_ROWS
        batch = min(size * GROWTH, MAX_ROWS - rows_scanned, in_time)
        return batch if batch >= min(FIRST_BATCH, MAX_ROWS - rows_scanned) else 0

    def _matching(self, pks: list[int], *, descending: bool) -> list[int]:
        if not pks:
            return []
        matching = self.matching(self.everything.filter(pk__in=pks)).order_by()
        return sorted(matching.values_list("pk", flat=True), reverse=descending)
