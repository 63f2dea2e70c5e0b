"""The statements that every run costs, written out: built by the ORM each time they take longer than the database.

Standard SQL that every database speaks, except for what PostgreSQL has beside it; the values are converted by the
fields, as the ORM would.
"""

import functools
import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.database.cursors import statement_cursor
from nateq_webhooks.database.transactions import begin_with
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import NOT_HELD

_DURATION: Final = Run._meta.get_field("duration")
_LEASE: Final = Run._meta.get_field("lease")


def mark_started(alias: str, run: Run, started_at: datetime) -> bool:
    """Count a try of a run that is held under its lease; return whether it was. `run.tries` are those before it.

    It may be called again: the try is counted once.
    """
    connection = connections[alias]
    with statement_cursor(connection) as cursor:
        cursor.execute(
            _mark_started_sql(alias),
            [run.tries + 1, connection.ops.adapt_datetimefield_value(started_at), run.pk, _lease_of(connection, run)],
        )
        return bool(cursor.rowcount == 1)


def mark_succeeded(
    alias: str, run: Run, finished_at: datetime, started_at: datetime, *, following: Run | None, marker: str | None
) -> int:
    """Mark a run as succeeded and, in the same statement, the following one of its claim as started.

    Return how many rows were changed: each only if it is still held under the lease, and none if the transaction is
    not the one in which `set_transaction_marker` was called with this value.
    """
    connection = connections[alias]
    finished = connection.ops.adapt_datetimefield_value(finished_at)
    duration = _DURATION.get_db_prep_value(finished_at - started_at, connection)
    if following is None:
        values: list[Any] = [finished, duration, run.pk]
    else:
        values = [*[run.pk] * 2, finished, run.pk, duration, *[run.pk] * 4]
        values += [following.pk, following.tries + 1, following.pk, finished, run.pk, following.pk]
    values += [_lease_of(connection, run), *([marker] if marker else [])]
    with statement_cursor(connection) as cursor:
        cursor.execute(_mark_succeeded_sql(alias, following is not None, marker is not None), values)
        changed: int = cursor.rowcount
        return changed


class Marked(Enum):
    """What `mark_succeeded_and_processed` has changed."""

    NOTHING = auto()
    """The run is not held under its lease any more, or the transaction is not the receiver's."""
    RUN = auto()
    """The run; it is still to be finalized."""
    RUN_AND_DELIVERY = auto()
    """The run, its delivery, and the claim's earlier runs: all of them are finalized."""


def mark_succeeded_and_processed(
    alias: str, run: Run, finished_at: datetime, started_at: datetime, *, earlier: Sequence[Run], marker: str | None
) -> Marked:
    """Mark the last run of a claim as succeeded and, if no run is left to do, its delivery as processed.

    It is called in the receiver's transaction. `earlier` are the claim's other runs, all of this delivery and all
    succeeded. The delivery stays as it is if it has another run to do, and if another transaction has locked or just
    changed it: this one never waits for it, as waiting could end in a deadlock, which would undo the receiver's work.
    PostgreSQL takes one statement for all of it; what that sees of other runs is one snapshot.
    """
    connection = connections[alias]
    finished = connection.ops.adapt_datetimefield_value(finished_at)
    duration = _DURATION.get_db_prep_value(finished_at - started_at, connection)
    held = [run.pk, _lease_of(connection, run), *([marker] if marker else [])]
    before = [one.pk for one in earlier]
    with statement_cursor(connection) as cursor:
        if connection.vendor == "postgresql":
            sql = _succeeded_and_processed_sql(alias, len(before), marker is not None)
            cursor.execute(sql, [*[run.delivery_id] * 3, run.pk, *before, finished, duration, *held])
            row = cursor.fetchone()
            if row is None:
                return Marked.NOTHING
            return Marked.RUN_AND_DELIVERY if row[0] else Marked.RUN
        is_processed = _lock_delivery(alias, run.delivery_id)
        if is_processed:
            cursor.execute(_processed_but_for_sql(alias), [run.delivery_id, run.pk])
            is_processed = cursor.rowcount == 1
        cursor.execute(_succeeded_sql(alias, is_processed), [finished, duration, *held])
        if cursor.rowcount != 1:
            return Marked.NOTHING
        if is_processed and before:
            cursor.execute(_cleared_sql(alias, len(before)), before)
    return Marked.RUN_AND_DELIVERY if is_processed else Marked.RUN


def _lock_delivery(alias: str, pk: int) -> bool:
    """Lock a delivery unless another transaction has; on SQLite the next statement takes the one lock there is."""
    connection = connections[alias]
    if not connection.features.has_select_for_update_skip_locked:
        return connection.vendor == "sqlite"
    with statement_cursor(connection) as cursor:
        table = connection.ops.quote_name(Delivery._meta.db_table)
        cursor.execute(f"SELECT id FROM {table} WHERE id = %s FOR UPDATE SKIP LOCKED", [pk])  # noqa: S608
        return cursor.fetchone() is not None


def set_transaction_marker(alias: str, value: str) -> None:
    """Set a variable to a UUID; PostgreSQL drops it when the transaction ends.

    `has_transaction_marker` tells by it whether the receiver has ended the transaction.
    """
    if begin_with(alias, f"SELECT set_config('nateq_webhooks.run', '{uuid.UUID(value)}', true)"):
        return
    with statement_cursor(connections[alias]) as cursor:
        cursor.execute("SELECT set_config('nateq_webhooks.run', %s, true)", [value])


def has_transaction_marker(alias: str, value: str) -> bool:
    """Return whether the transaction is still the one in which `set_transaction_marker` was called."""
    with statement_cursor(connections[alias]) as cursor:
        cursor.execute(f"SELECT {_HAS_MARKER}", [value])
        return bool(cursor.fetchone()[0])


def mark_processed(alias: str, runs: Collection[Run], *, finalizes: bool) -> frozenset[int]:
    """Mark the deliveries of succeeded runs as processed if no run of any is left to do; return which were marked.

    With `finalizes` those runs are finalized together with them. PostgreSQL marks each delivery that is ready, in one
    statement; others, whose UPDATE does not say which rows it changed, mark all or none.

    A row is changed only where no other run is seen, and the transaction that commits last sees all of them.
    """
    deliveries = frozenset(run.delivery_id for run in runs)
    if not deliveries:
        return deliveries
    pks = [run.pk for run in runs] if finalizes else []
    connection = connections[alias]
    if connection.vendor == "postgresql":
        with statement_cursor(connection) as cursor:
            cursor.execute(_processed_and_cleared_sql(alias, len(deliveries), len(pks)), [*deliveries, *pks])
            return frozenset(pk for (pk,) in cursor.fetchall())
    with transaction.atomic(using=alias, durable=True), statement_cursor(connection) as cursor:
        cursor.execute(_mark_processed_sql(alias, len(deliveries)), [*deliveries])
        if cursor.rowcount != len(deliveries):
            transaction.set_rollback(True, using=alias)
            return frozenset()
        if pks:
            cursor.execute(_cleared_sql(alias, len(pks)), pks)
    return deliveries


_HAS_MARKER: Final = "COALESCE(current_setting('nateq_webhooks.run', true), '') = %s"


def _lease_of(connection: BaseDatabaseWrapper, run: Run) -> Any:
    return _LEASE.get_db_prep_value(run.lease, connection)


@functools.cache
def _mark_started_sql(alias: str) -> str:
    return _update_held(alias, {"tries": "%s", "started_at": "%s"})


_SUCCEEDED: Final = {
    "status": f"'{Run.Status.SUCCEEDED}'",
    "finished_at": "%s",
    "duration": "%s",
    "lease": "NULL",
    "held_by": str(NOT_HELD),
    "error": "''",
    "traceback": "''",
}
"""What a run that has succeeded has in its columns."""


@functools.cache
def _mark_succeeded_sql(alias: str, with_following: bool, with_marker: bool) -> str:  # noqa: FBT001 - a cache's key
    marker = f" AND {_HAS_MARKER}" if with_marker else ""
    if not with_following:
        return _update_held(alias, _SUCCEEDED) + marker
    changes = _SUCCEEDED | {"tries": "%s", "started_at": "%s"}
    by_run = {name: f"CASE WHEN id = %s THEN {value} ELSE {name} END" for name, value in changes.items()}
    return _update_held(alias, by_run, "id IN (%s, %s)") + marker


@functools.cache
def _mark_processed_sql(alias: str, count: int) -> str:
    deliveries = connections[alias].ops.quote_name(Delivery._meta.db_table)
    return (
        f"UPDATE {deliveries} SET status = '{_PROCESSED}' WHERE id IN ({', '.join(['%s'] * count)}) "  # noqa: S608
        f"AND status <> '{_PROCESSED}' AND NOT EXISTS ({_runs_to_do(alias, f'{deliveries}.id')})"
    )


@functools.cache
def _processed_and_cleared_sql(alias: str, deliveries: int, runs: int) -> str:
    processed = f"{_mark_processed_sql(alias, deliveries)} RETURNING id"
    if not runs:
        return processed
    cleared = f"{_cleared_sql(alias, runs)} AND delivery_id IN (SELECT id FROM processed)"  # noqa: S608
    return f"WITH processed AS ({processed}), cleared AS ({cleared}) SELECT id FROM processed"  # noqa: S608


_PROCESSED: Final = Delivery.Status.PROCESSED


def _runs_to_do(alias: str, delivery: str) -> str:
    """Return a query of the runs of a delivery that are not resolved and that no later round has replaced."""
    runs = connections[alias].ops.quote_name(Run._meta.db_table)
    later = (
        f"SELECT 1 FROM {runs} later WHERE later.delivery_id = earlier.delivery_id "  # noqa: S608
        "AND later.receiver = earlier.receiver AND later.round > earlier.round"
    )
    resolved = ", ".join(f"'{status}'" for status in Run.RESOLVED)
    return (
        f"SELECT 1 FROM {runs} earlier WHERE earlier.delivery_id = {delivery} "  # noqa: S608
        f"AND earlier.status NOT IN ({resolved}) AND NOT EXISTS ({later})"
    )


@functools.cache
def _succeeded_and_processed_sql(alias: str, count: int, with_marker: bool) -> str:  # noqa: FBT001 - a cache's key
    """PostgreSQL: the delivery, the earlier runs and the run itself.

    A delivery that another transaction has changed since the snapshot was taken has another `xmin`, and is left alone.
    """
    deliveries = connections[alias].ops.quote_name(Delivery._meta.db_table)
    unlocked = (
        f"SELECT id FROM {deliveries} WHERE id = %s AND status <> '{_PROCESSED}' "  # noqa: S608
        f"AND xmin = (SELECT xmin FROM {deliveries} WHERE id = %s) FOR NO KEY UPDATE SKIP LOCKED"
    )
    processed = (
        f"UPDATE {deliveries} SET status = '{_PROCESSED}' WHERE id = ({unlocked}) "  # noqa: S608
        f"AND NOT EXISTS ({_runs_to_do(alias, '%s')} AND earlier.id <> %s) RETURNING id"
    )
    is_processed = "EXISTS (SELECT 1 FROM processed)"
    cleared = f", cleared AS ({_cleared_sql(alias, count)} AND {is_processed})" if count else ""
    next_try_at = f"CASE WHEN {is_processed} THEN NULL ELSE next_try_at END"
    succeeded = _update_held(alias, _SUCCEEDED | {"next_try_at": next_try_at})
    succeeded += f" AND {_HAS_MARKER}" if with_marker else ""
    return f"WITH processed AS ({processed}){cleared} {succeeded} RETURNING {is_processed}"


@functools.cache
def _processed_but_for_sql(alias: str) -> str:
    deliveries = connections[alias].ops.quote_name(Delivery._meta.db_table)
    return (
        f"UPDATE {deliveries} SET status = '{_PROCESSED}' WHERE id = %s AND status <> '{_PROCESSED}' "  # noqa: S608
        f"AND NOT EXISTS ({_runs_to_do(alias, f'{deliveries}.id')} AND earlier.id <> %s)"
    )


@functools.cache
def _succeeded_sql(alias: str, is_finalized: bool) -> str:  # noqa: FBT001 - a cache's key
    return _update_held(alias, _SUCCEEDED | ({"next_try_at": "NULL"} if is_finalized else {}))


@functools.cache
def _cleared_sql(alias: str, count: int) -> str:
    runs = connections[alias].ops.quote_name(Run._meta.db_table)
    pks = ", ".join(["%s"] * count)
    return f"UPDATE {runs} SET next_try_at = NULL WHERE id IN ({pks}) AND status = '{Run.Status.SUCCEEDED}'"  # noqa: S608


def _update_held(alias: str, changes: Mapping[str, str], where: str = "id = %s") -> str:
    """Return an UPDATE of runs that are held under a lease (`RunQuerySet.held_under`)."""
    runs = connections[alias].ops.quote_name(Run._meta.db_table)
    assignments = ", ".join(f"{name} = {value}" for name, value in changes.items())
    return f"UPDATE {runs} SET {assignments} WHERE {where} AND lease = %s"  # noqa: S608
