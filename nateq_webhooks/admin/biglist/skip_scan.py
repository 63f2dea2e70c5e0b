"""Rows by any of several columns of one index: by status, by event, by webhook, or by some of them together.

An index (status, event, webhook, id) holds the rows of each combination in the order of their keys. There are few
combinations, so the newest rows of a status are the newest of each of its combinations, merged: one index serves every
filter and every count, where otherwise each filter would need an index, which each insert pays for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections
from django.db.models import Index, Model, QuerySet
from django.db.models.expressions import RawSQL

from nateq_webhooks.admin.biglist.key_queries import Merged, Statement, compiled, first_pks

MAX_COMBINATIONS: Final = 1_000
"""Combinations that are merged; with more of them, the database is left to find a way (ours: docs/how-to/lists.md)."""

MAX_BRANCHES: Final = 300
"""The same without LATERAL, where each combination is a branch of a UNION; SQLite takes 500."""

Combination = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Combined:
    """The rows of a query, found combination by combination."""

    queryset: QuerySet[Any]
    columns: tuple[str, ...]
    present: Sequence[Combination]

    def only(self, wanted: Mapping[str, Sequence[Any]]) -> "Combined":
        """Return those rows that have one of the wanted values in each column named."""
        places = [(self.columns.index(column), set(values)) for column, values in wanted.items()]
        present = [each for each in self.present if all(each[place] in values for place, values in places)]
        return Combined(self.queryset, self.columns, present)

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys of each combination, merged."""
        if not self.present:
            return []
        if not self._has_lateral:
            return Merged(self._branches()).pks(count, descending=descending, beyond=beyond)
        found = self._lateral(first_pks(self._one, count, descending=descending, beyond=beyond))
        if found is None:
            return []
        sql, parameters = found
        with connections[self.queryset.db].cursor() as cursor:
            cursor.execute(f"{sql} ORDER BY 1 {'DESC' if descending else 'ASC'} LIMIT {count:d}", parameters)
            return [pk for (pk,) in cursor.fetchall()]

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts combination by combination, until the limit."""
        if not self.present:
            return None
        if not self._has_lateral:
            # In no order: one walk along the index, value by value, that ends at the limit.
            found, tail = self._through_index(self._within_columns().order_by().values("pk")[:limit]), ""
        else:
            found, tail = self._lateral(self._one.order_by().values("pk")[:limit]), f" LIMIT {limit:d}"
        if found is None:
            return None
        sql, parameters = found
        return f"SELECT COUNT(*) FROM ({sql}{tail}) AS counted", parameters  # noqa: S608 - compiled SQL

    def _through_index(self, rows: QuerySet[Any]) -> Statement | None:
        """Return the SQL, with a hint for MariaDB and MySQL: for a webhook they may choose the unique index."""
        found = compiled(rows)
        if found is None or connections[rows.db].vendor != "mysql":
            return found
        quote = connections[rows.db].ops.quote_name
        table = f" FROM {quote(rows.model._meta.db_table)} "
        names = [index.name for index in rows.model._meta.indexes if self._begins(index)]
        hint = f"{table}FORCE INDEX ({quote(names[0])}) " if names else table
        return found[0].replace(table, hint, 1), found[1]

    def _begins(self, index: Index) -> bool:
        names = [self.queryset.model._meta.get_field(name).attname for name in index.fields]
        return tuple(names[: len(self.columns)]) == self.columns

    @property
    def _has_lateral(self) -> bool:
        return connections[self.queryset.db].vendor == "postgresql"

    @property
    def _one(self) -> QuerySet[Any]:
        """The rows of the combination that the outer query of `_lateral` is at."""
        quote = connections[self.queryset.db].ops.quote_name
        same = {column: RawSQL(f"combination.{quote(column)}", ()) for column in self.columns}  # noqa: S611
        return self.queryset.filter(**same)

    def _lateral(self, rows: QuerySet[Any]) -> Statement | None:
        """Return the statement that asks for `rows` once per combination: planned once, however many there are."""
        inner = compiled(rows)
        if inner is None:
            return None
        connection = connections[self.queryset.db]
        fields = [self.queryset.model._meta.get_field(column) for column in self.columns]
        arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
        names = ", ".join(connection.ops.quote_name(column) for column in self.columns)
        sql = (
            f"SELECT branch.* FROM unnest({arrays}) AS combination ({names}) CROSS JOIN LATERAL ({inner[0]}) AS branch"  # noqa: S608
        )
        return sql, (*(list(values) for values in zip(*self.present, strict=True)), *inner[1])

    def _branches(self) -> list[QuerySet[Any]]:
        """Return one query per combination; one for all when there are too many."""
        if len(self.present) > MAX_BRANCHES:
            return [self._within_columns()]
        return [self.queryset.filter(**dict(zip(self.columns, each, strict=True))) for each in self.present]

    def _within_columns(self) -> QuerySet[Any]:
        """Return the rows with each column's values named, so that the index is of use from its first column on."""
        values = zip(self.columns, zip(*self.present, strict=True), strict=True)
        return self.queryset.filter(**{f"{column}__in": sorted(set(found), key=str) for column, found in values})


def combinations(model: type[Model], alias: str, columns: tuple[str, ...]) -> list[Combination] | None:
    """Return the combinations of the columns' values that there are, read by leaps through their index.

    None when there are more than `MAX_COMBINATIONS`.
    """
    if connections[alias].vendor == "mysql":
        # MariaDB and MySQL leap by themselves ("Using index for group-by").
        manager: Any = model._meta.default_manager
        rows: QuerySet[Any] = manager.using(alias).order_by()
        found = list(rows.values_list(*columns).distinct()[: MAX_COMBINATIONS + 1])
    else:
        found = _leaped(model, alias, columns)
    return found if len(found) <= MAX_COMBINATIONS else None


def _next_with(table: str, equal: Sequence[str], further: Sequence[str]) -> str:
    """Return the query for the next row with the same first columns and a larger value in the one after them.

    Column by column, as SQLite uses no index beyond the first column for a comparison of several at once.
    """
    conditions = [*(f"n.{name} = d.{name}" for name in equal), f"n.{further[0]} > d.{further[0]}"]
    order = ", ".join(f"n.{name}" for name in further)
    return f"(SELECT n.id FROM {table} n WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT 1)"  # noqa: S608


def _leaped(model: type[Model], alias: str, columns: tuple[str, ...]) -> list[Combination]:
    """Read one row of each combination: a recursive query, each step of which is one descent of the index."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    names = [quote(column) for column in columns]
    order = ", ".join(names)
    current = ", ".join(f"d.{name}" for name in names)
    following = ", ".join(_next_with(table, names[:equal], names[equal:]) for equal in reversed(range(len(names))))
    sql = (
        f"WITH RECURSIVE leap (id) AS ("  # noqa: S608 - only names of our own columns are put in
        f"SELECT * FROM (SELECT id FROM {table} ORDER BY {order} LIMIT 1) AS first_one UNION ALL "
        f"SELECT COALESCE({following}) "
        f"FROM leap JOIN {table} d ON d.id = leap.id) "
        f"SELECT {current} FROM leap JOIN {table} d ON d.id = leap.id LIMIT {MAX_COMBINATIONS + 1:d}"
    )
    fields: list[Any] = [model._meta.get_field(column) for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [
            tuple(field.to_python(value) for field, value in zip(fields, row, strict=True)) for row in cursor.fetchall()
        ]
