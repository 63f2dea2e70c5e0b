"""The statements that every run costs, written out: built by the ORM each time they take longer than the database.

Standard SQL that every database speaks, but for PostgreSQL's marker; the values are converted by the fields, as the
ORM would.
"""

import functools
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from django.db import connections

from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import NOT_HELD

_DURATION: Final = Run._meta.get_field("duration")
_LEASE: Final = Run._meta.get_field("lease")


def mark_started(alias: str, run: Run, started_at: datetime) -> bool:
    """Count a try of a run that is held under its lease; return whether it was. `run.tries` are those before it.

    It may be called again: the try is counted once.
    """
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(
            _mark_started_sql(alias),
            [run.tries + 1, connection.ops.adapt_datetimefield_value(started_at), run.pk, _lease_of(alias, run)],
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
    values += [_lease_of(alias, run), *([marker] if marker else [])]
    with connection.cursor() as cursor:
        cursor.execute(_mark_succeeded_sql(alias, following is not None, marker is not None), values)
        changed: int = cursor.rowcount
        return changed


def set_transaction_marker(alias: str, value: str) -> None:
    """Set a variable that PostgreSQL drops when the transaction ends.

    `has_transaction_marker` tells by it whether the receiver has ended the transaction.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT set_config('nateq_webhooks.run', %s, true)", [value])


def has_transaction_marker(alias: str, value: str) -> bool:
    """Return whether the transaction is still the one in which `set_transaction_marker` was called."""
    with connections[alias].cursor() as cursor:
        cursor.execute(f"SELECT {_HAS_MARKER}", [value])
        return bool(cursor.fetchone()[0])


def mark_processed(alias: str, delivery_pks: Collection[int]) -> int:
    """Mark those deliveries as processed that have no run left to do; return how many were not marked before."""
    if not delivery_pks:
        return 0
    with connections[alias].cursor() as cursor:
        cursor.execute(_mark_processed_sql(alias, len(delivery_pks)), list(delivery_pks))
        changed: int = cursor.rowcount
        return changed


_HAS_MARKER: Final = "COALESCE(current_setting('nateq_webhooks.run', true), '') = %s"


def _lease_of(alias: str, run: Run) -> Any:
    return _LEASE.get_db_prep_value(run.lease, connections[alias])


@functools.cache
def _mark_started_sql(alias: str) -> str:
    table = connections[alias].ops.quote_name(Run._meta.db_table)
    return (
        f"UPDATE {table} SET tries = %s, started_at = %s "  # noqa: S608
        f"WHERE id = %s AND lease = %s AND status = '{Run.Status.RUNNING}'"
    )


@functools.cache
def _mark_succeeded_sql(alias: str, with_following: bool, with_marker: bool) -> str:  # noqa: FBT001 - a cache's key
    table = connections[alias].ops.quote_name(Run._meta.db_table)
    status = Run.Status
    finish = {
        "status": f"'{status.SUCCEEDED}'",
        "finished_at": "%s",
        "duration": "%s",
        "lease": "NULL",
        "held_by": str(NOT_HELD),
        "error": "''",
        "traceback": "''",
    }
    changes, where = finish, "id = %s"
    if with_following:
        start = {"tries": "%s", "started_at": "%s"}
        changes = {name: f"CASE WHEN id = %s THEN {value} ELSE {name} END" for name, value in (finish | start).items()}
        where = "id IN (%s, %s)"
    assignments = ", ".join(f"{name} = {value}" for name, value in changes.items())
    marker = f" AND {_HAS_MARKER}" if with_marker else ""
    return f"UPDATE {table} SET {assignments} WHERE {where} AND lease = %s AND status = '{status.RUNNING}'{marker}"  # noqa: S608


@functools.cache
def _mark_processed_sql(alias: str, count: int) -> str:
    quote = connections[alias].ops.quote_name
    deliveries, runs = quote(Delivery._meta.db_table), quote(Run._meta.db_table)
    processed = Delivery.Status.PROCESSED
    later = (
        f"SELECT 1 FROM {runs} later WHERE later.delivery_id = earlier.delivery_id "  # noqa: S608
        "AND later.receiver = earlier.receiver AND later.round > earlier.round"
    )
    return (
        f"UPDATE {deliveries} SET status = '{processed}' WHERE id IN ({', '.join(['%s'] * count)}) "  # noqa: S608
        f"AND status <> '{processed}' AND NOT EXISTS (SELECT 1 FROM {runs} earlier "
        f"WHERE earlier.delivery_id = {deliveries}.id "
        f"AND earlier.status NOT IN ('{Run.Status.SUCCEEDED}', '{Run.Status.DROPPED}') AND NOT EXISTS ({later}))"
    )
