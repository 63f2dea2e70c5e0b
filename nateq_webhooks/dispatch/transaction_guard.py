"""Whether the transaction that was opened for a run is still whole when the receiver has returned."""

from dataclasses import dataclass
from typing import Final

from django.db import DatabaseError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.database.retry import error_code
from nateq_webhooks.dispatch.leases import Lease
from nateq_webhooks.dispatch.statements import has_transaction_marker, set_transaction_marker
from nateq_webhooks.errors import RolledBackError

_NO_SUCH_SAVEPOINT: Final = 1305
"""MariaDB's and MySQL's error code for a savepoint that is not there."""

ENDED_BY_ITSELF: Final = (
    "The receiver ended its transaction by itself: by a raw COMMIT or ROLLBACK, a statement that commits on this "
    "database (such as DDL), or a deadlock that it swallowed. What it wrote after that is undone where the database "
    "can. Use transaction.atomic() for parts of its work, or connect it with atomic=False."
)
"""The error of a run whose receiver ended its transaction."""


@dataclass(frozen=True, slots=True)
class TransactionGuard:
    """Detects whether a run's transaction is still the one that was opened for it when the receiver has returned.

    A receiver that ends it by a raw COMMIT or ROLLBACK leaves the connection in another one, or in none. The status of
    the run would be committed there without the receiver's work. MariaDB and MySQL also roll the whole of it back for a
    deadlock, which the receiver may have swallowed: there a savepoint of that name is gone.
    """

    lease: Lease
    connection: BaseDatabaseWrapper
    "This thread's connection of the lease's database."

    def set(self) -> None:
        """Set a marker in the transaction, which is gone when that ends."""
        vendor = self.connection.vendor
        if vendor == "postgresql":
            set_transaction_marker(self.lease.alias, self.value)
        elif vendor == "mysql":
            _execute(self.connection, "SAVEPOINT nateq_run")

    @property
    def value(self) -> str:
        """The value of PostgreSQL's marker."""
        return str(self.lease.token)

    @property
    def in_statement(self) -> str | None:
        """What the statement that marks the success compares; None where it compares nothing."""
        return self.value if self.connection.vendor == "postgresql" else None

    @property
    def holds(self) -> bool:
        """Whether the marker is still there, where that can be asked without losing it."""
        connection = self.connection
        if connection.vendor == "postgresql":
            return has_transaction_marker(self.lease.alias, self.value)
        is_open = getattr(connection.connection, "in_transaction", True)  # SQLite's driver knows
        return connection.vendor != "sqlite" or bool(is_open)

    def release(self) -> None:
        """Raise `RolledBackError` if the marker is gone. Last of all: a deadlock may come with any statement before."""
        if self.connection.vendor != "mysql":
            return
        try:
            _execute(self.connection, "RELEASE SAVEPOINT nateq_run")
        except DatabaseError as error:
            if error_code(error) == _NO_SUCH_SAVEPOINT:
                raise RolledBackError(ENDED_BY_ITSELF) from error
            raise


def refuse_broken_transaction(alias: str) -> None:
    """Raise `RolledBackError` if the receiver returned from a transaction that can only be rolled back."""
    connection = connections[alias]
    if connection.in_atomic_block:
        if connection.needs_rollback:
            raise RolledBackError(
                "The receiver swallowed a database error: what it wrote is lost, so the run is undone. "
                "Put a transaction.atomic() of its own around the statement that may fail."
            )
    elif connection.get_autocommit() != connection.settings_dict["AUTOCOMMIT"]:
        connection.close()
        raise RolledBackError(
            "The receiver, which is connected with atomic=False, left autocommit off: what it wrote since is undone. "
            "Use transaction.atomic() in place of set_autocommit(False)."
        )


def _execute(connection: BaseDatabaseWrapper, sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)
