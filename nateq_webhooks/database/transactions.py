"""What transactions are open. Rows that were read in one are valid until it ends: it may be rolled back."""

from collections.abc import Callable
from typing import Any, Final

from django.db import connections, transaction

Blocks = tuple[object, ...]
"""The `atomic` blocks that were open, the outermost first."""


def open_blocks(alias: str) -> Blocks:
    """Return the blocks that are open on this thread's connection; none outside a transaction."""
    return tuple(connections[alias].atomic_blocks)


def are_open(alias: str, blocks: Blocks) -> bool:
    """Return whether all of the blocks are still open, on this thread's connection."""
    return not blocks or open_blocks(alias)[: len(blocks)] == blocks


def is_private(alias: str) -> bool:
    """Return whether other threads see other rows than this one: in SQLite's memory, or inside a transaction."""
    connection = connections[alias]
    if connection.in_atomic_block:
        return True
    return connection.vendor == "sqlite" and connection.is_in_memory_db()  # type: ignore[attr-defined]


def is_read_committed(alias: str) -> bool:
    """Return whether each statement of a transaction sees what has been committed before it, as Django's default is.

    SQLite has one writer at a time, so a transaction that writes sees the same.
    """
    connection = connections[alias]
    if connection.vendor == "sqlite":
        return True
    level = getattr(connection, "isolation_level", None)
    return str(getattr(level, "name", level)).lower().replace("_", " ") == "read committed"


def outside_every_transaction(view: Callable[..., Any]) -> Callable[..., Any]:
    """Exempt the view from ATOMIC_REQUESTS of every database: a router may put the deliveries into any of them.

    Without an alias, Django's decorator exempts it from that of the default database only.
    """
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def begin_with(alias: str, statement: str) -> bool:
    """Begin the transaction of an `atomic` block together with its first statement; return whether that was done.

    psycopg 3 sends BEGIN by itself before the first statement, and waits for the answer: a round trip that every
    transaction pays for. It is left to the driver if it is another one, if a transaction is open already or has to
    begin in a special way, and if this fails: then the statement has to be executed as usual, which raises the reason.
    """
    raw: Any = connections[alias].connection
    libpq = getattr(raw, "pgconn", None)
    if libpq is None or raw.autocommit or libpq.transaction_status != _IDLE:
        return False
    if (raw.isolation_level, raw.read_only, raw.deferrable) != (None, None, None):
        return False
    return bool(libpq.exec_(f"BEGIN; {statement}".encode()).status == _RETURNED_ROWS)


_IDLE: Final = 0
"""libpq's PQTRANS_IDLE: no transaction is open."""

_RETURNED_ROWS: Final = 2
"""libpq's PGRES_TUPLES_OK."""
