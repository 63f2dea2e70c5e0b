"""The sandbox's state in SQLite, in a file or in memory. One connection, used by one thread at a time."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from nateq_webhooks.sandbox.sandbox_errors import SandboxError, StoreClosedError

MEMORY: Final = ":memory:"

_PRIVATE: Final = 0o600

_APPLICATION_ID: Final = 0x4E615465  # "NaTe"
_VERSION: Final = 2

ORGANIZATION_ID: Final = "org_sandbox"
"""The organization of keys and webhooks that name none."""

_ADD_ORGANIZATION: Final = f"ALTER TABLE webhook ADD COLUMN organization TEXT NOT NULL DEFAULT '{ORGANIZATION_ID}'"
"""From version 1 to version 2."""

_SCHEMA: Final = f"""
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
CREATE TABLE webhook (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    url TEXT NOT NULL,
    events TEXT NOT NULL,
    secret TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    created_at REAL NOT NULL,
    organization TEXT NOT NULL DEFAULT '{ORGANIZATION_ID}'
);
CREATE TABLE delivery (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id TEXT NOT NULL REFERENCES webhook (id) ON DELETE CASCADE,
    delivery_id TEXT NOT NULL,
    event TEXT NOT NULL,
    envelope TEXT NOT NULL,
    faults TEXT NOT NULL,
    state TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    due_at REAL NOT NULL
);
CREATE INDEX delivery_due ON delivery (state, webhook_id, due_at, seq);
CREATE TABLE attempt (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    delivery_seq INTEGER NOT NULL REFERENCES delivery (seq) ON DELETE CASCADE,
    webhook_id TEXT NOT NULL,
    delivery_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    status TEXT NOT NULL,
    response_status INTEGER,
    response_body TEXT NOT NULL,
    duration_ms INTEGER NOT NULL,
    attempted_at REAL NOT NULL,
    next_attempt_at REAL,
    faults TEXT NOT NULL
);
CREATE INDEX attempt_of_webhook ON attempt (webhook_id, seq);
CREATE INDEX attempt_of_delivery ON attempt (delivery_seq, seq);
"""


class Database:
    """Opens the database and provides transactions."""

    def __init__(self, name: str | Path = MEMORY) -> None:
        self._name = str(name)
        self._lock = threading.RLock()
        self._closed = False
        _create_private(self._name)
        try:
            self._connection = sqlite3.connect(self._name, timeout=1.0, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise SandboxError(f"The database {self._name!r} can't be opened: {error}.") from error
        self._connection.row_factory = sqlite3.Row
        try:
            self._prepare()
        except (sqlite3.Error, SandboxError) as error:
            self._connection.close()
            if isinstance(error, SandboxError):
                raise
            raise SandboxError(
                f"The database {self._name!r} can't be used: {error}. Another sandbox may be running on it, "
                "or it is not an SQLite file."
            ) from error

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend the connection to one thread, in a transaction.

        Raises `StoreClosedError` after `close`.
        """
        with self._lock:
            if self._closed:
                raise StoreClosedError("The sandbox has stopped.")
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, query: str, parameters: tuple[Any, ...] = ()) -> list[sqlite3.Row]:
        """Return all rows of a query. Raises `StoreClosedError` after `close`."""
        with self._lock:
            if self._closed:
                raise StoreClosedError("The sandbox has stopped.")
            return self._connection.execute(query, parameters).fetchall()

    def close(self) -> None:
        """Close the connection once no other thread uses it."""
        with self._lock:
            self._closed = True
            self._connection.close()

    def _prepare(self) -> None:
        is_new = self._is_new()
        # One sandbox per file: two would send everything twice. The lock ends with the process.
        self._connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._connection.execute("PRAGMA journal_mode = WAL")
        # A commit is on disk before the response, so that a power failure loses no accepted event.
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA foreign_keys = ON")
        with self.transaction():
            for statement in _SCHEMA.split(";") if is_new else ():
                self._connection.execute(statement)
            if self._connection.execute("PRAGMA user_version").fetchone()[0] == 1:
                self._connection.execute(_ADD_ORGANIZATION)
                self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    def _is_new(self) -> bool:
        """Return whether the database is empty. Raises `SandboxError` for one that is not the sandbox's."""
        application, version, tables = (
            self._connection.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if tables and application != _APPLICATION_ID:
            raise SandboxError(f"{self._name!r} is the database of another program. Give the sandbox its own file.")
        if tables and version not in (1, _VERSION):
            raise SandboxError(
                f"{self._name!r} was made by another version of the sandbox ({version}, not {_VERSION}). "
                "Delete it or give another file."
            )
        return not tables


def _create_private(name: str) -> None:
    """Make the file readable only for its owner: signing secrets are in it. SQLite's WAL file has the same mode.

    The mode of an existing file is changed, too. Raises `SandboxError` if that is not possible.
    """
    if name in (MEMORY, ""):
        return
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a reader.
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), _PRIVATE)
        try:
            if os.name == "posix":
                os.fchmod(descriptor, _PRIVATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SandboxError(f"The database {name!r} can't be opened: {error.strerror}.") from error
