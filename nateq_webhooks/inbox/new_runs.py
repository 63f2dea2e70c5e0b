"""The runs of a new delivery, inserted in the same transaction. `dispatch` builds them, `inbox` only inserts them.

None is inserted for a delivery that is stored already.
"""

import functools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.database.cursors import statement_cursor
from nateq_webhooks.database.instances import from_row
from nateq_webhooks.inbox.delivery_row import NewDelivery, as_model
from nateq_webhooks.models import Run
from nateq_webhooks.models.run import NOT_HELD, NewRun
from nateq_webhooks.protocol.events import Event

InsertedRow = tuple[int, str]
"""The key of a run that was inserted, and the name of its receiver as the column has it."""

_COLUMNS: Final = tuple(field.name for field in fields(NewRun))
_FIELDS: Final[list[Any]] = [Run._meta.get_field(name) for name in _COLUMNS]
_CONSTANTS: Final[dict[str, Any]] = {"round": 0, "held_by": NOT_HELD, "error": "", "traceback": ""}
"""The columns that are the same for each run that may start at once. Those that are not named are NULL."""

_LITERALS: Final = ", ".join("''" if value == "" else str(value) for value in _CONSTANTS.values())

_RECEIVER: Final[Any] = Run._meta.get_field("receiver")
_LEASE: Final[Any] = Run._meta.get_field("lease")


def insert(connection: BaseDatabaseWrapper, delivery_pk: int, runs: Sequence[NewRun]) -> Sequence[InsertedRow]:
    """Insert runs of a delivery that the same transaction has inserted: SQLite and MariaDB."""
    values = []
    for run in runs:
        values += [delivery_pk, *_values_of(connection, run)]
    with statement_cursor(connection) as cursor:
        cursor.execute(_insert_sql(connection.alias, len(runs)), values)
        rows: Sequence[InsertedRow] = cursor.fetchall()
        return rows


def parameters(connection: BaseDatabaseWrapper, runs: Sequence[NewRun]) -> list[Any]:
    """Return the values of `select_sql`."""
    return [value for run in runs for value in _values_of(connection, run)]


@functools.cache
def select_sql(alias: str, count: int, delivery: str) -> str:
    """Return an INSERT of so many runs for the row of `delivery`, a table of PostgreSQL's WITH, if that row is new."""
    connection = connections[alias]
    casts = ", ".join(f"CAST(%s AS {field.cast_db_type(connection)})" for field in _FIELDS)
    one = f"SELECT id, {_LITERALS}, {casts} FROM {delivery} WHERE attempts_seen = 1"  # noqa: S608 - our own column types
    return f"{_into(alias)} {' UNION ALL '.join([one] * count)} RETURNING id, receiver"


def as_models(
    alias: str, delivery_pk: int, new: NewDelivery, event: Event, runs: Sequence[NewRun], rows: Sequence[InsertedRow]
) -> list[Run]:
    """Return what was inserted, as if it had been read from the database.

    Each run has a delivery of its own: no receiver sees what another changes. That of the first one keeps the `event`
    that was parsed from the request.
    """
    connection = connections[alias]
    keys = {name: pk for pk, name in rows}
    found = []
    for run in runs:
        row = _UNSET | {name: getattr(run, name) for name in _COLUMNS}
        row |= {"id": keys[_receiver_of(connection, run)], "delivery_id": delivery_pk}
        found.append(from_row(Run, alias, row, delivery=as_model(new, alias, delivery_pk)))
    found[0].delivery.keep_event(event)
    return found


_UNSET: Final[dict[str, Any]] = dict.fromkeys(field.attname for field in Run._meta.concrete_fields) | _CONSTANTS


def _receiver_of(connection: BaseDatabaseWrapper, run: NewRun) -> Any:
    return _RECEIVER.get_db_prep_save(run.receiver, connection)


def _values_of(connection: BaseDatabaseWrapper, run: NewRun) -> list[Any]:
    """Return the values in the order of the columns, adapted for this database's driver."""
    adapt_time = connection.ops.adapt_datetimefield_value
    return [
        _receiver_of(connection, run),
        run.status,
        run.tries,
        adapt_time(run.started_at),
        adapt_time(run.next_try_at),
        _LEASE.get_db_prep_value(run.lease, connection),
        adapt_time(run.created_at),
    ]


def _into(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    columns = ", ".join(quote(name) for name in ("delivery_id", *_CONSTANTS, *_COLUMNS))
    return f"INSERT INTO {quote(Run._meta.db_table)} ({columns})"


@functools.cache
def _insert_sql(alias: str, count: int) -> str:
    row = f"(%s, {_LITERALS}, {', '.join(['%s'] * len(_COLUMNS))})"
    return f"{_into(alias)} VALUES {', '.join([row] * count)} RETURNING id, receiver"
