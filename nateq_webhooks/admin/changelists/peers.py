"""Deferred columns, such as a payload, fetched for all rows of a page when one row needs them.

A project's own column may use any of them; otherwise each row would run a statement. Django 6.1 has the same as
`FETCH_PEERS`.
"""

# ruff: noqa: SLF001 - Django has no public name for what a row was loaded with

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import Model


def fetch_peers(rows: Sequence[Model]) -> None:
    """Make the rows, and the rows they were joined with, fetch a deferred column for all of them at once."""
    for peers in (rows, *_joined(rows)):
        for row in peers:
            # Django calls this to load a deferred column.
            row.refresh_from_db = functools.partial(_refresh, row, peers)  # type: ignore[method-assign]


def _joined(rows: Sequence[Model]) -> Iterator[list[Model]]:
    """Yield the rows that were joined, relation by relation."""
    names = {name for row in rows for name in row._state.fields_cache}
    for name in sorted(names):
        found = [row._state.fields_cache.get(name) for row in rows]
        yield [other for other in found if isinstance(other, Model)]


def _refresh(row: Model, peers: Iterable[Model], using: Any = None, fields: Any = None, **options: Any) -> None:
    """Load a deferred column for all rows without it; refresh a single row in any other case."""
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
    if row.pk not in values:  # deleted meanwhile: Django raises its error
        type(row).refresh_from_db(row, fields=fields)
