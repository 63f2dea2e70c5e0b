"""A database that is locked, restarts or is full while senders post: 503, and what was acknowledged is kept.

Each test runs a database server of its own and the site under gunicorn; a full disk is a small file system in memory
(root only).
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.protocol.signatures import sign
from tests.faults import services
from tests.faults.actors import ROOT, Actors
from tests.waiting import becomes_true

pytestmark = pytest.mark.slow

SECRET = "whsec_outages_0123456789abcdef"
SENDERS = 6

SENDER_SECONDS = 10
"""After so long Nateq takes an attempt for failed."""

READ_TIMEOUT = 4
"""Seconds that the site waits for MariaDB (docs/reference/receiving.md: A database that does not answer)."""

PREPARE = f"""
import django
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from nateq_webhooks.models import Webhook
print(Webhook.objects.create(name="outages", secret={SECRET!r}).get_absolute_url())
"""

STORED = """
import json
import django
django.setup()
from nateq_webhooks.models import Delivery
print(json.dumps(list(Delivery.objects.values_list("delivery_id", flat=True))))
"""


@dataclass(frozen=True)
class Answer:
    """What a sender got; status 0: no answer."""

    delivery_id: str
    status: int
    retry_after: str | None


@dataclass
class Traffic:
    """Senders that post new deliveries all the time."""

    port: int
    path: str
    answers: list[Answer] = field(default_factory=list)

    def post(self, delivery_id: str, attempt: int = 1) -> Answer:
        """Send one attempt."""
        document = example_envelope("ticket.created", delivery_id=delivery_id, attempt=attempt)
        body = json.dumps(document | {"filler": "x" * 3000}).encode()
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SENDER_SECONDS)
        try:
            client.request("POST", self.path, body, {"X-Nateq-Signature": sign(body, SECRET)})
            response = client.getresponse()
            return Answer(delivery_id, response.status, response.getheader("Retry-After"))
        except (OSError, http.client.HTTPException):
            return Answer(delivery_id, 0, None)
        finally:
            client.close()

    def send(self, over: threading.Event) -> None:
        """Post new deliveries until it is over."""
        while not over.is_set():
            self.answers.append(self.post(f"dlv_{uuid.uuid4().hex}"))
            time.sleep(0.01)

    def count(self, status: int) -> int:
        """Return how many answers have had a status so far."""
        return sum(answer.status == status for answer in list(self.answers))


@dataclass(frozen=True)
class Outage:
    """A database, how its outage begins, and how it ends."""

    url: str
    begin: Callable[[], None]
    end: Callable[[], None]
    options: Callable[[], None] = lambda: None
    "Run before the tables are made."


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Mount a file system in memory of this size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    with tempfile.TemporaryDirectory(prefix="nateq_disk_") as name:
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=1777", "tmpfs", name]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this machine lets nobody mount a file system")
        try:
            yield Path(name)
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def fill(disk: Path) -> None:
    """Leave no byte of the disk free."""
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(b"\0" * 4096)
        except OSError:
            return


def empty(disk: Path) -> None:
    """Give the space back."""
    (disk / "filler").unlink()


@contextmanager
def locked_postgresql() -> Iterator[Outage]:
    """Another transaction locks the table for longer than a statement may take."""
    psycopg = pytest.importorskip("psycopg")
    with services.postgresql() as service, psycopg.connect(service.url, autocommit=True) as other:
        other.execute("ALTER ROLE postgres SET statement_timeout = '700ms'")

        def begin() -> None:
            other.execute("SET statement_timeout = 0")
            other.execute("BEGIN")
            other.execute("LOCK TABLE nateq_webhooks_delivery IN ACCESS EXCLUSIVE MODE")

        yield Outage(service.url, begin, lambda: other.execute("ROLLBACK"))


@contextmanager
def locked_mariadb() -> Iterator[Outage]:
    """Another connection locks the table for longer than a lock is waited for."""
    driver: Any = pytest.importorskip("MySQLdb")
    with services.mariadb() as service:
        port = int(service.url.rpartition(":")[2].partition("/")[0])
        other = driver.connect(host="127.0.0.1", port=port, user="root", database="faults").cursor()
        for name in ("lock_wait_timeout", "innodb_lock_wait_timeout"):
            other.execute(f"SET GLOBAL {name} = 1")
        yield Outage(
            service.url,
            lambda: other.execute("LOCK TABLES nateq_webhooks_delivery WRITE"),
            lambda: other.execute("UNLOCK TABLES"),
        )


@contextmanager
def refusing(database: str) -> Iterator[Outage]:
    """The server is killed, refuses connections, and recovers."""
    with {"postgresql": services.postgresql, "mariadb": services.mariadb}[database]() as service:
        yield Outage(service.url, service.restart, lambda: None)


def folder_of(user: str, path: Path) -> Path:
    """Make a folder that belongs to the user of a server."""
    path.mkdir()
    shutil.chown(path, user)
    return path


@contextmanager
def full_postgresql() -> Iterator[Outage]:
    """The disk of the tables is full."""
    psycopg = pytest.importorskip("psycopg")
    with small_disk(40) as disk, services.postgresql() as service:
        tables = folder_of("postgres", disk / "tables")
        with psycopg.connect(service.url, autocommit=True) as other:
            other.execute(f"CREATE TABLESPACE small LOCATION '{tables}'")
            other.execute("ALTER ROLE postgres SET default_tablespace = 'small'")
        yield Outage(service.url, lambda: fill(disk), lambda: empty(disk))


@contextmanager
def full_mariadb() -> Iterator[Outage]:
    """The disk of the tables is full."""
    with small_disk(40) as disk, services.mariadb(tables=folder_of("mysql", disk / "tables")) as service:
        yield Outage(service.url, lambda: fill(disk), lambda: empty(disk))


@contextmanager
def full_binary_log() -> Iterator[Outage]:
    """The disk of the binary log is full: the server waits for space, and looks once a minute; the site waits less."""
    with small_disk(40) as disk:
        log = folder_of("mysql", disk / "log")
        with services.mariadb(f"--log-bin={log / 'binary'}", "--server-id=1") as service:
            yield Outage(f"{service.url}?read_timeout={READ_TIMEOUT}", lambda: fill(disk), lambda: empty(disk))


@contextmanager
def full_sqlite() -> Iterator[Outage]:
    """The disk of the file is full."""
    with small_disk(16) as disk:
        yield Outage(f"sqlite:///{disk / 'outage.sqlite3'}", lambda: fill(disk), lambda: empty(disk))


OUTAGES = {
    "PostgreSQL is locked": locked_postgresql,
    "MariaDB is locked": locked_mariadb,
    "PostgreSQL restarts": lambda: refusing("postgresql"),
    "MariaDB restarts": lambda: refusing("mariadb"),
    "PostgreSQL's disk is full": full_postgresql,
    "MariaDB's disk is full": full_mariadb,
    "MariaDB's binary log is full": full_binary_log,
    "SQLite's disk is full": full_sqlite,
}


def run(script: str, environment: dict[str, str]) -> str:
    """Run a script with the site's settings, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.strip()


@pytest.mark.parametrize("name", OUTAGES)
def test_what_was_acknowledged_is_there_after_the_outage(name: str) -> None:
    with OUTAGES[name]() as outage:
        environment = {"DJANGO_SETTINGS_MODULE": "tests.faults.settings", "DATABASE_URL": outage.url}
        site = Actors(environment, [])
        traffic = Traffic(site.port, run(PREPARE, environment))
        over = threading.Event()
        try:
            site.start()
            with ThreadPoolExecutor(SENDERS) as senders:
                try:
                    for _ in range(SENDERS):
                        senders.submit(traffic.send, over)
                    assert becomes_true(lambda: traffic.count(200) > 50, seconds=120)
                    outage.begin()
                    refused = becomes_true(lambda: traffic.count(503) > 5, seconds=120)
                    outage.end()
                    accepted = traffic.count(200)
                    recovered = becomes_true(lambda: traffic.count(200) > accepted + 50, seconds=90)
                finally:
                    over.set()
            answers = list(traffic.answers)
            stored = json.loads(run(STORED, environment))
            again = [answer.delivery_id for answer in answers if answer.status != 200]
            resent = [traffic.post(delivery_id, attempt=2) for delivery_id in again]
            finally_stored = json.loads(run(STORED, environment))
        finally:
            site.stop()

    statuses = {status: sum(answer.status == status for answer in answers) for status in {a.status for a in answers}}
    assert refused, statuses
    assert recovered, statuses
    assert set(statuses) <= ({200, 503} if "full" in name else {200, 503, 0}), statuses
    assert all(answer.retry_after for answer in answers if answer.status == 503)
    assert not {answer.delivery_id for answer in answers if answer.status == 200} - set(stored)
    assert {answer.status for answer in resent} <= {200}
    assert sorted(finally_stored) == sorted({answer.delivery_id for answer in answers})
