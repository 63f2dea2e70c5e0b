"""Transactions that are retried when the database asks for it: after a deadlock, or a lock that took too long."""

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.db import DatabaseError, connections

TRIES: Final = 3
"""How often a whole transaction is tried."""

SHARED_WAIT_SECONDS: Final = 5.0
"""How long another connection to an SQLite database in memory is waited for: as long as the driver's own timeout."""

_PAUSE_SECONDS: Final = 0.01

_MAX_DELAY_SECONDS: Final = 0.05
"""The longest delay before a transaction is tried again; the delay is random.

The victim of a deadlock that began again at once could take its first lock before the transaction that it waited for
was woken up, and the two would be in a deadlock again.
"""

_Result = TypeVar("_Result")


def retry_transaction(work: Callable[[], _Result], *, alias: str | None = None, seconds: float = math.inf) -> _Result:
    """Run a whole transaction, again if the database asks for it. Raises what the last try raised.

    No further try begins after so many `seconds`. With an `alias` it may be called inside a transaction of that
    database, too. Then it runs once: only the caller can retry the transaction.
    """
    is_whole = alias is None or not connections[alias].in_atomic_block
    if not is_whole:
        return work()
    tries, began = 1, time.monotonic()
    while True:
        try:
            return work()
        except DatabaseError as error:
            waited = time.monotonic() - began
            is_shared = _is_shared_lock(error) and waited < SHARED_WAIT_SECONDS
            if not is_shared and not (tries < TRIES and waited < seconds and is_retryable(error)):
                raise
        tries += 1
        delay = _PAUSE_SECONDS if is_shared else random.uniform(_PAUSE_SECONDS, _MAX_DELAY_SECONDS)  # noqa: S311
        threading.Event().wait(delay)


def is_retryable(error: DatabaseError) -> bool:
    """Return whether the transaction should be run again: after a deadlock, or a lock that took too long."""
    is_sqlite_lock = "database is locked" in str(error) or _is_shared_lock(error)
    return error_code(error) in _RETRYABLE or is_sqlite_lock


def _is_shared_lock(error: DatabaseError) -> bool:
    """Return whether another connection to the same SQLite database in memory holds a table (SQLite: SQLITE_LOCKED).

    Django makes such databases for tests. SQLite answers at once, whatever `timeout` says.
    """
    return "database table is locked" in str(error) or "database schema is locked" in str(error)


def memory_hint(alias: str) -> str:
    """Return what to do about errors of an SQLite database in memory, with a space before it; empty for any other.

    The threads of Django's live server use one connection to it (Django: `LiveServerThread`), and so one transaction.
    """
    connection = connections[alias]
    in_memory = getattr(connection, "is_in_memory_db", None)
    if in_memory is None or not in_memory():
        return ""
    return (
        f" The database {alias!r} is in memory, where the threads of a live server share one connection and mix their "
        f'transactions. Give the tests a file: DATABASES[{alias!r}]["TEST"] = {{"NAME": "test.sqlite3"}}.'
    )


_RETRYABLE: Final = ("40P01", "40001", 1213, 1205)
"""PostgreSQL's deadlock and serialization failure; MariaDB's and MySQL's deadlock and lock wait timeout."""


def error_code(error: BaseException) -> str | int | None:
    """Return a database's own code of an error: PostgreSQL's SQLSTATE, MariaDB's and MySQL's number; None without one.

    Django's errors carry the driver's as their cause: psycopg calls it `sqlstate`, psycopg2 `pgcode`.
    """
    cause = error.__cause__
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if state is not None:
        return str(state)
    return next((code for code in error.args[:1] if isinstance(code, int)), None)
