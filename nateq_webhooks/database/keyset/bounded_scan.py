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

MAX_BATCH: Final = 5_000
"""Rows of one statement, so that the clock is looked at often enough."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much one page scans at most."""

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BoundedScan:
    """The rows of a query that match a condition without an index."""

    query: KeyQuery
    everything: QuerySet[Any]
    matching: Callable[[QuerySet[Any]], QuerySet[Any]]
    clock: Callable[[], float] = time.monotonic
    budget: Budget | None = None
    "By default `MAX_ROWS` and `MAX_SECONDS`."

    def find(self, count: int, *, descending: bool, beyond: int | None) -> ScanResult:
        """Scan until `count` rows are found or the limit is reached."""
        start = self.clock()
        pks: list[int] = []
        batch: list[int] = []
        rows_scanned, size = 0, FIRST_BATCH
        while size and len(pks) < count:
            batch = self.query.pks(size, descending=descending, beyond=beyond)
            pks += self._matching(batch, descending=descending)
            rows_scanned += len(batch)
            beyond = batch[-1] if len(batch) == size else None
            size = 0 if beyond is None else self._next_size(size, rows_scanned, self.clock() - start)
        if len(pks) > count:
            end = pks[count - 1]
            rows_scanned -= sum(pk < end if descending else pk > end for pk in batch)  # for the next page
            return ScanResult(pks[:count], end, rows_scanned, end)
        if len(pks) < count and beyond is not None and not self.query.pks(1, descending=descending, beyond=beyond):
            beyond = None  # the limit was reached with the last row
        return ScanResult(pks, beyond, rows_scanned, beyond)

    def _next_size(self, size: int, rows_scanned: int, seconds: float) -> int:
        """Return the size of the next batch: it grows, but not beyond what the remaining time allows."""
        budget = self.budget or Budget(MAX_ROWS, MAX_SECONDS)
        in_time = int(rows_scanned * (budget.seconds - seconds) / seconds) if seconds > 0 else budget.rows
        batch = min(size * GROWTH, MAX_BATCH, budget.rows - rows_scanned, in_time)
        return batch if batch >= min(FIRST_BATCH, budget.rows - rows_scanned) else 0

    def _matching(self, pks: list[int], *, descending: bool) -> list[int]:
        if not pks:
            return []
        low, high = min(pks), max(pks)
        # A range costs less than a list of thousands of keys, unless most rows of the range are other ones.
        is_dense = high - low < 2 * len(pks)
        rows = self.everything.filter(pk__gte=low, pk__lte=high) if is_dense else self.everything.filter(pk__in=pks)
        found = self.matching(rows).order_by().values_list("pk", flat=True)
        return sorted(set(found).intersection(pks), reverse=descending)
