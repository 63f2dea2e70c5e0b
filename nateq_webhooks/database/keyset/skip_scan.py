"""Filters on any columns of one index: by status, by event, by webhook, or by some of them together.

An index (status, event, webhook, id) holds the rows of each combination of values in the order of their keys. There
are few combinations, so the newest rows of a status are the newest of each of its combinations, merged. One index
serves every filter and every count; otherwise each filter would need an index, which every insert would maintain.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connections
from django.db.models import Index, Model, Q, QuerySet
from django.db.models.expressions import RawSQL

from nateq_webhooks.database.keyset.key_queries import (
    Statement,
    Union,
    compiled,
    count_of,
    fetch_keys,
    fetch_some,
    first_pks,
)

MAX_COMBINATIONS: Final = 2_000
"""Combinations that are merged; above this number the database plans the query itself (docs/how-to/lists.md)."""

MAX_BRANCHES: Final = 300
"""The same without LATERAL, where each combination is a branch of a UNION; SQLite allows 500."""

Combination = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Combinations:
    """The values that the columns of an index may have together.

    If the last column is a foreign key, its values are those of the other table: beside 50 webhooks there are few
    pairs of status and event, but thousands of combinations. One that no row has costs a look into the index.
    """

    columns: tuple[str, ...]
    heads: Sequence[Combination]
    "Of all columns, or of all but the last."
    tails: Sequence[Any] | None = None
    "The values of the last column, at most one above `MAX_COMBINATIONS`; None if the heads have it."

    def __iter__(self) -> Iterator[Combination]:
        if self.tails is None:
            yield from self.heads
        else:
            yield from ((*head, tail) for head in self.heads for tail in self.tails)

    def __len__(self) -> int:
        return len(self.heads) * (1 if self.tails is None else len(self.tails))

    @property
    def are_few(self) -> bool:
        """Whether they can be merged."""
        return len(self) <= MAX_COMBINATIONS

    def only(self, wanted: Mapping[str, Sequence[Any]]) -> "Combinations":
        """Return those with one of the wanted values in each of the named columns."""
        allowed = [(index, set(wanted[name])) for index, name in enumerate(self.head_columns) if name in wanted]
        heads = [each for each in self.heads if all(each[index] in values for index, values in allowed)]
        tails = None if self.tails is None else wanted.get(self.columns[-1], self.tails)
        return Combinations(self.columns, heads, tails)

    @property
    def head_columns(self) -> tuple[str, ...]:
        """The columns of the heads."""
        return self.columns if self.tails is None else self.columns[:-1]


@dataclass(frozen=True, slots=True)
class SkipScan:
    """The rows of a query, found combination by combination."""

    queryset: QuerySet[Any]
    combinations: Combinations
    _counted: dict[int, Statement | None] = field(default_factory=dict, compare=False, repr=False)
    "The compiled query of one combination by its limit: the same for each choice of a filter."

    def only(self, wanted: Mapping[str, Sequence[Any]]) -> "SkipScan":
        """Return the rows that have one of the wanted values in each of the named columns."""
        return SkipScan(self.queryset, self.combinations.only(wanted), self._counted)

    def filter(self, condition: Q) -> "SkipScan":
        """Return the query with a further condition."""
        return SkipScan(self.queryset.filter(condition), self.combinations)

    def pks(self, count: int, *, descending: bool, beyond: int | None = None) -> list[int]:
        """Return the first keys of each combination, merged."""
        if not self.combinations:
            return []
        if not self._has_lateral:
            return Union(self._branches()).pks(count, descending=descending, beyond=beyond)
        page = compiled(first_pks(self._one, count, descending=descending, beyond=beyond))
        table = self._table()
        if len(self.combinations) > count:
            # The first `count` keys are among the combinations with the `count` first ones.
            first = compiled(first_pks(self._one, 1, descending=descending, beyond=beyond))
            table = table if first is None else _with_first_keys(table, first, count, descending=descending)
        return fetch_keys(_lateral(table, page), self.queryset.db, count, descending=descending)

    def rows(self, columns: Sequence[str], limit: int) -> Statement | None:
        """Return the statement for some columns of the rows, at most `limit` of them, in no order."""
        if not self.combinations:
            return None
        if self._has_lateral:  # the limit keeps PostgreSQL from joining in another way, which reads every row
            found = _lateral(self._table(), compiled(self._one.order_by().values(*columns)[:limit]))
        else:
            found = self._with_index_hint(self._within_columns().order_by().values(*columns))
        return None if found is None else (f"{found[0]} LIMIT {limit:d}", found[1])

    def counting(self, limit: int) -> Statement | None:
        """Return the statement that counts combination by combination, up to the limit."""
        rows = self._unordered(limit)
        return None if rows is None else count_of(rows, limit)

    def some(self, limit: int) -> list[int]:
        """Return up to `limit` keys, in no order, so that no combination is read further than needed."""
        return fetch_some(self._unordered(limit), self.queryset.db, limit)

    def _unordered(self, limit: int) -> Statement | None:
        """Return the statement for the keys combination by combination, in no order."""
        if not self.combinations:
            return None
        if self._has_lateral:
            if limit not in self._counted:
                self._counted[limit] = compiled(self._one.order_by().values("pk")[:limit])
            return _lateral(self._table(), self._counted[limit])
        # No ORDER BY: the database walks the index once and stops at the limit.
        return self._with_index_hint(self._within_columns().order_by().values("pk"))

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
        return tuple(names[: len(self.combinations.columns)]) == self.combinations.columns

    @property
    def _has_lateral(self) -> bool:
        return connections[self.queryset.db].vendor == "postgresql"

    @property
    def _one(self) -> QuerySet[Any]:
        """The rows of the current combination of the outer query of `_lateral`."""
        quote = connections[self.queryset.db].ops.quote_name
        same = {column: RawSQL(f"combination.{quote(column)}", ()) for column in self.combinations.columns}  # noqa: S611
        return self.queryset.filter(**same)

    def _table(self) -> Statement:
        """Return the table of the combinations."""
        columns = self.combinations.columns
        sql, parameters = self._unnested("head", self.combinations.head_columns, self.combinations.heads)
        if self.combinations.tails is not None:
            tails, further = self._unnested("tail", columns[-1:], [(value,) for value in self.combinations.tails])
            sql, parameters = f"{sql} CROSS JOIN {tails}", (*parameters, *further)
        return f"(SELECT * FROM {sql}) AS combination", parameters  # noqa: S608 - our own column names

    def _unnested(self, name: str, columns: Sequence[str], values: Sequence[Combination]) -> Statement:
        """Return a table of the values: an array for each column."""
        connection = connections[self.queryset.db]
        fields = [self.queryset.model._meta.get_field(column) for column in columns]
        arrays = ", ".join(f"%s::{field.db_type(connection)}[]" for field in fields)
        names = ", ".join(connection.ops.quote_name(column) for column in columns)
        return f"unnest({arrays}) AS {name} ({names})", tuple(list(each) for each in zip(*values, strict=True))

    def _branches(self) -> list[QuerySet[Any]]:
        """Return one query per combination; one for all of them if there are too many."""
        if len(self.combinations) > MAX_BRANCHES:
            return [self._within_columns()]
        return [
            self.queryset.filter(**dict(zip(self.combinations.columns, each, strict=True)))
            for each in self.combinations
        ]

    def _within_columns(self) -> QuerySet[Any]:
        """Return the rows by the values of each column, so that the index can be used from its first column on."""
        values = zip(self.combinations.columns, zip(*self.combinations, strict=True), strict=True)
        return self.queryset.filter(**{f"{column}__in": sorted(set(found), key=str) for column, found in values})


def _lateral(table: Statement, inner: Statement | None) -> Statement | None:
    """Return the statement that runs `inner` once per row of the table; it is planned once for all of them."""
    if inner is None:
        return None
    sql = f"SELECT branch.* FROM {table[0]} CROSS JOIN LATERAL ({inner[0]}) AS branch"  # noqa: S608 - compiled SQL
    return sql, (*table[1], *inner[1])


def _with_first_keys(table: Statement, first: Statement, count: int, *, descending: bool) -> Statement:
    """Return those combinations whose first key is among the first keys of all."""
    sql = (
        f"(SELECT combination.* FROM {table[0]} CROSS JOIN LATERAL ({first[0]}) AS first_of (key) "  # noqa: S608
        f"ORDER BY first_of.key {'DESC' if descending else 'ASC'} LIMIT {count:d}) AS combination"
    )
    return sql, (*table[1], *first[1])


def read_combinations(model: type[Model], alias: str, columns: tuple[str, ...]) -> Combinations | None:
    """Return the combinations of the columns' values, read by a loose scan of their index.

    None if there are too many to read.
    """
    related = model._meta.get_field(columns[-1]).related_model if len(columns) > 1 else None
    heads = _read_heads(model, alias, columns if related is None else columns[:-1])
    if len(heads) > MAX_COMBINATIONS:
        return None
    tails: QuerySet[Any] | None = None
    if related is not None:
        manager: Any = related._meta.default_manager
        tails = manager.using(alias).order_by().values_list("pk", flat=True)[: MAX_COMBINATIONS + 1]
    return Combinations(columns, heads, None if tails is None else list(tails))


def _read_heads(model: type[Model], alias: str, columns: tuple[str, ...]) -> list[Combination]:
    """Return the distinct combinations of the columns' values, at most one above `MAX_COMBINATIONS`."""
    if connections[alias].vendor == "mysql":
        # MariaDB and MySQL plan a loose index scan themselves ("Using index for group-by").
        manager: Any = model._meta.default_manager
        rows: QuerySet[Any] = manager.using(alias).order_by()
        return list(rows.values_list(*columns).distinct()[: MAX_COMBINATIONS + 1])
    return _loose_scan(model, alias, columns)


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
        f"SELECT COALESCE({following}, NULL) "  # SQLite refuses a single argument
        f"FROM scan JOIN {table} d ON d.id = scan.id) "
        f"SELECT {current} FROM scan JOIN {table} d ON d.id = scan.id LIMIT {MAX_COMBINATIONS + 1:d}"
    )
    fields: list[Any] = [model._meta.get_field(column) for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return [
            tuple(field.to_python(value) for field, value in zip(fields, row, strict=True)) for row in cursor.fetchall()
        ]
