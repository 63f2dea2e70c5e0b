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
    cause = error.__cause__
    if getattr(cause, "sqlstate", None) in ("40P01", "40001"):  # PostgreSQL: deadlock, serialization failure
        return True
    code = error.args[0] if error.args else None
    return code in (1213, 1205) or "database is locked" in str(error)  # MariaDB and MySQL; SQLite
