"""Requests per second of real servers: the package beside bare views that verify, parse and insert.

Several servers of one kind run at a time: with DISPATCH = "worker" and "inline", set up as usual and as
docs/performance.md advises. The load goes to one of them in each turn. The floors are served without middleware.
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
        Way(name="floor", site="worker", path="/bare/", event=quiet),
        Way(name="floor, prepared", site=advised, path="/bare-prepared/", event=quiet, floor="floor"),
        Way(name="nothing to run", site="worker", path=path, event=quiet, floor="floor"),
        Way(name="nothing to run, as advised", site=advised, path=path, event=quiet, floor="floor"),
        Way(name="left to a worker, as advised", site=advised, path=path, event=busy, floor="floor"),
        Way(name="inline floor", site="worker", path="/bare-inline/", event=quiet),
        Way(
            name="inline floor, prepared",
            site=advised,
            path="/bare-inline-prepared/",
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
        for name in names:
            for connections in options.connections:
                turns = Turns(name, connections, options.seconds, Path(folder) / "requests")
                tables.append(turns.measure(ways(webhook.get_absolute_url()), options.rounds))
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
    """The turns of one kind of server with one number of connections."""

    def __init__(self, name: str, connections: int, seconds: float, file: Path) -> None:
        self._name, self._server = name, SERVERS[name]
        self._connections, self._seconds, self._file = connections, seconds, file
        self._fastest: dict[str, float] = {}

    def measure(self, found: list[Way], rounds: int) -> Table:
        """Measure all ways in turns."""
        by_name = {way.name: way for way in found}
        rows = [Row(name=way.name, floor=way.floor) for way in found]
        title = f"{self._name} ({self._server.setup}), {self._connections} connections, {database_name()}"
        with ExitStack() as servers:
            running = {name: servers.enter_context(serving(self._server, **SITES[name])) for name in SITES}
            for way in found:
                self._turn(way, *running[way.site], min(WARM_UP_SECONDS, self._seconds))
            for number, row in in_turns(rows, rounds):
                way = by_name[row.name]
                sample = self._turn(way, *running[way.site], self._seconds)
                row.samples.append(sample)
                print(
                    f"{self._name}, {self._connections} connections, round {number + 1} of {rounds}: "
                    f"{way.name} {sample.rate:,.0f} requests/s",
                    file=sys.stderr,
                )
        return Table(title=title, unit="requests", rows=rows, notes=[self._note()])

    def _note(self) -> str:
        database = f"connections to the database {self._server.connections}"
        return f"{BODY_BYTES:,} bytes a body; load from {load.tool()}; {database}."

    def _turn(self, way: Way, port: int, session: int, seconds: float) -> Sample:
        """Send load for some seconds, again with more requests if there were too few."""
        count = FIRST_REQUESTS + int(SPARE * self._fastest.get(way.name, 0) * seconds)
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
        self._fastest[way.name] = max(self._fastest.get(way.name, 0), outcome.rate)
        database_cpu = None
        if database and after:
            database_cpu = after.since(database, with_reaped=self._server.connections == OPENED)
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
