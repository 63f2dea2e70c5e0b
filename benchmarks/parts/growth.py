"""What the stored deliveries cost those that come: the same work beside none, a million and ten million of them.

Each number of rows has a schema of its own in one database of PostgreSQL, so that all of them take their turns in each
round. The work is done in this process, through Django's handler and the functions that a worker calls. Beside the
rates it prints how many bytes each table, index and column takes, and how many bytes of WAL an insert writes.
"""

import argparse
import json
import random
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test.utils import override_settings

from benchmarks import receivers, views
from benchmarks.database import database_name, database_seconds, temporary_database
from benchmarks.parts.filling import DELIVERIES, RUNS, WEBHOOKS, fill
from benchmarks.parts.handler import WARM_UP_REQUESTS, make_environ, send
from benchmarks.receivers import EVENT_WITH_RECEIVER, EVENT_WITHOUT_RECEIVER
from benchmarks.results import Listing, Row, Sample, Table, in_turns
from nateq_webhooks.dispatch.claim import claim_runs
from nateq_webhooks.dispatch.create import claim_deliveries
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.run import EARLIEST
from nateq_webhooks.protocol.examples import example_envelope

CLAIMED: Final = 20
"""Runs per claim: what a worker takes at once."""

CLAIMS: Final = 10
"""Claims of each kind per turn."""

WAL_INSERTS: Final = 1_000
"""Inserts of which the bytes of WAL are counted."""

Documents = list[dict[str, Any]]


def measure(options: argparse.Namespace) -> list[Table | Listing]:
    """Measure on PostgreSQL."""
    if connection.vendor != "postgresql":
        raise SystemExit("growth needs PostgreSQL: it has a schema for each number of rows.")
    receivers.connect()
    with temporary_database():
        for rows in options.rows:
            _prepare(rows)
        tables = _rates(options)
        wal = _wal_listing(options)
        return [*tables, wal, _bytes_listing(options), _columns_listing(options)]


def _prepare(rows: int) -> None:
    """Create a schema with so many rows, and with the webhook that receives."""
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE SCHEMA {_schema(rows)}")
    _use(rows)
    call_command("migrate", verbosity=0, skip_checks=True)
    started = time.monotonic()
    fill(rows)
    Webhook.objects.filter(pk=WEBHOOKS["shop"][0]).update(secret=views.SECRET.decode())
    print(f"growth: {rows:,} rows were stored in {time.monotonic() - started:.0f} s", file=sys.stderr)


def _schema(rows: int) -> str:
    return f"rows_{rows}"


def _use(rows: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET search_path TO {_schema(rows)}")


def _name(rows: int) -> str:
    return f"{rows:,} deliveries"


def _documents(event: str, count: int, rows: int) -> Documents:
    """Return new deliveries of the organizations and about the tickets that the stored ones have."""
    documents = []
    for number in range(count):
        document = example_envelope(event, number=number, delivery_id=f"dlv_{uuid.uuid4().hex}")
        document["organization_id"] = f"org_{random.randrange(200)}"
        document["data"]["id"] = f"tkt_{random.randrange(rows // 4 + 1)}"
        documents.append(document)
    return documents


def _environs(documents: Documents) -> list[dict[str, Any]]:
    url = Webhook(pk=WEBHOOKS["shop"][0]).get_absolute_url()
    return [make_environ(url, json.dumps(document, ensure_ascii=False).encode()) for document in documents]


def _rates(options: argparse.Namespace) -> list[Table]:
    """Let all numbers of rows take their turns with each kind of work."""
    handler = WSGIHandler()
    names = [_name(rows) for rows in options.rows]
    works: dict[str, list[Row]] = {
        title: [Row(name=name, floor=names[0] if name != names[0] else "") for name in names] for title in _UNITS
    }
    for rows in options.rows:
        for _title, _sample in _turn(handler, rows, WARM_UP_REQUESTS):
            pass
    for number, row in in_turns(next(iter(works.values())), options.rounds):
        place = names.index(row.name)
        for title, sample in _turn(handler, options.rows[place], options.requests):
            works[title][place].samples.append(sample)
        print(f"growth, round {number + 1} of {options.rounds}: {row.name}", file=sys.stderr)
    version = database_name()
    return [Table(title=f"{title}, {version}", unit=_UNITS[title], rows=rows) for title, rows in works.items()]


_UNITS: Final = {
    "A new delivery": "requests",
    "A new delivery, run inline": "requests",
    "A repeated attempt": "requests",
    "Deliveries claimed, their runs created": "runs",
    "Due runs claimed": "runs",
}
"""What is measured, and what is counted."""


def _turn(handler: WSGIHandler, rows: int, requests: int) -> Iterator[tuple[str, Sample]]:
    """Yield what each kind of work took beside so many rows, in the order of `_UNITS`."""
    _use(rows)
    titles = iter(_UNITS)
    new = _documents(EVENT_WITHOUT_RECEIVER, requests, rows)
    yield next(titles), _send(handler, new)
    yield next(titles), _send(handler, _documents(EVENT_WITH_RECEIVER, requests, rows))
    for document in new:
        document["metadata"]["attempt"] = 2
    yield next(titles), _send(handler, new)
    with override_settings(NATEQ_WEBHOOKS=settings.NATEQ_WEBHOOKS | {"DISPATCH": "worker"}):
        _send(handler, _documents(EVENT_WITH_RECEIVER, CLAIMED * CLAIMS, rows))
    yield next(titles), _claim(claim_deliveries)
    ours = Run.objects.filter(status=Run.Status.RUNNING, next_try_at__isnull=False)
    # Before all others that are due: the claim finds these.
    ours.update(status=Run.Status.WAITING, tries=0, started_at=None, lease=None, next_try_at=EARLIEST)
    yield next(titles), _claim(claim_runs)
    Delivery.objects.filter(pk__in=ours.values("delivery")).update(status=Delivery.Status.PROCESSED)
    ours.update(status=Run.Status.SUCCEEDED, lease=None, next_try_at=None)


def _send(handler: WSGIHandler, documents: Documents) -> Sample:
    """Send them, and count the database's processor time, too."""
    environs, before = _environs(documents), database_seconds()
    sample = send(handler, environs, 1)
    return replace(sample, database_cpu=1000 * (database_seconds() - before) / len(documents))


def _claim(claim: Callable[[str, int], Any]) -> Sample:
    """Claim what is due, some times."""
    before = database_seconds()
    start, cpu = time.perf_counter(), time.process_time()
    found = sum(len(claim(connection.alias, CLAIMED).runs) for _ in range(CLAIMS))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if found != CLAIMED * CLAIMS:
        raise SystemExit(f"{found} runs were claimed, not {CLAIMED * CLAIMS}.")
    database = database_seconds() - before
    return Sample(rate=found / seconds, server_cpu=1000 * cpu / found, database_cpu=1000 * database / found)


def _wal_listing(options: argparse.Namespace) -> Listing:
    """Count the WAL of inserts right after a checkpoint."""
    lines = []
    for rows in options.rows:
        _use(rows)
        for kind, event in (("nothing to run", EVENT_WITHOUT_RECEIVER), ("run inline", EVENT_WITH_RECEIVER)):
            count = min(WAL_INSERTS, options.requests)
            own, images = _wal_of_inserts(_documents(event, count, rows))
            lines.append([f"{_name(rows)}, {kind}", f"{own:,.0f}", f"{images:,.0f}", f"{own + images:,.0f}"])
    note = (
        f"The mean of {min(WAL_INSERTS, options.requests):,} inserts right after a checkpoint. PostgreSQL writes the "
        "image of a page with its first change after each checkpoint: the fewer inserts between two, the more images "
        "for each."
    )
    return Listing(
        title="WAL of the statement that stores a delivery (bytes)",
        head=["", "records", "images of pages", "together"],
        lines=lines,
        notes=[note],
    )


def _wal_of_inserts(documents: Documents) -> tuple[float, float]:
    """Return the bytes of WAL per INSERT, and the bytes of images of pages beside them.

    Each is explained twice before it is executed, and rolled back: the second time the pages that it changes have been
    written since the checkpoint, so the difference is the images. Other connections' WAL is not counted.
    """
    found: list[tuple[int, int]] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:  # noqa: FBT001
        if DELIVERIES in sql and "INSERT" in sql and not sql.startswith("EXPLAIN"):
            found.append((_explained_wal(sql, params), _explained_wal(sql, params)))
        return execute(sql, params, many, context)

    with connection.cursor() as cursor:
        try:
            cursor.execute("CHECKPOINT")
        except DatabaseError as error:
            print(f"growth: no checkpoint before the WAL is counted: {error}", file=sys.stderr)
    with connection.execute_wrapper(explain):
        send(WSGIHandler(), _environs(documents), 1)
    own = statistics.mean(second for _first, second in found)
    return own, statistics.mean(max(0, first - second) for first, second in found)


def _explained_wal(sql: str, params: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute(f"EXPLAIN (ANALYZE, WAL, TIMING OFF, FORMAT JSON) {sql}", params)
        (plan,) = cursor.fetchone()
        cursor.execute("ROLLBACK")
    bytes_: int = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]["WAL Bytes"]
    return bytes_


def _bytes_listing(options: argparse.Namespace) -> Listing:
    """Return the bytes per row of each table, its out-of-line values and its indexes."""
    filled = [rows for rows in options.rows if rows]
    found: dict[str, list[str]] = {}
    for rows in filled:
        _use(rows)
        for table in (DELIVERIES, RUNS):
            for name, size in _sizes(table):
                found.setdefault(name, []).append(f"{size:,.0f}")
    lines = [[name, *cells] for name, cells in found.items()]
    return Listing(title="Bytes per delivery and per run", head=["", *map(_name, filled)], lines=lines)


def _sizes(table: str) -> Iterator[tuple[str, float]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        (count,) = cursor.fetchone()
        cursor.execute(
            "SELECT %s, pg_relation_size(%s::regclass) UNION ALL "
            "SELECT %s, COALESCE(pg_total_relation_size(NULLIF(reltoastrelid, 0)), 0) FROM pg_class "
            "WHERE oid = %s::regclass UNION ALL "
            "SELECT indexrelid::regclass::text, pg_relation_size(indexrelid) FROM pg_index "
            "WHERE indrelid = %s::regclass",
            [f"table {table}", table, f"out of line {table}", table, table],
        )
        yield from ((name, size / count) for name, size in cursor.fetchall())


def _columns_listing(options: argparse.Namespace) -> Listing:
    """Return the bytes of each column in the rows that were stored last."""
    _use(max(options.rows))
    lines = []
    for model in (Delivery, Run):
        table = model._meta.db_table
        columns = [field.column for field in model._meta.concrete_fields]
        sizes = ", ".join(f'COALESCE(avg(pg_column_size("{column}")), 0)' for column in columns)
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {sizes} FROM (SELECT * FROM {table} ORDER BY id DESC LIMIT 1000) AS latest")
            lines += [
                [f"{table}.{name}", f"{size:,.0f}"] for name, size in zip(columns, cursor.fetchone(), strict=True)
            ]
    return Listing(title="Bytes per column of the latest 1,000 rows", head=["", "bytes"], lines=lines)
