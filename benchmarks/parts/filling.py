"""Fills the tables with millions of rows that resemble a year of deliveries, by SQL that the server runs.

Each value is computed from the number of its row, so that all databases get the same rows: 97 % processed, twelve
events and a rare one, 50 webhooks of very different traffic, 200 organizations, bodies of about 1 KB, one run per
delivery.
"""

import json
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from django.db import connection

from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.events import EVENTS

BATCH: Final = 250_000
"""Rows per statement."""

DELIVERIES: Final = Delivery._meta.db_table
RUNS: Final = Run._meta.db_table

_SITES: Final = 45
"""Webhooks with an equal, small share of the traffic, beside the five that have a name."""

WEBHOOKS: Final = {
    "shop": (uuid.UUID(int=1), 0.50),
    "desk": (uuid.UUID(int=2), 0.70),
    "branch": (uuid.UUID(int=3), 0.80),
    "trial": (uuid.UUID(int=4), 0.85),
    **{f"site_{n}": (uuid.UUID(int=5 + n), 0.85 + 0.1499 * n / _SITES) for n in range(1, _SITES + 1)},
    "rare": (uuid.UUID(int=5), 1.0),
}
"""Each webhook's key, and where its share of the traffic ends."""

RARE_EVENT: Final = "invoice.paid"
"""Not a published event; every millionth delivery has it."""

SINGLE_ORGANIZATION: Final = "org_single"
"""The organization of a single delivery."""

_EVENT_SHARES: Final = (0.2, 0.35, 0.48, 0.6, 0.7, 0.8, 0.87, 0.93, 0.97, 0.99, 0.9999, 1.0)
_STATUS_SHARES: Final = (
    ("processed", 0.97),
    ("ignored", 0.98),
    ("failed", 0.988),
    ("dead", 0.993),
    ("received", 0.9985),
    ("invalid", 1.0),
)
_DESCRIPTION: Final = (
    "Since this morning the printer beside the stairs asks for paper although both trays are full. I have switched it "
    "off and on, opened every flap that I could find and taken the paper out and put it in again, as the sheet on the "
    "wall says. The small screen shows the code E-52 for a moment and then asks for paper again. Two colleagues from "
    "accounting wait for their monthly statements, which have to be posted today, and the one on the next floor prints "
    "only in black. Could somebody have a look before noon, please?"
)
_HEADERS: Final = {
    "X-Nateq-Signature": f"sha256={'0123456789abcdef' * 4}",
    "Content-Type": "application/json",
    "Content-Length": "1024",
    "Host": "www.example.com",
    "User-Agent": "Nateq-Webhooks/1.0",
    "Accept": "*/*",
    "Accept-Encoding": "gzip",
}
_RECEIVER_SHARES: Final = (("shop.tickets", 0.6), ("shop.crm", 0.9), ("shop.audit", 0.9999), ("shop.rare", 1.0))


@dataclass(frozen=True, slots=True)
class Dialect:
    """The SQL that differs between the two databases."""

    numbers: str
    bytes: str
    sha256: str
    json: str
    seconds: str
    milliseconds: str


POSTGRESQL: Final = Dialect(
    numbers="generate_series({first}, {last}) AS s(n)",
    bytes="convert_to({}, 'UTF8')",
    sha256="encode(sha256(convert_to({}, 'UTF8')), 'hex')",
    json="CAST({} AS jsonb)",
    seconds="TIMESTAMPTZ '2026-08-01 02:00:00+00' + ({}) * INTERVAL '1 second'",
    milliseconds="({}) * INTERVAL '1 millisecond'",
)
MARIADB: Final = Dialect(
    numbers="(SELECT seq AS n FROM seq_{first}_to_{last}) AS s",
    bytes="{}",
    sha256="SHA2({}, 256)",
    json="{}",
    seconds="TIMESTAMP '2026-08-01 02:00:00' + INTERVAL ({}) * 1000000 MICROSECOND",
    milliseconds="({}) * 1000",
)


def fill(rows: int) -> None:
    """Insert `rows` rows into both tables, without their indexes, which are built afterwards. Progress to stderr."""
    for name, (key, _) in WEBHOOKS.items():
        Webhook.objects.get_or_create(pk=key, defaults={"name": name})
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET synchronous_commit = off")
            cursor.execute("SET maintenance_work_mem = '512MB'")
        built_again = list(_drop_indexes())
        for first in range(1, rows + 1, BATCH):
            last = min(first + BATCH - 1, rows)
            for statement in _inserts(first, last):
                cursor.execute(statement)
            print(f"{last:>12,} rows", file=sys.stderr)
        for statement in built_again:
            print(statement[:110], file=sys.stderr)
            cursor.execute(statement)
        for statement in _finish():
            cursor.execute(statement)


def _finish() -> Iterator[str]:
    """Yield the maintenance that a server in use has done: sequences and statistics."""
    if connection.vendor == "postgresql":
        for table in (DELIVERIES, RUNS):
            yield f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            yield f"VACUUM (ANALYZE) {table}"
        yield "RESET synchronous_commit"
        yield "RESET maintenance_work_mem"
    else:
        for table in (DELIVERIES, RUNS):
            yield f"ANALYZE TABLE {table}"


def _share(multiplier: int) -> str:
    """Return SQL for a number from 0 to 1 that depends on n and is evenly distributed."""
    return f"(MOD(n * {multiplier}, 4294967291) / 4294967291.0)"


def _pick(share: str, choices: list[tuple[str, float]]) -> str:
    cases = " ".join(f"WHEN {share} < {end} THEN '{value}'" for value, end in choices[:-1])
    return f"CASE {cases} ELSE '{choices[-1][0]}' END"


def _inserts(first: int, last: int) -> Iterator[str]:
    dialect = POSTGRESQL if connection.vendor == "postgresql" else MARIADB
    event = _pick("a", list(zip(EVENTS, _EVENT_SHARES, strict=True)))
    inner = f"""SELECT n, d,
        CASE WHEN MOD(n, 1000000) = 500000 THEN '{RARE_EVENT}' ELSE {event} END AS event,
        {_pick("b", [(str(key), end) for key, end in WEBHOOKS.values()])} AS webhook,
        CASE WHEN n = 12345 THEN '{SINGLE_ORGANIZATION}' ELSE CONCAT('org_', FLOOR(200 * c * c)) END AS org,
        CONCAT('tkt_', FLOOR(n / 4)) AS rid,
        {_pick("d", list(_STATUS_SHARES))} AS status,
        {dialect.seconds.format("n")} AS moment
        FROM (SELECT n, {_share(2654435761)} AS a, {_share(2246822519)} AS b, {_share(3266489917)} AS c,
            {_share(3339675911)} AS d FROM {dialect.numbers.format(first=first, last=last)}) AS shares"""
    body = f"""CONCAT('{{"event":"', event, '","timestamp":"2026-06-30T12:00:00Z","organization_id":"', org,
        '","data":{{"id":"', rid, '","subject":"The printer on floor ', MOD(n, 90), ' is out of paper",',
        '"status":"open","priority":"high","channel":"email","assignee_id":null,',
        '"tags":["printer","floor ', MOD(n, 90), '"],',
        '"description":"{_DESCRIPTION}","created_at":"2026-06-30T11:59:58Z","updated_at":"2026-06-30T12:00:00Z",',
        '"requester":{{"name":"Sara","email":"sara', MOD(n, 1000003), '@example.com"}}}},',
        '"metadata":{{"delivery_id":"dlv_', n, '","attempt":1,"version":"1.0"}}}}')"""
    webhook = "CAST(webhook AS uuid)" if dialect is POSTGRESQL else "webhook"
    identity = dialect.sha256.format("CONCAT('str:dlv_', n)")
    yield f"""INSERT INTO {DELIVERIES} (id, webhook_id, identity, delivery_id, event, resource, resource_id,
        organization_id, timestamp, attempt, version, body, headers, payload, notes, status, received_at,
        last_received_at, attempts_seen, remote_addr, secret_id, content_hash, dispatch_at)
        SELECT n, {webhook}, {identity}, CONCAT('dlv_', n), event, 'ticket', rid, org, moment, 1, '1.0',
        {dialect.bytes.format(body)}, '{json.dumps(_HEADERS)}', {dialect.json.format(body)}, '[]',
        status, moment, moment, 1, '127.0.0.1', 'sec_0123456789ab',
        {dialect.sha256.format("CONCAT('content:', n)")}, NULL FROM ({inner}) AS numbered"""
    run_status = """CASE status WHEN 'failed' THEN 'failed' WHEN 'dead' THEN 'dead' WHEN 'received' THEN 'waiting'
        ELSE 'succeeded' END"""
    yield f"""INSERT INTO {RUNS} (id, delivery_id, receiver, round, status, tries, started_at, finished_at, duration,
        error, traceback, held_by, next_try_at, lease, created_at)
        SELECT n, n, {_pick(_share(2971215073), list(_RECEIVER_SHARES))}, 0, {run_status}, 1,
        moment, {dialect.seconds.format("n + d")}, {dialect.milliseconds.format("MOD(n, 900)")},
        CASE status WHEN 'dead' THEN 'LookupError: no such customer' ELSE '' END, '', 0,
        CASE WHEN status IN ('failed', 'received') THEN moment ELSE NULL END, NULL, moment
        FROM ({inner}) AS numbered"""


def _drop_indexes() -> Iterator[str]:
    """Drop the indexes, which would slow the inserts; yield the statements that build them again."""
    for table in (DELIVERIES, RUNS):
        yield from _drop_on_postgresql(table) if connection.vendor == "postgresql" else _drop_on_mariadb(table)


def _drop_on_postgresql(table: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass "
            "AND contype IN ('u', 'f') ORDER BY contype DESC",
            [table],
        )
        for name, definition in cursor.fetchall():
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
            yield f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
        cursor.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename = %s "
            "AND indexname NOT LIKE '%%_pkey'",
            [table],
        )
        for name, definition in cursor.fetchall():
            cursor.execute(f"DROP INDEX {name}")
            yield definition


def _drop_on_mariadb(table: str) -> Iterator[str]:
    with connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0, unique_checks = 0")
        cursor.execute(
            "SELECT index_name, MAX(non_unique), GROUP_CONCAT(column_name ORDER BY seq_in_index) "
            "FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = %s "
            "AND index_name <> 'PRIMARY' GROUP BY index_name",
            [table],
        )
        parts = []
        for name, not_unique, columns in cursor.fetchall():
            cursor.execute(f"DROP INDEX `{name}` ON {table}")
            parts.append(f"ADD {'' if not_unique else 'UNIQUE '}INDEX `{name}` ({columns})")
        yield f"ALTER TABLE {table} {', '.join(parts)}"
