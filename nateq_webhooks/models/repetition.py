"""What a database asks to be repeated: a deadlock's victim, a lock that did not come in time."""

from collections.abc import Callable
from typing import Final, TypeVar

from django.db import DatabaseError, connections

TRIES: Final = 3
"""How often a whole transaction is tried."""

_Result = TypeVar("_Result")


def repeated(work: Callable[[], _Result], *, alias: str | None = None) -> _Result:
    """Do a whole transaction, again when the database asks for it. Raises what the last try raised.

    With an `alias` it may be called inside a transaction there, too: then it is done once, as what would have to be
    repeated is the caller's.
    """
    is_whole = alias is None or not connections[alias].in_atomic_block
    for _ in range(TRIES - 1 if is_whole else 0):
        try:
            return work()
        except DatabaseError as error:
            if not wants_another_try(error):
                raise
    return work()


def wants_another_try(error: DatabaseError) -> bool:
    """Say whether the database asks for a repetition: a deadlock, or a lock that did not come in time."""
    return error_code(error) in _REPEATED or "database is locked" in str(error)  # the text is SQLite's


_REPEATED: Final = ("40P01", "40001", 1213, 1205)
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
