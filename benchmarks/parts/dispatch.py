"""Runs per second of the package's worker, beside a bare claim and update, and beside other queues.

Jobs are stored beforehand and do nothing, so what is measured is dispatch: claiming deliveries, creating their runs,
executing each in a transaction of its own, and finalizing them. The floor claims one row
(`UPDATE ... WHERE id = (SELECT ... FOR UPDATE SKIP LOCKED LIMIT 1)`) and then updates it, each committed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from benchmarks import celery_queue, receivers
from benchmarks.database import database_name, temporary_database
from benchmarks.processes import ROOT, end
from benchmarks.queues import JOBS, QUEUES, Drained, Ours
from benchmarks.results import Row, Sample, Table, in_turns
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery

PROCESSES = 2
"""How many worker processes run at most."""
CONTROL = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")
BATCH = 20
"""The claim whose statements are counted."""
CELERY = "Celery with Redis"


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to drain a queue."""

    queue: str
    processes: int = 1
    threads: int = 1
    floor: str = ""

    @property
    def name(self) -> str:
        """What the results call it."""
        many = f"{self.threads} threads" if self.threads > 1 else f"{self.processes} process"
        return f"{self.queue}, {many}{'es' if self.processes > 1 else ''}"


def ways(peers: list[str]) -> list[Way]:
    """Return what is measured: the package with its floors, then the other queues."""
    found = []
    for processes, threads in ((1, 1), (2, 1), (1, 4)):
        floor = Way(queue="floor", processes=processes, threads=threads)
        found.append(floor)
        found.append(Way(queue=Ours.name, processes=processes, threads=threads, floor=floor.name))
    return found + [Way(queue=peer, floor=found[0].name) for peer in peers]


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure on a database of its own."""
    if connection.vendor not in JOBS:
        raise SystemExit(f"dispatch has a floor for {' and '.join(JOBS)} only, not for {connection.vendor}.")
    ours = {"DISPATCH": "worker"}
    with temporary_database(), override_settings(NATEQ_WEBHOOKS=ours), tempfile.TemporaryDirectory() as folder:
        receivers.connect()
        peers, skipped = find_peers() if options.peers else ([], [])
        try:
            return [_measure(options, peers, skipped, Path(folder))]
        finally:
            if CELERY in peers:
                celery_queue.clean_up()


def find_peers() -> tuple[list[str], list[str]]:
    """Return the names of the other queues that can be measured here, and why the others can't."""
    reasons = {name: queue.missing() for name, queue in QUEUES.items() if name not in ("floor", Ours.name)}
    reasons[CELERY] = celery_queue.missing()
    skipped = [f"{name} skipped: {reason}." for name, reason in reasons.items() if reason]
    for line in skipped:
        print(line, file=sys.stderr)
    return [name for name, reason in reasons.items() if not reason], skipped


def _measure(options: argparse.Namespace, peers: list[str], skipped: list[str], folder: Path) -> Table:
    for name in {"floor", Ours.name, *peers} - {CELERY}:
        QUEUES[name].prepare()
    by_name = {way.name: way for way in ways(peers)}
    rows = [Row(name=way.name, floor=way.floor) for way in by_name.values()]
    with workers() as processes:
        for turn, way in enumerate(by_name.values()):
            _turn(way, processes, min(100, options.deliveries), turn, folder)  # warms up
        for turn, (number, row) in enumerate(in_turns(rows, options.rounds), start=len(rows)):
            rate = _turn(by_name[row.name], processes, options.deliveries, turn, folder)
            row.samples.append(Sample(rate=rate))
            print(f"dispatch, round {number + 1} of {options.rounds}: {row.name} {rate:,.0f}/s", file=sys.stderr)
    statements = _statements_per_run(len(rows) * (options.rounds + 1))
    if Delivery.objects.exclude(status="processed").exists() or Ours.unfinished():
        raise SystemExit("Not everything was processed.")
    note = f"{statements:.2f} SQL statements per run of nateq_webhooks in a claim of {BATCH}, without BEGIN and COMMIT."
    title = f"Workers, {options.deliveries:,} empty jobs a turn, {database_name()}"
    return Table(title=title, unit="runs", rows=rows, notes=[note, *skipped])


def _turn(way: Way, processes: "list[subprocess.Popen[str]]", count: int, turn: int, folder: Path) -> float:
    """Fill a queue and let workers drain it; return jobs per second. Raises `SystemExit` if some are left."""
    if way.queue == CELERY:
        return celery_queue.rate(count, folder)
    QUEUES[way.queue].fill(count, turn)
    busy = processes[: way.processes]
    for process in busy:
        assert process.stdin
        process.stdin.write(f"{way.queue} {way.threads}\n")
        process.stdin.flush()
    return jobs_per_second([_answer(process) for process in busy], count)


def jobs_per_second(drained: list[Drained], count: int) -> float:
    """Return the rate of processes that worked at once. Raises `SystemExit` unless they did `count` jobs."""
    if (done := sum(each.done for each in drained)) != count:
        raise SystemExit(f"{done} of {count} jobs were done.")
    return done / (max(each.ended for each in drained) - min(each.began for each in drained))


def _answer(process: "subprocess.Popen[str]") -> Drained:
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise SystemExit("A worker process ended; what it wrote is above.")
    return Drained(**json.loads(line))


@contextmanager
def workers() -> "Iterator[list[subprocess.Popen[str]]]":
    """Start worker processes that drain a queue when told to, and end them afterwards."""
    started: list[subprocess.Popen[str]] = []
    try:
        for _ in range(PROCESSES):
            command = [sys.executable, "-m", "benchmarks.worker"]
            pipe = subprocess.PIPE
            started.append(
                subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, start_new_session=True)
            )
        for process in started:
            assert process.stdout
            if process.stdout.readline() != "ready\n":
                raise SystemExit("A worker process did not start; what it wrote is above.")
        yield started
    finally:
        for process in started:
            end(process)


def _statements_per_run(turn: int) -> float:
    """Return how many SQL statements a run takes in one claim."""
    QUEUES[Ours.name].fill(BATCH, turn)
    with CaptureQueriesContext(connection) as queries:
        found = api.run_due(BATCH)
    statements = [query["sql"] for query in queries.captured_queries if not query["sql"].startswith(CONTROL)]
    return len(statements) / found
