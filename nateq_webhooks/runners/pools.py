"""Connection pools (`OPTIONS["pool"]`, PostgreSQL): whether one has enough connections for a worker's threads.

A worker thread keeps its connection while a receiver works. If none is left for the thread that renews the leases,
they run out, and other workers start the same runs again.
"""

from collections.abc import Mapping
from typing import Any, Final

from django.db import connections

BESIDE_THREADS: Final = 2
"""Connections beside those of the worker's threads: one renews the leases, one is for maintenance."""

DEFAULT_SIZE: Final = 4
"""The size of a pool that names none (psycopg_pool: `min_size` is 4, and `max_size` is the same unless given)."""


def pool_size(alias: str) -> int | None:
    """Return the most connections that a process may have to a database; None when there is no pool."""
    return size_of(connections[alias].settings_dict.get("OPTIONS", {}))


def size_of(options: Mapping[str, Any]) -> int | None:
    """Return the size of the pool that a database's `OPTIONS` ask for; None for none."""
    pool = options.get("pool")
    if not pool:
        return None
    given: Mapping[str, Any] = pool if isinstance(pool, Mapping) else {}
    size = given.get("max_size") or given.get("min_size", DEFAULT_SIZE)
    return size if isinstance(size, int) else None


def connections_needed(concurrency: int) -> int:
    """Return how many connections `nateq_worker --concurrency` needs."""
    return concurrency + BESIDE_THREADS
