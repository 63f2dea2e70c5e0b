"""The benchmarks' own database: created at the start, dropped at the end, also after Ctrl-C."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from django.db import connection, connections


@contextmanager
def temporary_database() -> Iterator[None]:
    """Create a database beside the one of DATABASE_URL; processes that are started in the block use it, too."""
    url, name = os.environ.get("DATABASE_URL"), connection.settings_dict["NAME"]
    try:
        connection.creation.create_test_db(verbosity=0, autoclobber=True)
        os.environ["DATABASE_URL"] = database_url()
        yield
    finally:
        with _without_interrupts():
            os.environ.pop("DATABASE_URL", None)
            if url is not None:
                os.environ["DATABASE_URL"] = url
            connections.close_all()  # an interrupt may have left it in the middle of a statement
            if connection.settings_dict["NAME"] != name:
                _end_other_connections()
                connection.creation.destroy_test_db(name, verbosity=0)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let a second Ctrl-C not keep the database from being dropped."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def database_url() -> str:
    """Return the URL of the connected database, for another process."""
    parts = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{parts['NAME']}"
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    password = quote(parts["PASSWORD"], safe="")
    port = f":{parts['PORT']}" if parts["PORT"] else ""
    return f"{scheme}://{quote(parts['USER'], safe='')}:{password}@{parts['HOST']}{port}/{parts['NAME']}"


def database_name() -> str:
    """Return the database's product and version, for the results."""
    connection.ensure_connection()
    version = ".".join(str(each) for each in connection.get_database_version())
    product = {"postgresql": "PostgreSQL", "sqlite": "SQLite", "mysql": "MySQL or MariaDB"}[connection.vendor]
    return f"{product} {version}"


def database_seconds() -> float:
    """Return the processor time that this connection has used in the database's server; 0 where that is unknown."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_backend_pid()")
        else:
            cursor.execute("SELECT tid FROM information_schema.processlist WHERE id = CONNECTION_ID()")
        (thread,) = cursor.fetchone()
    for found in Path("/proc").glob(f"[0-9]*/task/{thread}/schedstat"):
        return int(found.read_text().split()[0]) / 1e9
    return 0.0


def _end_other_connections() -> None:
    """End what is still connected: PostgreSQL drops no database that somebody uses."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
