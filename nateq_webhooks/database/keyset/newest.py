"""The newest rows of each value of an index's last column: of each webhook, however busy the others are.

The index holds the rows of each combination of values in the order of their keys (`skip_scan`), so each combination
costs a look into the index, however many rows it has.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connections
from django.db.models import Index, Max, Model

from nateq_webhooks.database.keyset.key_queries import Statement
from nateq_webhooks.database.keyset.skip_scan import Combination


@dataclass(frozen=True, slots=True)
class NewestOfEach:
    """Looks into an index of a model; `heads` are the combinations of its columns before the last one."""

    model: type[Model]
    alias: str
    index: Index
    heads: Sequence[Combination]

    def last_keys(self, values: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
        """Return the highest key of each value of the last column that has a row."""
        if not self.heads or not values:
            return {}
        if connections[self.alias].vendor == "mysql":
            # MariaDB and MySQL plan a loose index scan themselves ("Using index for group-by").
            manager: Any = self.model._meta.default_manager
            names = self._names
            found = manager.using(self.alias).order_by().values_list(*names).annotate(last=Max("pk"))
            return _highest((row[-2], row[-1]) for row in found if row[-2] in set(values))
        *equal, last = self._columns
        same = " AND ".join(f"n.{name} = head.{name}" for name in equal)
        head, parameters = self._values("head", equal, self.heads)
        tail, further = self._values("tail", [last], [(value,) for value in values])
        sql = (
            f"WITH {head}, {tail} SELECT tail.{last}, MAX((SELECT n.id FROM {self._table} n "  # noqa: S608 - our own names
            f"WHERE {same} AND n.{last} = tail.{last} ORDER BY n.id DESC LIMIT 1)) "
            f"FROM tail CROSS JOIN head GROUP BY tail.{last}"
        )
        return dict(self._fetched((sql, (*parameters, *further))))

    def newest_keys(self, since: Mapping[uuid.UUID, int], count: int) -> list[tuple[uuid.UUID, int]]:
        """Return the highest keys of each value of the last column, at most `count`, from its key of `since` on."""
        if not self.heads or not since:
            return []
        return self._fetched(self._newest(since, count))

    def counts(self, since: Mapping[uuid.UUID, int], limit: int) -> dict[uuid.UUID, tuple[int, int]]:
        """Return how many rows each value has from its key of `since` on, up to `limit`, and the first key of these."""
        if not self.heads or not since:
            return {}
        last = self._columns[-1]
        sql, parameters = self._newest(since, limit)
        counting = f"SELECT {last}, COUNT(*), MIN(id) FROM ({sql}) AS found GROUP BY {last}"  # noqa: S608 - our own names
        with connections[self.alias].cursor() as cursor:
            cursor.execute(counting, parameters)
            return {self._value(value): (number, first) for value, number, first in cursor.fetchall()}

    def _newest(self, since: Mapping[uuid.UUID, int], count: int) -> Statement:
        if connections[self.alias].vendor == "postgresql":
            return self._lateral(since, count)
        parts = [self._branch(number, value, low, count) for number, (value, low) in enumerate(since.items())]
        return " UNION ALL ".join(sql for sql, _ in parts), tuple(each for _, given in parts for each in given)

    def _lateral(self, since: Mapping[uuid.UUID, int], count: int) -> Statement:
        *equal, last = self._columns
        head, parameters = self._values("head", equal, self.heads)
        each, further = self._values("each_of", [last, "low"], list(since.items()))
        same = " AND ".join(f"n.{name} = head.{name}" for name in equal)
        inner = (
            f"SELECT n.id FROM {self._table} n WHERE {same} AND n.{last} = each_of.{last} "  # noqa: S608 - our own names
            f"AND n.id >= each_of.low ORDER BY n.id DESC LIMIT {count:d}"
        )
        merged = f"SELECT one.id FROM head CROSS JOIN LATERAL ({inner}) AS one ORDER BY one.id DESC LIMIT {count:d}"  # noqa: S608
        sql = (
            f"WITH {head}, {each} SELECT each_of.{last}, newest.id FROM each_of CROSS JOIN LATERAL ({merged}) AS newest"  # noqa: S608
        )
        return sql, (*parameters, *further)

    def _branch(self, number: int, value: uuid.UUID, low: int, count: int) -> Statement:
        *equal, last = self._columns
        among = [sorted({head[place] for head in self.heads}) for place in range(len(equal))]
        conditions = " AND ".join(
            f"{name} IN ({', '.join(['%s'] * len(found))})" for name, found in zip(equal, among, strict=True)
        )
        quoted = connections[self.alias].ops.quote_name(self.index.name)
        hint = f"FORCE INDEX ({quoted})" if connections[self.alias].vendor == "mysql" else f"INDEXED BY {quoted}"
        sql = (
            f"SELECT * FROM (SELECT {last}, id FROM {self._table} {hint} WHERE {conditions} AND {last} = %s "  # noqa: S608
            f"AND id >= %s ORDER BY id DESC LIMIT {count:d}) AS branch_{number}"
        )
        return sql, (*(each for found in among for each in found), self._prepared(value), low)

    def _values(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Statement:
        one = f"({', '.join(['%s'] * len(columns))})"
        sql = f"{name} ({', '.join(columns)}) AS (VALUES {', '.join([one] * len(rows))})"
        return sql, tuple(self._prepared(value) for row in rows for value in row)

    def _prepared(self, value: Any) -> Any:
        if not isinstance(value, uuid.UUID):
            return value
        field = self.model._meta.get_field(self._names[-1])
        return field.get_db_prep_value(value, connections[self.alias])  # type: ignore[union-attr]

    def _fetched(self, statement: Statement) -> list[tuple[uuid.UUID, int]]:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(*statement)
            return [(self._value(value), pk) for value, pk in cursor.fetchall() if pk is not None]

    def _value(self, value: Any) -> uuid.UUID:
        return value if isinstance(value, uuid.UUID) else uuid.UUID(str(value))

    @property
    def _table(self) -> str:
        return connections[self.alias].ops.quote_name(self.model._meta.db_table)

    @property
    def _names(self) -> list[str]:
        """The attributes of the index's columns, without the key."""
        fields = [self.model._meta.get_field(name) for name in self.index.fields if name != "id"]
        return [field.attname for field in fields]  # type: ignore[union-attr]

    @property
    def _columns(self) -> list[str]:
        return [connections[self.alias].ops.quote_name(name) for name in self._names]


def _highest(found: Any) -> dict[uuid.UUID, int]:
    highest: dict[uuid.UUID, int] = {}
    for value, key in found:
        highest[value] = max(key, highest.get(value, key))
    return highest
