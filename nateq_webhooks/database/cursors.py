"""Cursors for the statements that every delivery costs: kept with the connection, and prepared where that is allowed.

On PostgreSQL a cursor is kept for as long as the connection: making a new one costs Python as much as a third of a
statement. psycopg prepares its statements if `DATABASES[...]["OPTIONS"]` has a `prepare_threshold`; the site says by it
that no pooler between it and the database loses prepared statements. Django's own statements are not affected.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

_KEPT: Final = "nateq_webhooks_cursor"
"""The attribute of Django's connection, which belongs to one thread, with the driver's connection and its cursor."""


@contextmanager
def statement_cursor(connection: BaseDatabaseWrapper) -> Iterator[CursorWrapper]:
    """Yield a cursor for statements that run over and over again; fetch all that they return before the block ends."""
    if connection.vendor != "postgresql" or connection.queries_logged:  # psycopg forgets the text of what it prepared
        with connection.cursor() as cursor:
            yield cursor
        return
    connection.ensure_connection()
    raw: Any
    kept: Any
    raw, kept = getattr(connection, _KEPT, (None, None))
    if raw is not connection.connection or kept.closed:
        with connection.wrap_database_errors:
            kept = _new_cursor(connection)
        setattr(connection, _KEPT, (connection.connection, kept))
    yield connection.make_cursor(kept)


def prepares(connection: BaseDatabaseWrapper) -> bool:
    """Return whether the statements of `statement_cursor` are prepared on this connection, which is open."""
    return getattr(connection.connection, "prepare_threshold", None) is not None


def _new_cursor(connection: BaseDatabaseWrapper) -> Any:
    """Return a new cursor of the driver; one whose parameters the server binds if statements may be prepared."""
    if not prepares(connection):
        return connection.create_cursor()
    from django.db.backends.postgresql.base import ServerBindingCursor  # psycopg need not be installed

    return ServerBindingCursor(connection.connection)  # type: ignore[call-arg]  # the stubs' class is psycopg2's
