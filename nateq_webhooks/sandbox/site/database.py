"""The file of the sandbox's database: whose it is, that one process at a time uses it, and its tables."""

import os
import sqlite3
from pathlib import Path
from typing import Final

from django.core.management.color import no_style
from django.db import Error, connection

from nateq_webhooks.sandbox.sandbox_errors import SandboxError
from nateq_webhooks.sandbox.site.models import Attempt, Delivery, Webhook
from nateq_webhooks.sandbox.webhooks import ORGANIZATION_ID

MODELS: Final = (Webhook, Delivery, Attempt)

_PRIVATE: Final = 0o600
_APPLICATION_ID: Final = 0x4E615465  # "NaTe"
_VERSION: Final = 2

_ADD_ORGANIZATION: Final = f"ALTER TABLE webhook ADD COLUMN organization TEXT NOT NULL DEFAULT '{ORGANIZATION_ID}'"
"""From version 1 to version 2."""


class Lock:
    """Held while a process uses a file: two would send everything twice. It ends with the process, even a killed one.

    Raises `SandboxError` if the file can't be used: by its owner only, because signing secrets are in it.
    """

    def __init__(self, file: Path) -> None:
        lock_file = file.with_name(f"{file.name}-lock")
        for each in (file, lock_file):
            _create_private(each)
        self._connection = sqlite3.connect(lock_file, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            self._connection.close()
            raise SandboxError(f"The database '{file}' can't be used: {error}. Another sandbox runs on it.") from error

    def release(self) -> None:
        """Let another process use the file."""
        self._connection.close()


def prepare(file: Path) -> None:
    """Create the tables in a new file. Raises `SandboxError` for one that is not the sandbox's, and leaves it alone."""
    try:
        version = _version(file)
        if version == _VERSION:
            return
        with connection.schema_editor() as editor:  # one transaction: a kill leaves the file as it was
            if version == 1:
                editor.execute(_ADD_ORGANIZATION)
            else:
                for model in MODELS:
                    editor.create_model(model)
            editor.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            editor.execute(f"PRAGMA user_version = {_VERSION}")
    except (sqlite3.Error, Error) as error:
        raise SandboxError(
            f"The database '{file}' can't be used: {error}. It may be damaged, or it is not an SQLite file."
        ) from error


def empty() -> None:
    """Delete every row; numbers begin again at 1."""
    tables = [model._meta.db_table for model in MODELS]
    connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables, reset_sequences=True))


def _version(file: Path) -> int | None:
    """Return the version of the tables, None for an empty file. Reads only: the file may be another program's."""
    reading = sqlite3.connect(file)
    try:
        application, version, tables = (
            reading.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
    finally:
        reading.close()
    if not tables:
        return None
    if application != _APPLICATION_ID:
        raise SandboxError(f"'{file}' is the database of another program. Give the sandbox its own file.")
    if version not in (1, _VERSION):
        raise SandboxError(
            f"'{file}' was made by another version of the sandbox ({version}, not {_VERSION}). "
            "Delete it or give another file."
        )
    return int(version)


def _create_private(file: Path) -> None:
    """Make a file readable only for its owner; the mode of an existing one is changed, too. SQLite's WAL follows it."""
    try:
        # O_NONBLOCK: opening a named pipe must not wait for a reader.
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), _PRIVATE)
        try:
            if os.name == "posix":
                os.fchmod(descriptor, _PRIVATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise SandboxError(f"The database '{file}' can't be opened: {error.strerror}.") from error
