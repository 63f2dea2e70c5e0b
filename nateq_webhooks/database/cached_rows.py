"""Rows of the database that a process caches: with an age, and invalid once they were changed here or rolled back."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from nateq_webhooks.database.transactions import Blocks, are_open, open_blocks

_Rows = TypeVar("_Rows")


@dataclass(frozen=True, slots=True)
class _Snapshot(Generic[_Rows]):
    """What was read: when (monotonic seconds), in which generation, in which database and `atomic` blocks."""

    rows: _Rows
    read_at: float
    generation: int
    alias: str
    blocks: Blocks


class CachedRows(Generic[_Rows]):
    """Rows that were read from the database, in whatever form the caller keeps them. Safe to use from many threads.

    They are valid until `invalidate`, and until the transaction ends in which they were read: it may be rolled back.
    How old they may be is the caller's decision.
    """

    def __init__(self) -> None:
        self._snapshot: _Snapshot[_Rows] | None = None
        self._generation = 0

    @property
    def rows(self) -> _Rows | None:
        """The rows as they were last read, valid or not; None if they never were."""
        snapshot = self._snapshot
        return None if snapshot is None else snapshot.rows

    @property
    def is_valid(self) -> bool:
        """Whether the rows were read since the last `invalidate`, in no transaction that has ended."""
        return self._is_valid(self._snapshot)

    def fresh(self, max_age: float) -> _Rows | None:
        """Return the rows if they are valid and at most `max_age` seconds old, else None."""
        snapshot = self._snapshot
        if snapshot is None or not self._is_valid(snapshot):
            return None
        return snapshot.rows if time.monotonic() - snapshot.read_at < max_age else None

    def read(self, alias: str, load: Callable[[], _Rows]) -> _Rows:
        """Call `load`, cache what it returns, and return that. Raises what `load` raises and then changes nothing.

        Rows that are invalidated while they are read stay invalid.
        """
        generation, now = self._generation, time.monotonic()
        rows = load()
        self._snapshot = _Snapshot(rows, now, generation, alias, open_blocks(alias))
        return rows

    def invalidate(self) -> None:
        """Have the rows read again before they are next used."""
        self._generation += 1

    def _is_valid(self, snapshot: _Snapshot[_Rows] | None) -> bool:
        if snapshot is None or snapshot.generation != self._generation:
            return False
        return are_open(snapshot.alias, snapshot.blocks)
