"""Databases and brokers of the program's own, so that they can be killed without hurting anybody else's."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import becomes_true, free_port, is_listening


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running server: its URL, and how to kill it and bring it back, or how to empty it."""

    url: str
    restart: Callable[[], None] = lambda: None
    empty: Callable[[], None] = lambda: None


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait on a condition with a bound; say what did not happen."""
    if not becomes_true(condition, seconds=seconds, every=0.05):
        sys.exit(f"faults: {what} did not happen within {seconds:.0f} s")


def _find(program: str, *places: str) -> str:
    found = shutil.which(program) or next((str(path) for place in places for path in Path("/").glob(place)), None)
    return found or sys.exit(f"faults: {program} is not installed")


@contextmanager
def _folder(owner: str) -> Iterator[Path]:
    """Make a folder that a server's own user may write to, where this program runs as root."""
    with tempfile.TemporaryDirectory(prefix="nateq_faults_", ignore_cleanup_errors=True) as name:
        if os.geteuid() == 0:
            shutil.chown(name, owner)
        yield Path(name)


def _as(user: str) -> list[str]:
    return ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []


@contextmanager
def postgresql() -> Iterator[Service]:
    """Run a PostgreSQL of our own; `restart` crashes it (immediate mode) and lets it recover."""
    pg_ctl = _find("pg_ctl", "usr/lib/postgresql/*/bin/pg_ctl")
    with _folder("postgres") as folder:
        data, port = folder / "data", free_port()
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c max_connections=200"
        start = [*_as("postgres"), pg_ctl, "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start"]
        stop = [*_as("postgres"), pg_ctl, "-D", str(data), "-w", "-m", "immediate", "stop"]
        initdb = str(Path(pg_ctl).parent / "initdb")
        _call([*_as("postgres"), initdb, "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"])
        _call(start)

        def restart() -> None:
            _call(stop)
            _call(start)

        try:
            yield Service(url=f"postgres://postgres@127.0.0.1:{port}/postgres", restart=restart)
        finally:
            _call(stop)


@contextmanager
def mariadb(*options: str, tables: Path | None = None) -> Iterator[Service]:
    """Run a MariaDB of our own; `restart` kills it with SIGKILL and lets it recover.

    `options` are the server's. `tables` is an empty folder for the tables, which may be on a disk of its own.
    """
    server, install = _find("mariadbd", "usr/sbin/mariadbd"), _find("mariadb-install-db")
    with _folder("mysql") as folder:
        data, port = folder / "data", free_port()
        user = [f"--user={'mysql' if os.geteuid() == 0 else os.environ.get('USER', '')}"]
        # A server that starts deletes the temporary tables in a folder that it shares with others.
        own = [f"--datadir={data}", f"--tmpdir={folder}"]
        _call([install, "--no-defaults", *own, "--auth-root-authentication-method=normal", *user])
        command = [
            server,
            "--no-defaults",
            *own,
            f"--socket={folder / 'socket'}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            *user,
            *options,
        ]
        running = [_start(command)]
        wait_for(lambda: is_listening(port), "MariaDB's start")

        def restart() -> None:
            running[0].kill()
            running[0].wait()
            running[0] = _start(command)
            wait_for(lambda: is_listening(port), "MariaDB's return")

        try:
            if tables is not None:
                (data / "faults").symlink_to(tables)
            else:
                _call([_find("mariadb"), "-h127.0.0.1", f"-P{port}", "-uroot", "-e", "CREATE DATABASE faults"])
            yield Service(url=f"mysql://root@127.0.0.1:{port}/faults", restart=restart)
        finally:
            running[0].kill()
            running[0].wait()


@contextmanager
def redis() -> Iterator[Service]:
    """Run a Redis of our own that keeps nothing on disk."""
    port = free_port()
    server = _start(
        [_find("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    )
    try:
        wait_for(lambda: is_listening(port), "Redis' start")
        yield Service(
            url=f"redis://127.0.0.1:{port}/0",
            empty=lambda: _call([_find("redis-cli"), "-p", str(port), "FLUSHALL"]),
        )
    finally:
        server.kill()
        server.wait()


@contextmanager
def rabbitmq() -> Iterator[Service]:
    """Use the RabbitMQ of this machine, with a queue of our own."""
    url = os.environ.get("FAULTS_RABBITMQ", "amqp://guest:guest@127.0.0.1:5672//")

    def call(method: str) -> None:
        from tests.faults.celery import app

        with app.connection_for_write(url) as connection:
            getattr(connection.default_channel, method)(app.conf.task_default_queue)

    wait_for(lambda: is_listening(5672), "RabbitMQ's answer", 10)
    try:
        yield Service(url=url, empty=lambda: call("queue_purge"))
    finally:
        call("queue_delete")


@contextmanager
def no_broker() -> Iterator[Service]:
    """Nothing to run, nothing to lose."""
    yield Service(url="")


def _call(command: list[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", check=False)
    if done.returncode:
        sys.exit(f"faults: {command} failed:\n{done.stdout.decode(errors='replace')[-2000:]}")


def _start(command: list[str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
