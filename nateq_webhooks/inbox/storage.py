"""Storing a verified delivery: one INSERT that also counts a repetition, committed before it returns.

With it the runs of a new delivery may be inserted, so that the request that stores it can execute them at once.

The statement returns whether the row is new (`attempts_seen` is 1). A `bulk_create` can't do that without a model
instance and two more statements on Django 5.2 (measured: 20 % of the requests per second).
"""

import functools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, connections, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import F, TextField
from django.db.models.functions import Cast

from nateq_webhooks.database.cursors import statement_cursor
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.database.transactions import is_read_committed
from nateq_webhooks.inbox import new_runs
from nateq_webhooks.inbox.configuration import Configuration, cache
from nateq_webhooks.inbox.delivery_row import NewDelivery, UpsertResult, new_delivery
from nateq_webhooks.inbox.follow_up import follow_up, keep_other_content
from nateq_webhooks.inbox.outages import as_store_error
from nateq_webhooks.inbox.redaction import RedactedDelivery, keep_whole_body, redacted
from nateq_webhooks.inbox.removed import was_removed
from nateq_webhooks.inbox.request import Verified
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.run import NewRun

logger: Final = logging.getLogger("nateq_webhooks")

RETRY_SECONDS: Final = 4.0
"""After so long the delivery is not tried again, but answered with 503: the sender waits for about 10 seconds.

So a lock that takes longer than a limit of 5 seconds (docs: Receiving) is waited for once.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A committed delivery. `dispatch_at` is when its receivers are due; None if none are to run."""

    pk: int
    alias: str
    is_new: bool
    is_readable: bool
    dispatch_at: datetime | None
    runs: Sequence[Run] = ()
    "The runs that were inserted with it, each with a delivery of its own."


@dataclass(frozen=True, slots=True)
class RepeatOfRemoved:
    """A repeat of a delivery that retention or an erasure has removed: nothing is stored, and nothing runs."""


def store(
    verified: Verified, *, hold: timedelta = timedelta(), runs: Sequence[NewRun] = ()
) -> Receipt | RepeatOfRemoved:
    """Store a verified delivery, or count one more attempt at it, and commit.

    If receivers are connected to its event, they are due after `hold`; or `runs` are inserted in the same transaction
    if the delivery is new and the database can return their keys. Raises `StoreError`
    if the database can't commit it: then it must not be acknowledged.
    """
    alias = router.db_for_write(Delivery)
    with as_store_error(alias, f'A delivery to webhook "{verified.webhook.name}" could not be stored'):
        if not has_returning(connections[alias]):
            runs = ()
        # No run starts before its delivery was received.
        received_at = runs[0].created_at if runs else datetime.now(UTC)
        new = redacted(new_delivery(verified, None if runs else hold, alias, received_at))
        if new.status != Delivery.Status.RECEIVED:
            runs = ()
        has_removed = _has_removed(verified.webhook)
        if has_removed:
            found = insert_unless_removed(alias, new, runs)
            if found is None:
                name = verified.webhook.name
                logger.info('A delivery to webhook "%s" repeats one that was removed; nothing is stored.', name)
                return RepeatOfRemoved()
            stored, rows = found
        else:
            stored, rows = upsert(alias, new, runs)
    is_new = stored.attempts_seen == 1
    other = None if is_new else keep_other_content(alias, stored, new, has_removed=has_removed)
    follow_up(verified, alias, stored, new, other)
    return Receipt(
        pk=stored.pk,
        alias=alias,
        is_new=is_new,
        is_readable=stored.status != Delivery.Status.INVALID,
        dispatch_at=new.dispatch_at if is_new else None,
        runs=new_runs.as_models(alias, stored.pk, new, verified.content.event, runs, rows) if rows else (),
    )


Statement = Callable[[BaseDatabaseWrapper, NewDelivery], UpsertResult]


def upsert(
    alias: str, new: NewDelivery, runs: Sequence[NewRun] = ()
) -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]]:
    """Insert the row and its `runs`, or count one more attempt on the existing one, and commit.

    Return the row as it is then, and the rows of the runs that were inserted.

    One statement in autocommit, which is its own transaction; with runs two in a transaction, except on PostgreSQL. A
    delivery in which values are masked takes two more.
    Raises `django.db.DatabaseError` if it can't be committed, and `RuntimeError` inside a transaction, where the
    request would be answered before the commit.
    """
    connection = connections[alias]
    in_one_statement = (not runs or connection.vendor == "postgresql") and not isinstance(new, RedactedDelivery)

    def execute() -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]]:
        if connection.in_atomic_block or not in_one_statement:
            with transaction.atomic(using=alias, durable=True):
                return _insert(connection, new, runs)
        stored = _insert(connection, new, runs)
        if not connection.autocommit:
            connection.commit()
        return stored

    return retry_transaction(execute, seconds=RETRY_SECONDS)


def insert_unless_removed(
    alias: str, new: NewDelivery, runs: Sequence[NewRun] = ()
) -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]] | None:
    """As `upsert`, but return None, with nothing stored, for a delivery that retention or an erasure has removed.

    Whether it was is asked after the INSERT, in the same transaction: the INSERT may have waited for the transaction
    that removed the delivery. Two statements more, with BEGIN and COMMIT, so only where something was removed.
    """
    connection = connections[alias]

    def execute() -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]] | None:
        with transaction.atomic(using=alias, durable=True):
            _see_what_is_committed(connection)
            found = _insert(connection, new, runs)
            is_new = found[0].attempts_seen == 1
            if is_new and was_removed(connection, new.webhook_id, new.identity, new.content_hash, new.received_at):
                transaction.set_rollback(True, using=alias)
                return None
            return found

    return retry_transaction(execute, seconds=RETRY_SECONDS)


def _has_removed(webhook: Configuration) -> bool:
    """Return whether deliveries of the webhook were removed, as of now: a body may have taken minutes to arrive."""
    latest = cache.get(webhook.id)
    return webhook.has_removed if latest is None else latest.has_removed


def _see_what_is_committed(connection: BaseDatabaseWrapper) -> None:
    """Let each statement of the transaction see what others have committed before it, whatever the site's default is.

    MariaDB does so by itself here: its snapshot begins with the first SELECT, which is after the INSERT.
    """
    if connection.vendor == "postgresql" and not is_read_committed(connection.alias):
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")


def _insert(
    connection: BaseDatabaseWrapper, new: NewDelivery, runs: Sequence[NewRun]
) -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]]:
    if runs and connection.vendor == "postgresql":
        stored, rows = _with_runs(connection, new, runs)
    else:
        stored = _statement_for(connection)(connection, new)
        rows = new_runs.insert(connection, stored.pk, runs) if runs and stored.attempts_seen == 1 else ()
    if stored.attempts_seen == 1 and isinstance(new, RedactedDelivery):
        keep_whole_body(connection.alias, stored.pk, new)
    return stored, rows


def has_returning(connection: BaseDatabaseWrapper) -> bool:
    """Return whether an INSERT, or what it does instead of one, returns the row: not on MySQL."""
    return connection.features.can_return_columns_from_insert and connection.vendor in _STATEMENTS


def _statement_for(connection: BaseDatabaseWrapper) -> Statement:
    return _STATEMENTS[connection.vendor] if has_returning(connection) else _portable


def _with_runs(
    connection: BaseDatabaseWrapper, new: NewDelivery, runs: Sequence[NewRun]
) -> tuple[UpsertResult, Sequence[new_runs.InsertedRow]]:
    """Insert the row and its runs in one statement: PostgreSQL."""
    values = [*_parameters(connection, new), *new_runs.parameters(connection, runs)]
    with statement_cursor(connection) as cursor:
        cursor.execute(_with_runs_sql(connection.alias, len(runs)), values)
        rows = cursor.fetchall()
    stored = UpsertResult(*rows[0][:5])
    return stored, [row[5:] for row in rows] if stored.attempts_seen == 1 else ()


def _on_conflict(connection: BaseDatabaseWrapper, new: NewDelivery) -> UpsertResult:
    with statement_cursor(connection) as cursor:
        cursor.execute(_on_conflict_sql(connection.alias), _parameters(connection, new))
        return UpsertResult(*cursor.fetchone())


def _on_duplicate_key(connection: BaseDatabaseWrapper, new: NewDelivery) -> UpsertResult:
    with statement_cursor(connection) as cursor:
        cursor.execute(_on_duplicate_key_sql(connection.alias), _parameters(connection, new))
        return UpsertResult(*cursor.fetchone())


_STATEMENTS: Final[dict[str, Statement]] = {
    "postgresql": _on_conflict,
    "sqlite": _on_conflict,
    "mysql": _on_duplicate_key,  # MariaDB
}


def _portable(connection: BaseDatabaseWrapper, new: NewDelivery) -> UpsertResult:
    """Insert, or count on the existing row, in standard SQL: for MySQL and other databases without RETURNING."""
    same = Delivery.objects.using(connection.alias).filter(webhook_id=new.webhook_id, identity=new.identity)
    try:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            cursor.execute(_insert_sql(connection.alias), _parameters(connection, new))
    except IntegrityError:
        if not same.update(attempts_seen=F("attempts_seen") + 1, last_received_at=new.last_received_at):
            raise
    as_text = Cast("notes", TextField())
    return UpsertResult(*same.values_list("pk", "attempts_seen", "status", "content_hash", as_text).get())


@functools.cache
def _insert_sql(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    columns = [quote(field.name) for field in fields(NewDelivery)]
    values = ", ".join(["%s"] * len(columns))
    # Only our own column names and placeholders are interpolated.
    return f"INSERT INTO {quote(_TABLE)} ({', '.join(columns)}, attempts_seen) VALUES ({values}, 1)"  # noqa: S608


@functools.cache
def _on_conflict_sql(alias: str) -> str:
    """PostgreSQL, and SQLite from 3.35."""
    table = connections[alias].ops.quote_name(_TABLE)
    return (
        f"{_insert_sql(alias)} ON CONFLICT (webhook_id, identity) DO UPDATE SET "
        f"attempts_seen = {table}.attempts_seen + 1, last_received_at = excluded.last_received_at "
        "RETURNING id, attempts_seen, status, content_hash, notes"
    )


@functools.cache
def _with_runs_sql(alias: str, count: int) -> str:
    """PostgreSQL. The runs are inserted if the row is new; what is selected has a row for each of them, or one."""
    return (
        f"WITH stored AS ({_on_conflict_sql(alias)}), run AS ({new_runs.select_sql(alias, count, 'stored')}) "  # noqa: S608
        "SELECT stored.*, run.id, run.receiver FROM stored LEFT JOIN run ON true"
    )


@functools.cache
def _on_duplicate_key_sql(alias: str) -> str:
    """MariaDB."""
    return (
        f"{_insert_sql(alias)} ON DUPLICATE KEY UPDATE "
        "attempts_seen = attempts_seen + 1, last_received_at = VALUES(last_received_at) "
        "RETURNING id, attempts_seen, status, content_hash, notes"
    )


_TABLE: Final = Delivery._meta.db_table
_WEBHOOK_PK: Final = Webhook._meta.pk


def _parameters(connection: BaseDatabaseWrapper, new: NewDelivery) -> list[Any]:
    """Return the values in the order of the columns, adapted for this database's driver."""
    adapt_time = connection.ops.adapt_datetimefield_value
    received_at = adapt_time(new.received_at)
    return [
        _WEBHOOK_PK.get_db_prep_value(new.webhook_id, connection),
        new.identity,
        new.content_hash,
        new.delivery_id,
        new.event,
        new.resource,
        new.resource_id,
        new.organization_id,
        adapt_time(new.timestamp),
        new.attempt,
        new.version,
        connection.Database.Binary(new.body),  # type: ignore[attr-defined]
        new.headers,
        new.payload,
        new.notes,
        new.status,
        received_at,
        received_at,
        new.remote_addr,
        new.secret_id,
        adapt_time(new.dispatch_at),
    ]
