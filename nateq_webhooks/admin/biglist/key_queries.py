"""The rows of a list, found through indexes only: a page's keys by keyset, and a count that stops at a limit.

A page needs the few newest keys (or oldest) that some conditions leave. Where one index holds the rows of a condition
in the order of their keys, that is a short way along it.
`Merged` does it for several conditions, any of which may hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from django.core.exceptions import EmptyResultSet
from django.db import connections
from django.db.models import Q, QuerySet

Statement = tuple[str, tuple[Any, ...]]
"""SQL and its parameters."""


class Rows(Protocol):
    """The rows that a list's filters and search leave, whichever way they are found."""

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys in the order asked for, those beyond a key only when there is one."""

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts them, stopping at `limit`; None when there can be none."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Rows to which at least one of the branches leads. Each branch is to have an index of its own."""

    branches: Sequence[QuerySet[Any]]

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return each branch's first keys, merged."""
        if len(self.branches) == 1:
            page = first_pks(self.branches[0], count, descending=descending, beyond=beyond)
            return list(page.values_list("pk", flat=True))
        pages = [first_pks(branch, count, descending=descending, beyond=beyond) for branch in self.branches]
        found = _united(pages)
        if found is None:
            return []
        sql, parameters = found
        with connections[self.branches[0].db].cursor() as cursor:
            cursor.execute(f"{sql} ORDER BY 1 {'DESC' if descending else 'ASC'} LIMIT {count:d}", parameters)
            return [pk for (pk,) in cursor.fetchall()]

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts the branches' rows, none of them twice."""
        found = _united([first_pks(branch, limit, descending=True) for branch in self.branches])
        if found is None:
            return None
        sql, parameters = found
        return f"SELECT COUNT(*) FROM ({sql} LIMIT {limit:d}) AS counted", parameters  # noqa: S608 - compiled SQL


def first_pks(rows: QuerySet[Any], count: int, *, descending: bool, beyond: int | None = None) -> QuerySet[Any]:
    """Return the query for the first keys of `rows`."""
    if beyond is not None:
        rows = rows.filter(Q(pk__lt=beyond) if descending else Q(pk__gt=beyond))
    return rows.order_by("-pk" if descending else "pk").values("pk")[:count]


def compiled(rows: QuerySet[Any]) -> Statement | None:
    """Return a query's SQL; None when Django knows already that nothing fits."""
    try:
        sql, parameters = rows.query.get_compiler(rows.db).as_sql()
    except EmptyResultSet:
        return None
    return sql, tuple(parameters)


def counted(rows: Rows, limit: int, alias: str) -> int:
    """Count the rows, stopping at `limit`."""
    return counted_together([rows], limit, alias)[0]


def counted_together(several: Sequence[Rows], limit: int, alias: str) -> list[int]:
    """Count each of several rows in one statement, stopping at `limit` each."""
    statements = [rows.counting(limit) for rows in several]
    asked = [statement for statement in statements if statement is not None]
    if not asked:
        return [0] * len(statements)
    with connections[alias].cursor() as cursor:
        cursor.execute(
            f"SELECT {', '.join(f'({sql})' for sql, _ in asked)}",
            [parameter for _, parameters in asked for parameter in parameters],
        )
        found = iter(cursor.fetchone())
    return [0 if statement is None else next(found) for statement in statements]


def _united(pages: Sequence[QuerySet[Any]]) -> Statement | None:
    """Unite limited queries: each in a derived table, because not every database takes a LIMIT inside of UNION."""
    parts = [part for part in map(compiled, pages) if part is not None]
    if not parts:
        return None
    united = " UNION ".join(f"SELECT * FROM ({sql}) AS branch_{number}" for number, (sql, _) in enumerate(parts))  # noqa: S608
    return united, tuple(parameter for _, parameters in parts for parameter in parameters)
