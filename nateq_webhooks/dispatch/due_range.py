"""Where a claim begins to read the index of what is due, so that dead rows do not slow it down.

A claim reads from the earliest due time on. While a transaction is held open somewhere, PostgreSQL can't remove the
index entries of finished work (MariaDB can't purge them), and every claim would read past all of them: a queue gets
slower by the minute. So a process measures its reads. Once all of the last ones were slow it begins near the work that
it found before, as long as that is faster, and reads everything only now and then, for what has become due at an
earlier time: released runs, slow commits, resumed holds. A call that promises to run all that is due reads everything.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from nateq_webhooks import tenants
from nateq_webhooks.models.run import EARLIEST, NOT_HELD

SLOW_SECONDS: Final = 0.002
"""A read that takes longer is slow: one of an index without dead entries takes a few tenths of a millisecond."""

READS: Final = 8
"""So many reads in a row must be slow: a busy machine makes single ones slow."""

SHARE: Final = 100
"""Reading everything takes at most this part of the time: it is done again after so many times its duration."""

FASTER: Final = 2
"""How many times faster a read from the last found work on must be: where each statement is slow, it is not."""

MIN_INTERVAL: Final = 1.0
"""How long it is left out at least, in seconds, as long as other work is found."""

OVERLAP: Final = timedelta(seconds=1)
"""How far before the work that was found to begin: concurrent requests commit a little out of order."""

Read = Callable[[datetime], datetime | None]
"""Returns the earliest due time that is not before a time; None if nothing is due."""


class DueRange:
    """The range of one index that a process reads. Its state is a guess that costs time at most, never work."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: deque[float] = deque(maxlen=READS)
        self._bounded_seconds: deque[float] = deque(maxlen=READS)
        self._read_at = float("-inf")
        self._low = EARLIEST

    @property
    def is_slow(self) -> bool:
        """Whether reading everything has been slow all the time, and reading less has not proved to be as slow."""
        if len(self._seconds) < READS or min(self._seconds) <= SLOW_SECONDS:
            return False
        is_known = len(self._bounded_seconds) == READS
        return not is_known or FASTER * min(self._bounded_seconds) < min(self._seconds)

    def first(self, read: Read, now: datetime) -> datetime | None:
        """Return when the first work was due, from near the last found work on if reading everything is slow."""
        if self.is_slow and self._since_full_read() < max(MIN_INTERVAL, SHARE * self._seconds[-1]):
            started = self._clock()
            first = read(self._low)
            self._bounded_seconds.append(self._clock() - started)
            if first is not None or self._since_full_read() < SHARE * self._seconds[-1]:
                self._note(first, now)
                return first
        started = self._clock()
        first = read(EARLIEST)
        self._read_at = self._clock()
        self._seconds.append(self._read_at - started)
        self._note(first, now)
        return first

    def expire(self) -> None:
        """Have the next call read everything."""
        self._read_at = float("-inf")

    def _since_full_read(self) -> float:
        return self._clock() - self._read_at

    def _note(self, first: datetime | None, now: datetime) -> None:
        self._low = (now if first is None else first) - OVERLAP


class DueRanges:
    """The ranges of this process: by what is read, the database, and the tenant."""

    def __init__(self) -> None:
        self._ranges: dict[tuple[str, str, str], DueRange] = {}

    def runs(self, alias: str, held_by: int = NOT_HELD) -> DueRange:
        """Return the range of the runs that nothing holds back, or that a hold lets start one by one."""
        return self._of(f"runs {held_by}", alias)

    def deliveries(self, alias: str) -> DueRange:
        """Return the range of the deliveries whose runs are to be created."""
        return self._of("deliveries", alias)

    def expire(self, alias: str) -> None:
        """Have the next read of each range of a database read everything."""
        tenant = tenants.current(alias)
        for key, of in list(self._ranges.items()):
            if key[1:] == (alias, tenant):
                of.expire()

    def forget(self) -> None:
        """Forget how long the reads took, and what they found."""
        self._ranges = {}

    def _of(self, kind: str, alias: str) -> DueRange:
        key = (kind, alias, tenants.current(alias))
        return self._ranges.get(key) or self._ranges.setdefault(key, DueRange())


due_ranges: Final = DueRanges()
"""The process's ranges."""
