"""The runs of a new delivery, inserted in the same transaction. `dispatch` builds them, `inbox` only inserts them.

None is inserted for a delivery that is stored already.
"""

import functools
from collections.abc import Sequence
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.inbox.delivery_row import NewDelivery, as_model
from nateq_webhooks.models import Run
from nateq_webhooks.models.run import NOT_HELD

_COLUMNS: Final = ("receiver", "status", "tries", "started_at", "next_try_at", "lease", "created_at")
_FIELDS: Final[list[Any]] = [Run._meta.get_field(name) for name in _COLUMNS]

_RECEIVER: Final[Any] = Run._meta.get_field("receiver")

_CONSTANTS: Final = {"round": "0", "held_by": str(NOT_HELD), "error": "''", "traceback": "''"}
"""The columns that are the same for each run that may start at once. Those that are not named are NULL."""


def insert(connection: BaseDatabaseWrapper, delivery_pk: int, runs: Sequence[Run]) -> None:
    """Insert runs of a delivery that the same transaction has inserted, and set their keys: SQLite and MariaDB."""
    values = []
    for run in runs:
        values += [delivery_pk, *_values_of(connection, run)]
    with connection.cursor() as cursor:
        cursor.execute(_insert_sql(connection.alias, len(runs)), values)
        set_keys(connection, delivery_pk, runs, cursor.fetchall())


def parameters(connection: BaseDatabaseWrapper, runs: Sequence[Run]) -> list[Any]:
    """Return the values of `select_sql`."""
    return [value for run in runs for value in _values_of(connection, run)]


@functools.cache
def select_sql(alias: str, count: int, delivery: str) -> str:
    """Return an INSERT of so many runs for the row of `delivery`, a table of PostgreSQL's WITH, if that row is new."""
    connection = connections[alias]
    casts = ", ".join(f"CAST(%s AS {field.cast_db_type(connection)})" for field in _FIELDS)
    one = f"SELECT id, {', '.join(_CONSTANTS.values())}, {casts} FROM {delivery} WHERE attempts_seen = 1"  # noqa: S608 - our own column types
    return f"{_into(alias)} {' UNION ALL '.join([one] * count)} RETURNING id, receiver"


def attach_deliveries(runs: Sequence[Run], new: NewDelivery, alias: str) -> None:
    """Give each run the delivery it is inserted with, in a copy of its own: no receiver sees what another changes."""
    for run in runs:
        run.delivery = as_model(new, alias)


def set_keys(
    connection: BaseDatabaseWrapper, delivery_pk: int, runs: Sequence[Run], rows: Sequence[tuple[int, str]]
) -> None:
    """Set the keys of what was inserted; `rows` are the keys of the runs, each with the name of its receiver."""
    keys = {name: pk for pk, name in rows}
    for run in runs:
        run.pk = keys[_RECEIVER.get_db_prep_save(run.receiver, connection)]
        delivery = run.delivery
        delivery.pk = delivery_pk
        run.delivery = delivery  # with its key
        run._state.adding, run._state.db = False, connection.alias  # noqa: SLF001 - as Django's `from_db` does


def _values_of(connection: BaseDatabaseWrapper, run: Run) -> list[Any]:
    return [field.get_db_prep_save(getattr(run, field.attname), connection) for field in _FIELDS]


def _into(alias: str) -> str:
    quote = connections[alias].ops.quote_name
    columns = ", ".join(quote(name) for name in ("delivery_id", *_CONSTANTS, *_COLUMNS))
    return f"INSERT INTO {quote(Run._meta.db_table)} ({columns})"


@functools.cache
def _insert_sql(alias: str, count: int) -> str:
    row = f"(%s, {', '.join([*_CONSTANTS.values(), *['%s'] * len(_COLUMNS)])})"
    return f"{_into(alias)} VALUES {', '.join([row] * count)} RETURNING id, receiver"
