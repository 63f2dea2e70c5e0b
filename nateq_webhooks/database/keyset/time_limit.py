"""A time limit for statements that no index bounds, such as those with a project's own filter.

A server thread that waits for the database serves no other request, Nateq's included.
"""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from django.db import OperationalError, connections, transaction

MAX_SECONDS: Final = 5.0
"""Time limit of one statement of a page."""

_CANCELED: Final = {"57014", 1969, 3024, "interrupted"}
"""The error codes of a cancelled statement: PostgreSQL, MariaDB, MySQL, SQLite."""

_READS: Final = re.compile(r"\s*(?:SELECT|WITH)\b", re.IGNORECASE)


class TookTooLongError(Exception):
    """The database cancelled a statement at its time limit."""


@contextmanager
def limited(alias: str, seconds: float | None = None) -> Iterator[None]:
    """Limit each statement of the block to `seconds`, by default `MAX_SECONDS`. Raises `TookTooLongError`.

    The block must only read. On SQLite the limit applies to the whole block.
    """
    seconds = MAX_SECONDS if seconds is None else seconds
    connection: Any = connections[alias]
    limit = _LIMITS.get(connection.vendor)
    try:
        with ExitStack() as stack:
            if limit is not None:
                limit(connection, max(1, round(seconds * 1000)), stack)
            yield
    except OperationalError as error:
        if _CANCELED.isdisjoint(_codes(error)):
            raise
        raise TookTooLongError from None


def _codes(error: OperationalError) -> set[Any]:
    cause: Any = error.__cause__
    return {getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None), *error.args[:1]}


def _on_postgresql(connection: Any, milliseconds: int, stack: ExitStack) -> None:
    """Set the limit for a transaction; a lower limit of the project remains."""
    is_nested = connection.in_atomic_block
    stack.enter_context(transaction.atomic(using=connection.alias))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setting, set_config('statement_timeout', CASE WHEN setting::bigint BETWEEN 1 AND %s THEN setting "
            "ELSE %s END, true) FROM pg_settings WHERE name = 'statement_timeout'",
            [milliseconds, str(milliseconds)],
        )
        former = cursor.fetchone()[0]
    if is_nested:  # the outer transaction goes on
        stack.enter_context(_restoring(connection, former))


@contextmanager
def _restoring(connection: Any, former: str) -> Iterator[None]:
    """Restore the former limit; after an error the rollback to the savepoint restores it."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [former])


def _on_mysql(connection: Any, milliseconds: int, stack: ExitStack) -> None:
    """Write the limit into each statement."""

    def execute(run: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        return run(_with_limit(sql) if _READS.match(sql) else sql, params, many, context)

    def _with_limit(sql: str) -> str:
        if connection.mysql_is_mariadb:
            return f"SET STATEMENT max_statement_time={milliseconds / 1000:.3f} FOR {sql}"
        return re.sub(r"\bSELECT\b", f"SELECT /*+ MAX_EXECUTION_TIME({milliseconds:d}) */", sql, count=1)

    stack.enter_context(connection.execute_wrapper(execute))


def _on_sqlite(connection: Any, milliseconds: int, stack: ExitStack) -> None:
    """Make SQLite check the clock every 10,000 instructions."""
    connection.ensure_connection()
    until = time.monotonic() + milliseconds / 1000
    driver = connection.connection
    driver.set_progress_handler(lambda: time.monotonic() > until, 10_000)
    stack.callback(driver.set_progress_handler, None, 0)


_LIMITS: Final[dict[str, Callable[[Any, int, ExitStack], None]]] = {
    "postgresql": _on_postgresql,
    "mysql": _on_mysql,
    "sqlite": _on_sqlite,
}
