"""The statements that every claim costs, written out (`dispatch.statements` has those of each run).

Built by the ORM, the statements of a claim of twenty deliveries took Python as long as executing all of its runs.
"""

import functools
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connections

from nateq_webhooks.database.cursors import statement_cursor
from nateq_webhooks.database.instances import from_row
from nateq_webhooks.models import Delivery, Run

MAX_ROWS: Final = 90
"""Rows of one INSERT: SQLite takes 999 values by default."""


def first_due_run(alias: str, held_by: int, now: datetime, low: datetime) -> datetime | None:
    """Return the earliest `next_try_at` from `low` on of the due runs that a hold, or none, holds back.

    Most claims only find deliveries, whose runs are still to be created: then this is None. It locks nothing, so it
    needs no transaction.
    """
    return _first_due(_NEXT_TRY_AT, f"held_by = {held_by:d}", alias, now, low)


def first_due_delivery(alias: str, now: datetime, low: datetime) -> datetime | None:
    """Return the earliest `dispatch_at` from `low` on of the deliveries that are due for dispatch; None without one."""
    return _first_due(_DISPATCH_AT, "1 = 1", alias, now, low)


def _first_due(field: Any, condition: str, alias: str, now: datetime, low: datetime) -> datetime | None:
    connection = connections[alias]
    adapt = connection.ops.adapt_datetimefield_value
    with statement_cursor(connection) as cursor:
        cursor.execute(_first_due_sql(alias, field, condition), [adapt(low), adapt(now)])
        row = cursor.fetchone()
    if row is None:
        return None
    moment: datetime = row[0]
    for convert in _conversions_of(alias, field):
        moment = convert(moment)
    return moment


def take_due_deliveries(alias: str, limit: int, now: datetime, low: datetime) -> list[Delivery]:
    """Set `dispatch_at` to NULL on the first deliveries that are due, from `low` on, and return them: PostgreSQL.

    Those that another transaction has locked are skipped.
    """
    with statement_cursor(connections[alias]) as cursor:
        cursor.execute(_take_due_deliveries_sql(alias), [low, now, limit])
        rows = sorted(cursor.fetchall(), key=lambda row: row[:2])
    found = []
    for _due_at, *values in rows:
        for place, convert in _conversions(alias):
            values[place] = convert(values[place])
        found.append(from_row(Delivery, alias, dict(zip(_ATTNAMES, values, strict=True))))
    return found


def insert_runs(alias: str, runs: Sequence[Run]) -> bool:
    """Insert runs and set their keys; return False, and insert none, where the database does not return them (MySQL).

    They have no duration, no end and no error yet.
    """
    connection = connections[alias]
    if not connection.features.can_return_rows_from_bulk_insert:
        return False
    keys: dict[tuple[int, str], int] = {}
    names = {run.receiver: _RECEIVER.get_db_prep_save(run.receiver, connection) for run in runs}
    with statement_cursor(connection) as cursor:
        for start in range(0, len(runs), MAX_ROWS):
            rows = [_values_of(connection, run, names[run.receiver]) for run in runs[start : start + MAX_ROWS]]
            if connection.vendor == "postgresql":
                cursor.execute(_insert_runs_of_json_sql(alias), [_as_json(rows)])
            else:
                cursor.execute(_insert_runs_sql(alias, len(rows)), [value for row in rows for value in row])
            keys |= {(delivery, name): pk for pk, delivery, name in cursor.fetchall()}
    for run in runs:
        run.pk = keys[run.delivery_id, names[run.receiver]]
        run._state.adding, run._state.db = False, alias  # noqa: SLF001 - as Django's `bulk_create` does
    return True


_ATTNAMES: Final = [field.attname for field in Delivery._meta.concrete_fields]

_COLUMNS: Final = (
    *("delivery_id", "receiver", "round", "status", "tries"),
    *("started_at", "held_by", "next_try_at", "lease", "created_at"),
)
"""The columns of a new run that have values of their own."""

_EMPTY: Final = ("error", "traceback")
"""The other ones that are not NULL."""

_RECEIVER: Final[Any] = Run._meta.get_field("receiver")
_LEASE: Final[Any] = Run._meta.get_field("lease")
_NEXT_TRY_AT: Final[Any] = Run._meta.get_field("next_try_at")
_DISPATCH_AT: Final[Any] = Delivery._meta.get_field("dispatch_at")


def _values_of(connection: Any, run: Run, receiver: str) -> Sequence[Any]:
    """Return the values of `_COLUMNS`, as the fields convert them."""
    time = connection.ops.adapt_datetimefield_value
    lease = _LEASE.get_db_prep_value(run.lease, connection)
    return (
        *(run.delivery_id, receiver, run.round, str(run.status), run.tries),
        *(time(run.started_at), run.held_by, time(run.next_try_at), lease, time(run.created_at)),
    )


def _as_json(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as one parameter: psycopg parses a statement with more than 50 each time that it is executed."""
    return json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in rows], default=str)


@functools.cache
def _conversions(alias: str) -> list[tuple[int, Callable[[Any], Any]]]:
    """Return what converts a delivery's values from the driver's, as a queryset would, by their place in the row."""
    found: list[tuple[int, Callable[[Any], Any]]] = []
    for place, field in enumerate(Delivery._meta.concrete_fields):
        found += [(place, convert) for convert in _conversions_of(alias, field)]
    return found


def _convert(convert: Callable[..., Any], column: Any, alias: str, value: Any) -> Any:
    return convert(value, column, connections[alias])


@functools.cache
def _first_due_sql(alias: str, field: Any, condition: str) -> str:
    quote = connections[alias].ops.quote_name
    table, column = quote(field.model._meta.db_table), quote(field.column)
    return (
        f"SELECT {column} FROM {table} WHERE {condition} AND {column} >= %s AND {column} <= %s "  # noqa: S608
        f"ORDER BY {column} LIMIT 1"
    )


@functools.cache
def _conversions_of(alias: str, field: Any) -> list[Callable[[Any], Any]]:
    """Return what converts a value of a column from the driver's, as a queryset would."""
    connection = connections[alias]
    column = field.get_col(field.model._meta.db_table)
    converters = (*connection.ops.get_db_converters(column), *field.get_db_converters(connection))
    return [functools.partial(_convert, convert, column, alias) for convert in converters]


@functools.cache
def _take_due_deliveries_sql(alias: str) -> str:
    """Return an UPDATE that also returns when each delivery was due, its key, and all of its columns."""
    quote = connections[alias].ops.quote_name
    deliveries = quote(Delivery._meta.db_table)
    columns = ", ".join(f"{deliveries}.{quote(str(field.column))}" for field in Delivery._meta.concrete_fields)
    due = (
        f"SELECT id, dispatch_at FROM {deliveries} WHERE dispatch_at >= %s AND dispatch_at <= %s "  # noqa: S608
        "ORDER BY dispatch_at LIMIT %s FOR NO KEY UPDATE SKIP LOCKED"
    )
    return (
        f"WITH due AS MATERIALIZED ({due}) UPDATE {deliveries} SET dispatch_at = NULL FROM due "  # noqa: S608
        f"WHERE {deliveries}.id = due.id RETURNING due.dispatch_at, {columns}"
    )


@functools.cache
def _insert_runs_of_json_sql(alias: str) -> str:
    """Return an INSERT of the rows of `_as_json`: PostgreSQL."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    fields = {field.column: field for field in Run._meta.concrete_fields}
    typed = ", ".join(f"{quote(name)} {fields[name].db_type(connection)}" for name in _COLUMNS)
    columns = ", ".join(quote(name) for name in (*_COLUMNS, *_EMPTY))
    selected = ", ".join([*(f"one.{quote(name)}" for name in _COLUMNS), *["''"] * len(_EMPTY)])
    return (
        f"INSERT INTO {quote(Run._meta.db_table)} ({columns}) SELECT {selected} "  # noqa: S608 - our own columns
        f"FROM json_to_recordset(%s) AS one ({typed}) RETURNING id, delivery_id, receiver"
    )


@functools.cache
def _insert_runs_sql(alias: str, count: int) -> str:
    quote = connections[alias].ops.quote_name
    row = ", ".join(["%s"] * len(_COLUMNS) + ["''"] * len(_EMPTY))
    columns = ", ".join(quote(name) for name in (*_COLUMNS, *_EMPTY))
    return (
        f"INSERT INTO {quote(Run._meta.db_table)} ({columns}) VALUES {', '.join([f'({row})'] * count)} "  # noqa: S608
        "RETURNING id, delivery_id, receiver"
    )
