"""The processes of a measurement: servers that are started and ended, and the processor time of a process tree.

Processor time is read from Linux's /proc; elsewhere it is unknown (None).
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Final

from django.db import connection

ROOT: Final = Path(__file__).resolve().parent.parent
PROC: Final = Path("/proc")

START_SECONDS: Final = 60.0
"""How long a server may take until it answers."""


KEPT: Final = "are kept"
POOLED: Final = "come from a pool"
OPENED: Final = "are opened for each request"


@dataclass(frozen=True, kw_only=True)
class Server:
    """How to start a server."""

    module: str
    arguments: tuple[str, ...]
    is_asgi: bool = False
    has_own_threads: bool = False
    "Whether requests are served in threads that keep their connection, though it is an ASGI server."
    setup: str
    "In words, for the results."

    @property
    def is_installed(self) -> bool:
        """Whether it can be started here."""
        return find_spec(self.module) is not None

    @property
    def connections(self) -> str:
        """Where a request's connection to the database comes from (benchmarks/settings.py)."""
        if not self.is_asgi or self.has_own_threads:
            return KEPT
        return POOLED if connection.vendor == "postgresql" and find_spec("psycopg_pool") else OPENED


_UVICORN: Final = ("--workers=2", "--port={port}", "--log-level=error", "--no-access-log", "--lifespan=off")

SERVERS: Final = {
    "gunicorn": Server(
        module="gunicorn",
        arguments=(
            *("--worker-class=gthread", "--workers=2", "--threads=4", "--keep-alive=30"),
            *("--bind=127.0.0.1:{port}", "benchmarks.wsgi"),
        ),
        setup="2 processes of 4 threads",
    ),
    "uvicorn": Server(
        module="uvicorn",
        arguments=(*_UVICORN, "benchmarks.asgi:application"),
        is_asgi=True,
        setup="2 processes, ASGI",
    ),
    "uvicorn-threads": Server(
        module="uvicorn",
        arguments=(*_UVICORN, "benchmarks.asgi:receiver_application"),
        is_asgi=True,
        has_own_threads=True,
        setup="2 processes, ReceiverApplication with 4 threads",
    ),
    "granian": Server(
        module="granian",
        arguments=(
            *("--interface=wsgi", "--workers=2", "--blocking-threads=4", "--no-ws"),
            *("--host=127.0.0.1", "--port={port}", "benchmarks.wsgi:application"),
        ),
        setup="2 processes of 4 threads",
    ),
}
"""The servers that receiving is measured on, by name."""


@contextmanager
def serving(server: Server, **variables: str) -> Iterator[tuple[int, int]]:
    """Run a server on the benchmark's database, with more variables of the environment; yield its port and process id.

    Raises `RuntimeError` with what it wrote if it ends or does not answer in time.
    """
    port = free_port()
    command = [sys.executable, "-m", server.module, *(each.format(port=port) for each in server.arguments)]
    if server.connections != KEPT:
        variables["BENCH_ASGI"] = "1"
    with tempfile.TemporaryFile() as log, running(command, log, **variables) as process:
        try:
            _wait_until_it_answers(process, port)
        except RuntimeError as error:
            log.seek(0)
            raise RuntimeError(f"{server.module}: {error}\n{log.read()[-3000:].decode(errors='replace')}") from None
        yield port, process.pid


@contextmanager
def running(command: list[str], log: IO[bytes], **variables: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command in a session of its own, and end the whole session afterwards."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        end(process)


def end(process: "subprocess.Popen[Any]") -> None:
    """End a process that leads a session, and everything in it: politely, then with SIGKILL."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode}")
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            client.request("GET", "/bare/")
            client.getresponse()
            return
        client.close()
        time.sleep(0.1)
    raise RuntimeError(f"the server did not answer within {START_SECONDS:g} s")


@dataclass(frozen=True)
class Stat:
    """A line of /proc/<pid>/stat."""

    parent: int
    session: int
    seconds: float
    "Processor time of the process."
    reaped_seconds: float
    "Processor time of its children that have ended."


def read_stat(pid: int) -> Stat | None:
    """Return what Linux says about a process; None if there is no such process, or no /proc."""
    try:
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, children_user, children_system = (int(each) for each in fields[11:15])
    tick = os.sysconf("SC_CLK_TCK")
    return Stat(int(fields[1]), int(fields[3]), (user + system) / tick, (children_user + children_system) / tick)


def session_seconds(session: int) -> float | None:
    """Return the processor time of all processes of a session, and of their children that have ended."""
    stats = [read_stat(int(entry.name)) for entry in PROC.glob("[0-9]*")]
    found = [stat for stat in stats if stat is not None and stat.session == session]
    return sum(stat.seconds + stat.reaped_seconds for stat in found) if found else None


@dataclass(frozen=True)
class DatabaseTime:
    """The processor time of the database's processes at a moment (seconds)."""

    live: dict[int, float]
    "Of each backend that serves the benchmark's database."
    reaped: float
    "Of the process that starts them, and of all that have ended, those of other databases included."

    def since(self, before: "DatabaseTime", *, with_reaped: bool) -> float:
        """Return what was spent since an earlier moment; with or without the backends that ended in between."""
        if with_reaped:
            return sum(self.live.values()) + self.reaped - sum(before.live.values()) - before.reaped
        return sum(seconds - before.live.get(pid, 0.0) for pid, seconds in self.live.items())


def database_time() -> DatabaseTime | None:
    """Return the processor time of PostgreSQL's backends; None if they are not processes of this machine."""
    if connection.vendor != "postgresql":
        return None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, pid = pg_backend_pid() FROM pg_stat_activity "
            "WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        rows = cursor.fetchall()
    own = next(read_stat(pid) for pid, is_own in rows if is_own)
    postmaster = read_stat(own.parent) if own and _is_postgres(own.parent) else None
    if postmaster is None:
        return None
    stats = {pid: read_stat(pid) for pid, is_own in rows if not is_own}
    live = {pid: stat.seconds for pid, stat in stats.items() if stat}
    return DatabaseTime(live, postmaster.seconds + postmaster.reaped_seconds)


def _is_postgres(pid: int) -> bool:
    with suppress(OSError):
        return (PROC / str(pid) / "comm").read_text().startswith("postgres")
    return False
