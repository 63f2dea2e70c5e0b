"""Filters on any columns of one index: by status, by event, by webhook, or by some of them together.

An index (status, event, webhook, id) holds the rows of each combination of values in the order of their keys. There
are few combinations, so the newest rows of a status are the newest of each of its combinations, merged. One index
serves every filter and every count; otherwise each filter would need an index, which every insert would maintain.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections
from django.db.models import Index, Model, Q, QuerySet
from django.db.models.expressions import RawSQL

from nateq_webhooks.database.keyset.key_queries import Statement, Union, compiled, count_of, fetch_keys, first_pks

MAX_COMBINATIONS: Final = 1_000
"""Combinations that are merged; above this number the database plans the query itself (docs/how-to/lists.md)."""

MAX_BRANCHES: Final = 300
"""The same without LATERAL, where each combination is a branch of a UNION; SQLite allows 500."""

Combination = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class SkipScan:
    """The rows of a query, found combination by combination."""

    queryset: QuerySet[Any]
    columns: tuple[str, ...]
    combinations: Sequence[Combination]

    def only(self, wanted: Mapping[str, Sequence[Any]]) -> "SkipScan":
        """Return the rows that have one of the wanted values in each of the named columns."""
        allowed = [(self.columns.index(column), set(values)) for column, values in wanted.items()]
        kept = [each for each in self.combinations if all(each[index] in values for index, values in allowed)]
        return SkipScan(self.queryset, self.columns, kept)

    def filter(self, condition: Q) -> "SkipScan":
        """Return the query with a further condition."""
        return SkipScan(self.queryset.filter(condition), self.columns, self.combinations)

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys of each combination, merged."""
        if not self.combinations:
            return []
        if not self._has_lateral:
            return Union(self._branches()).pks(count, descending=descending, beyond=beyond)
        page = first_pks(self._one, count, descending=descending, beyond=beyond)
        return fetch_keys(self._lateral(page), self.queryset.db, count, descending=descending)

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts combination by combination, up to the limit."""
        if not self.combinations:
            return None
        if self._has_lateral:
            return count_of(self._lateral(self._one.order_by().values("pk")[:limit]), limit)
        # No ORDER BY: the database walks the index once and stops at the limit.
        return count_of(self._with_index_hint(self._within_columns().order_by().values("pk")), limit)

    def _with_index_hint(self, rows: QuerySet[Any]) -> Statement | None:
        """Return the SQL with an index hint for MariaDB and MySQL, which may choose the unique index of a webhook."""
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
        """The rows of the current combination of the outer query of `_lateral`."""
        quote = connections[self.queryset.db].ops.quote_name
        same = {column: RawSQL(f"combination.{quote(column)}", ()) for column in self.columns}  # noqa: S611
        return self.queryset.filter(**same)

    def _lateral(self, rows: QuerySet[Any]) -> Statement | None:
        """Return the statement that runs `rows` once per combination; it is planned once for all of them."""
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
        return sql, (*(list(values) for values in zip(*self.combinations, strict=True)), *inner[1])

    def _branches(self) -> list[QuerySet[Any]]:
        """Return one query per combination; one for all of them if there are too many."""
        if len(self.combinations) > MAX_BRANCHES:
            return [self._within_columns()]
        return [self.queryset.filter(**dict(zip(self.columns, each, strict=True))) for each in self.combinations]

    def _within_columns(self) -> QuerySet[Any]:
        """Return the rows by the values of each column, so that the index can be used from its first column on."""
        values = zip(self.columns, zip(*self.combinations, strict=True), strict=True)
        return self.queryset.filter(**{f"{column}__in": sorted(set(found), key=str) for column, found in values})


def read_combinations(model: type[Model], alias: str, columns: tuple[str, ...]) -> list[Combination] | None:
    """Return the distinct combinations of the columns' values, read by a loose scan of their index.

    None if there are more than `MAX_COMBINATIONS`.
    """
    if connections[alias].vendor == "mysql":
        # MariaDB and MySQL plan a loose index scan themselves ("Using index for group-by").
        manager: Any = model._meta.default_manager
        rows: QuerySet[Any] = manager.using(alias).order_by()
        found = list(rows.values_list(*columns).distinct()[: MAX_COMBINATIONS + 1])
    else:
        found = _loose_scan(model, alias, columns)
    return found if len(found) <= MAX_COMBINATIONS else None


def _next_with(table: str, equal: Sequence[str], further: Sequence[str]) -> str:
    """Return the query for the next row with equal values in some columns and a larger one in the column after them.

    SQLite does not use the index beyond the first column for a row-value comparison.
    """
    conditions = [*(f"n.{name} = d.{name}" for name in equal), f"n.{further[0]} > d.{further[0]}"]
    order = ", ".join(f"n.{name}" for name in further)
    return f"(SELECT n.id FROM {table} n WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT 1)"  # noqa: S608


def _loose_scan(model: type[Model], alias: str, columns: tuple[str, ...]) -> list[Combination]:
    """Read one row per combination, in a recursive query that descends the index once per step."""
    connection = connections[alias]
    quote = connection.ops.quote_name
    table = quote(model._meta.db_table)
    names = [quote(column) for column in columns]
    order = ", ".join(names)
    current = ", ".join(f"d.{name}" for name in names)
    following = ", ".join(_next_with(table, names[:equal], names[equal:]) for equal in reversed(range(len(names))))
    sql = (
        f"WITH RECURSIVE scan (id) AS ("  # noqa: S608 - the names are of the package's own columns
        f"SELECT * FROM (SELECT id FROM {table} ORDER BY {order} LIMIT 1) AS first_one UNION ALL "
        f"SELECT COALESCE({following}) "
        f"FROM scan JOIN {table} d ON d.id = scan.id) "
        f"SELECT {current} FROM scan JOIN {table} d ON d.id = scan.id LIMIT {MAX_COMBINATIONS + 1:d}"
    )
    fields: list[Any] = [model._meta.get_field(column) for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [
            tuple(field.to_python(value) for field, value in zip(fields, row, strict=True)) for row in cursor.fetchall()
        ]
