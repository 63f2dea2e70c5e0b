"""Requests per second of real servers: the package beside bare views that verify, parse and insert.

All servers run at a time, each with DISPATCH = "worker" and "inline", set up as usual and as docs/performance.md
advises. The load goes to one of them in each turn. The floors are served without middleware.
"""

import argparse
import json
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.db import connection

from benchmarks import load, views
from benchmarks.database import database_name, temporary_database
from benchmarks.processes import OPENED, SERVERS, database_time, serving, session_seconds
from benchmarks.receivers import EVENT_WITH_RECEIVER, EVENT_WITHOUT_RECEIVER
from benchmarks.results import Row, Sample, Table, in_turns
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.examples import example_envelope

WARM_UP_SECONDS: Final = 1.0
"""At most: as long as a turn."""
FIRST_REQUESTS: Final = 500
"""How many requests are prepared before anything is known of a server's speed."""
SPARE: Final = 1.5
"""How many times as many requests are prepared as the fastest turn of the same way would need."""
MAX_SECONDS: Final = 60.0
"""How long a turn may become on a machine that is too busy to answer one request in it."""
BODY_BYTES: Final = 1024


BARE: Final = "/bare"
"""What the paths of the floors begin with."""
BESIDE: Final = "gunicorn"
"""The server that the others are compared with."""

SITES: Final[Mapping[str, Mapping[str, str]]] = {
    "worker": {"BENCH_DISPATCH": "worker"},
    "inline": {"BENCH_DISPATCH": "inline"},
    "worker, as advised": {"BENCH_DISPATCH": "worker", "BENCH_ADVISED": "1"},
    "inline, as advised": {"BENCH_DISPATCH": "inline", "BENCH_ADVISED": "1"},
}
"""The variables of the environment of each server."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to receive: where its requests go, and what they bring."""

    name: str
    site: str
    "The name of the server."
    path: str
    event: str
    floor: str = ""


def ways(path: str) -> list[Way]:
    """Return what is measured, the floors first; `path` is that of the package's receiver view."""
    quiet, busy = EVENT_WITHOUT_RECEIVER, EVENT_WITH_RECEIVER
    advised, advised_inline = "worker, as advised", "inline, as advised"
    found = [
        Way(name="floor", site="worker", path=f"{BARE}/", event=quiet),
        Way(name="floor, prepared", site=advised, path=f"{BARE}-prepared/", event=quiet, floor="floor"),
        Way(name="nothing to run", site="worker", path=path, event=quiet, floor="floor"),
        Way(name="nothing to run, as advised", site=advised, path=path, event=quiet, floor="floor"),
        Way(name="left to a worker, as advised", site=advised, path=path, event=busy, floor="floor"),
        Way(name="inline floor", site="worker", path=f"{BARE}-inline/", event=quiet),
        Way(
            name="inline floor, prepared",
            site=advised,
            path=f"{BARE}-inline-prepared/",
            event=quiet,
            floor="inline floor",
        ),
        Way(name="run inline", site="inline", path=path, event=busy, floor="inline floor"),
        Way(name="run inline, as advised", site=advised_inline, path=path, event=busy, floor="inline floor"),
    ]
    return found if connection.vendor == "postgresql" else [way for way in found if "prepared" not in way.name]


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure each installed server with each number of connections."""
    if connection.vendor not in views.TABLES:
        raise SystemExit(f"receive has floors for {' and '.join(views.TABLES)} only, not for {connection.vendor}.")
    names = [name for name in options.servers if SERVERS[name].is_installed]
    for name in options.servers:
        if name not in names:
            print(f"{name} is not installed, skipped", file=sys.stderr)
    if not names:
        raise SystemExit(f"None of these servers is installed: {', '.join(options.servers)}.")
    tables = []
    with temporary_database(), tempfile.TemporaryDirectory() as folder:
        with connection.cursor() as cursor:
            for statement in views.TABLES[connection.vendor]:
                cursor.execute(statement)
        webhook = Webhook.objects.create(name="bench", secret=views.SECRET.decode())
        found = ways(webhook.get_absolute_url())
        for connections in options.connections:
            turns = Turns(names, connections, options.seconds, Path(folder) / "requests")
            tables += turns.measure(found, options.rounds)
        check_stored()
    return tables


def check_stored() -> None:
    """Raise `SystemExit` unless the package stored deliveries of each kind, as it should have."""
    states = Delivery.objects.values_list("event", "status").distinct()
    found = set(states.order_by())
    wanted = {(EVENT_WITH_RECEIVER, "received"), (EVENT_WITH_RECEIVER, "processed")}
    if not wanted <= found:
        raise SystemExit(f"Of the deliveries of {EVENT_WITH_RECEIVER}, some must wait and some be processed: {found}")


class Turns:
    """The turns of some servers with one number of connections."""

    def __init__(self, names: list[str], connections: int, seconds: float, file: Path) -> None:
        self._names = names
        self._connections, self._seconds, self._file = connections, seconds, file
        self._fastest: dict[tuple[str, str], float] = {}

    def measure(self, found: list[Way], rounds: int) -> list[Table]:
        """Measure all ways of all servers in turns: a table for each server, and one that compares them."""
        rows = {(server, way.name): Row(name=way.name, floor=way.floor) for server, way in self._pairs(found)}
        by_row = {id(row): key for key, row in rows.items()}
        by_name = {way.name: way for way in found}
        with ExitStack() as stack:
            running = {
                (server, site): stack.enter_context(serving(SERVERS[server], **SITES[site]))
                for server in self._names
                for site in SITES
            }
            for server, way in self._pairs(found):
                self._turn(server, way, *running[server, way.site], min(WARM_UP_SECONDS, self._seconds))
            for number, row in in_turns(list(rows.values()), rounds):
                server, name = by_row[id(row)]
                way = by_name[name]
                sample = self._turn(server, way, *running[server, way.site], self._seconds)
                row.samples.append(sample)
                print(
                    f"{server}, {self._connections} connections, round {number + 1} of {rounds}: "
                    f"{name} {sample.rate:,.0f} requests/s",
                    file=sys.stderr,
                )
        return [*(self._table(server, rows) for server in self._names), *self._comparison(found, rows)]

    def _pairs(self, found: list[Way]) -> list[tuple[str, Way]]:
        """Return what is measured of which server; `ReceiverApplication` serves no floors."""
        return [
            (server, way)
            for server in self._names
            for way in found
            if not (SERVERS[server].has_own_threads and way.path.startswith(BARE))
        ]

    def _table(self, name: str, rows: Mapping[tuple[str, str], Row]) -> Table:
        server = SERVERS[name]
        note = (
            f"{BODY_BYTES:,} bytes a body; load from {load.tool()}; connections to the database {server.connections}."
        )
        title = f"{name} ({server.setup}), {self._where}"
        return Table(
            title=title, unit="requests", rows=[row for key, row in rows.items() if key[0] == name], notes=[note]
        )

    def _comparison(self, found: list[Way], rows: Mapping[tuple[str, str], Row]) -> list[Table]:
        """Return a table whose floor of each row is the same of gunicorn; none unless it and another were measured."""
        if BESIDE not in self._names or len(self._names) == 1:
            return []
        shared = [way for way in found if sum((server, way.name) in rows for server in self._names) > 1]
        compared = [
            Row(
                name=f"{way.name}, {server}",
                floor="" if server == BESIDE else f"{way.name}, {BESIDE}",
                samples=rows[server, way.name].samples,
            )
            for way in shared
            for server in self._names
            if (server, way.name) in rows
        ]
        return [Table(title=f"The servers beside {BESIDE}, {self._where}", unit="requests", rows=compared)]

    @property
    def _where(self) -> str:
        return f"{self._connections} connections, {database_name()}"

    def _turn(self, name: str, way: Way, port: int, session: int, seconds: float) -> Sample:
        """Send load for some seconds, again with more requests if there were too few."""
        key = name, way.name
        count = FIRST_REQUESTS + int(SPARE * self._fastest.get(key, 0) * seconds)
        while True:
            load.write_requests(self._file, requests_of(way, count))
            server, database = session_seconds(session), database_time()
            outcome = load.send(self._file, port=port, connections=self._connections, seconds=seconds)
            server_cpu = _difference(session_seconds(session), server)
            after = database_time()
            if outcome.failed or (not outcome.requests and seconds > MAX_SECONDS):
                raise SystemExit(f"{way.name}: {outcome.failed} requests failed, {outcome.requests} did not.")
            if outcome.requests and not outcome.is_exhausted:
                break
            if outcome.requests:
                count *= 2
            else:  # the machine was too busy to answer a single one
                seconds *= 2
        self._fastest[key] = max(self._fastest.get(key, 0), outcome.rate)
        database_cpu = None
        if database and after:
            database_cpu = after.since(database, with_reaped=SERVERS[name].connections == OPENED)
        return Sample(
            rate=outcome.rate,
            p50=outcome.p50,
            p99=outcome.p99,
            server_cpu=_per_thousand(server_cpu, outcome),
            database_cpu=_per_thousand(database_cpu, outcome),
        )


def requests_of(way: Way, count: int) -> Iterator[bytes]:
    """Yield signed requests, each with a delivery of its own; the tickets are the same whatever the event."""
    for number in range(count):
        document = example_envelope(EVENT_WITHOUT_RECEIVER, number=number, delivery_id=f"dlv_{uuid.uuid4().hex}")
        document["event"] = way.event
        document["data"]["padding"] = ""
        missing = BODY_BYTES - len(json.dumps(document, ensure_ascii=False).encode())
        document["data"]["padding"] = "x" * missing
        body = json.dumps(document, ensure_ascii=False).encode()
        yield load.http_request(way.path, body, views.sign_by_hand(body))


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _per_thousand(seconds: float | None, outcome: load.Outcome) -> float | None:
    return None if seconds is None else 1000 * seconds / outcome.requests
