"""Columns that a list left out, such as a payload: read for all rows of the page when the first one is asked for its.

A project's own column may use any of them; else each row would cost a statement.
"""

# ruff: noqa: SLF001 - Django has no other name for what a row was read with

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Model


def load_together(rows: Sequence[Model]) -> None:
    """Have the columns that were left out of rows, and of what they were joined with, be read for all rows at once."""
    for peers in (rows, *_joined(rows)):
        for row in peers:
            # Django asks the row itself for a column that was left out.
            row.refresh_from_db = functools.partial(_refresh, row, peers)  # type: ignore[method-assign]


def _joined(rows: Sequence[Model]) -> Iterator[list[Model]]:
    """Yield what the rows have been joined with, relation by relation."""
    names = {name for row in rows for name in row._state.fields_cache}
    for name in sorted(names):
        found = [row._state.fields_cache.get(name) for row in rows]
        yield [other for other in found if isinstance(other, Model)]


def _refresh(row: Model, peers: Iterable[Model], using: Any = None, fields: Any = None, **options: Any) -> None:
    """Read a column that was left out for all rows without it; refresh one row in any other case."""
    names = list(fields or ())
    if using is not None or options or len(names) != 1 or names[0] not in row.get_deferred_fields():
        type(row).refresh_from_db(row, using=using, fields=fields, **options)
        return
    without = [peer for peer in peers if peer._state.db == row._state.db and names[0] in peer.get_deferred_fields()]
    manager = type(row)._base_manager.db_manager(row._state.db)
    values = dict(manager.filter(pk__in={peer.pk for peer in without}).values_list("pk", names[0]))
    for peer in without:
        if peer.pk in values:
            peer.__dict__[names[0]] = values[peer.pk]
    if row.pk not in values:  # deleted meanwhile: Django says so
        type(row).refresh_from_db(row, fields=fields)
