"""Queries for the keys of a list through its indexes: a page by keyset, and a count that stops at a limit.

A page needs the few newest (or oldest) keys that fulfil some conditions. If one index holds the rows of a condition in
the order of their keys, the database reads only the start of that range.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Q, QuerySet

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its parameters."""


class KeyQuery(Protocol):
    """The keys of the rows that the filters and the search of a list leave."""

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys in the given order, of those beyond a key if it is given."""

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts the rows up to `limit`; None if there can be none."""

    def some(self, limit: int) -> list[int]:
        """Return up to `limit` keys, in no order."""

    def filter(self, condition: Q) -> "KeyQuery":
        """Return the query with a further condition."""


@dataclass(frozen=True, slots=True)
class Union:
    """The rows of at least one of the branches. Each branch should use an index of its own."""

    branches: Sequence[QuerySet[Any]]

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys of the branches, merged."""
        pages = [first_pks(branch, count, descending=descending, beyond=beyond) for branch in self.branches]
        if len(pages) == 1:
            return list(pages[0].values_list("pk", flat=True))
        return fetch_keys(_united(pages), self.branches[0].db, count, descending=descending)

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts the rows of the branches, each row once."""
        return count_of(_united([first_pks(branch, limit, descending=True) for branch in self.branches]), limit)

    def some(self, limit: int) -> list[int]:
        """Return up to `limit` keys."""
        return self.pks(limit, descending=True)

    def filter(self, condition: Q) -> "Union":
        """Return the query with a further condition."""
        return Union([branch.filter(condition) for branch in self.branches])


@dataclass(frozen=True, slots=True)
class ScanResult:
    """Keys found from one end on, at most as many as were asked for, and how far the scan went."""

    pks: list[int]
    stopped_at: int | None
    "The last key that was scanned; None if there are no rows beyond it."
    rows_scanned: int = 0
    "The number of rows that were scanned one by one."
    scanned_to: int | None = None
    "The last key that was scanned one by one; None if there are no rows beyond it."
    used_index: bool = False
    "Whether the rows beyond it were searched through an optional index."


class Scan(Protocol):
    """A way to find the keys of a page."""

    def find(self, count: int, *, descending: bool, beyond: int | None) -> ScanResult:
        """Return the first `count` keys in the given order, of those beyond a key if it is given."""


@dataclass(frozen=True, slots=True)
class IndexScan:
    """The keys that an index holds in their order: no row is read in vain."""

    query: KeyQuery

    def find(self, count: int, *, descending: bool, beyond: int | None) -> ScanResult:
        """Return the first `count` keys."""
        pks = self.query.pks(count + 1, descending=descending, beyond=beyond)
        return ScanResult(pks[:count], pks[count - 1] if len(pks) > count else None)


def first_pks(rows: QuerySet[Any], count: int, *, descending: bool, beyond: int | None = None) -> QuerySet[Any]:
    """Return the query for the first keys of `rows`."""
    return after(rows, beyond, descending=descending).order_by("-pk" if descending else "pk").values("pk")[:count]


def after(rows: QuerySet[Any], key: int | None, *, descending: bool) -> QuerySet[Any]:
    """Return the rows beyond a key in the given order; all for None."""
    if key is None:
        return rows
    return rows.filter(Q(pk__lt=key) if descending else Q(pk__gt=key))


def compiled(rows: QuerySet[Any]) -> Statement | None:
    """Return the SQL of a query; None if Django already knows that it has no rows."""
    try:
        sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    except EmptyResultSet:
        return None
    return sql, tuple(parameters)


def fetch_keys(statement: Statement | None, alias: str, count: int, *, descending: bool) -> list[int]:
    """Return the first keys of a statement that selects keys."""
    if statement is None:
        return []
    sql, parameters = statement
    with connections[alias].cursor() as cursor:
        cursor.execute(f"{sql} ORDER BY 1 {'DESC' if descending else 'ASC'} LIMIT {count:d}", parameters)
        return [pk for (pk,) in cursor.fetchall()]


def fetch_some(statement: Statement | None, alias: str, count: int) -> list[int]:
    """Return some keys of a statement that selects keys."""
    if statement is None:
        return []
    sql, parameters = statement
    with connections[alias].cursor() as cursor:
        cursor.execute(f"{sql} LIMIT {count:d}", parameters)
        return [pk for (pk,) in cursor.fetchall()]


def count_of(statement: Statement | None, limit: int) -> Statement | None:
    """Return the statement that counts the rows of another one up to `limit`."""
    if statement is None:
        return None
    return f"SELECT COUNT(*) FROM ({statement[0]} LIMIT {limit:d}) AS counted", statement[1]  # noqa: S608 - compiled SQL


def count_up_to(query: KeyQuery, limit: int, alias: str) -> int:
    """Count the rows up to `limit`."""
    return count_each_up_to([query], limit, alias)[0]


def count_each_up_to(queries: Sequence[KeyQuery], limit: int, alias: str) -> list[int]:
    """Count the rows of each query in one statement, up to `limit` each."""
    statements = [query.counting(limit) for query in queries]
    selected = [statement for statement in statements if statement is not None]
    if not selected:
        return [0] * len(statements)
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(f'({sql})' for sql, _ in selected)}",
            [parameter for _, parameters in selected for parameter in parameters],
        )
        found = iter(cursor.fetchone())
    return [0 if statement is None else next(found) for statement in statements]


def _united(pages: Sequence[QuerySet[Any]]) -> Statement | None:
    """Unite limited queries, each in a derived table: not every database allows LIMIT inside UNION."""
    parts = [part for part in map(compiled, pages) if part is not None]
    if not parts:
        return None
    united = " UNION ".join(f"SELECT * FROM ({sql}) AS branch_{number}" for number, (sql, _) in enumerate(parts))  # noqa: S608
    return united, tuple(parameter for _, parameters in parts for parameter in parameters)
