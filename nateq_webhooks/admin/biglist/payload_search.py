"""The search by a JSON path, `data.requester.email=sara@example.com`: over the newest rows as far as the limit allows.

No index leads from a value in a payload to its deliveries, so payloads are looked at one by one (bounded_scan).
With the optional index (payload_index) nothing is left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final

from django.db import connections
from django.db.models import F, Q, QuerySet
from django.db.models.fields.json import KeyTransform

from nateq_webhooks.admin.biglist.bounded_scan import Walk
from nateq_webhooks.admin.biglist.key_queries import compiled
from nateq_webhooks.admin.biglist.keyset import Found
from nateq_webhooks.admin.biglist.time_limit import TookTooLongError, limited

MAX_DEPTH: Final = 16
MAX_NUMBERS: Final = 3
"""Segments of a path, and those of them that are numbers: each may be a key or a place in a list."""

INDEX_SECONDS: Final = 2.0
"""How long the optional index is asked; of a value that very many payloads have, the walk's rows are shown then."""

MAX_PLACE: Final = 2**31 - 1
"""The last place in a list that PostgreSQL can be asked for."""

_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL: Final = re.compile(r"-?(0|[1-9]\d{0,15})\.\d{1,15}")
_WORDS: Final = {"true": True, "false": False, "null": None}


@dataclass(frozen=True, slots=True)
class PathValue:
    """A path into the payload, and the values that what stands there may have: `7` is a text or a number."""

    path: tuple[str, ...]
    values: tuple[Any, ...]

    def matching(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` whose payload has one of the values at the path. Reads the payload of each."""
        found: Any = F("payload")
        for key in self.path:
            found = KeyTransform(key, found)
        condition = Q()
        for value in self.values:
            condition |= Q(found_value=value)
        matching: QuerySet[Any] = rows.alias(found_value=found).filter(condition)
        return matching

    def contained(self) -> Q:
        """Return the condition that PostgreSQL's index answers; a little more fits it than `matching`."""
        condition = Q()
        for value, steps in product(self.values, self._readings()):
            document = value
            for step in reversed(steps):
                document = [document] if step is None else {step: document}
            condition |= Q(payload__contains=document)
        return condition

    def _readings(self) -> Iterator[tuple[str | None, ...]]:
        """Yield each reading of the path: None is a place in a list."""
        yield from product(*([key, None] if key.isdecimal() else [key] for key in self.path))


def parse(term: str) -> PathValue | None:
    """Return what a search term asks for, if it is a path, `=` and a value; None for any other term."""
    left, sign, right = term.partition("=")
    path = tuple(key.strip() for key in left.strip().removeprefix("$.").split("."))
    value = right.strip()
    if not sign or not value or not all(path) or len(path) > MAX_DEPTH:
        return None
    if sum(key.isdecimal() for key in path) > MAX_NUMBERS or any(map(_is_odd_number, path)):
        return None
    return PathValue(path, tuple(_values(value)))


def _is_odd_number(key: str) -> bool:
    """Say whether Django takes a key for a place in a list that no database accepts: -1, 1_0, 2147483648."""
    try:
        place = int(key)
    except ValueError:
        return False
    return not (key.isascii() and key.isdecimal()) or place > MAX_PLACE


def _values(text: str) -> Iterator[Any]:
    if len(text) > 1 and text[0] == text[-1] == '"':
        yield text[1:-1]
        return
    yield text
    if text in _WORDS:
        yield _WORDS[text]
    elif _INTEGER.fullmatch(text):
        yield int(text)
    elif _DECIMAL.fullmatch(text):
        yield float(text)


@dataclass(frozen=True, slots=True)
class Indexed:
    """The same through the optional index: what the walk has not reached is found there, however old."""

    walk: Walk
    filtered: QuerySet[Any]
    wanted: PathValue

    def find(self, count: int, *, descending: bool, beyond: int | None) -> Found:
        """Look at some rows first: of a frequent value the index would bring far too many. Then ask the index."""
        found = self.walk.find(count, descending=descending, beyond=beyond)
        if found.stopped_at is None or len(found.pks) == count:
            return found
        more = count - len(found.pks)
        try:
            with limited(self.filtered.db, INDEX_SECONDS):
                rest = through_index(
                    self.filtered, self.wanted, more + 1, descending=descending, beyond=found.stopped_at
                )
        except TookTooLongError:
            return found
        return Found(found.pks + rest[:more], rest[more - 1] if len(rest) > more else None, found.looked_at)


def through_index(
    rows: QuerySet[Any], wanted: PathValue, count: int, *, descending: bool, beyond: int | None
) -> list[int]:
    """Return the first keys of the rows that match, found through the optional index: PostgreSQL only.

    The index is used before anything is sorted: left to itself, the planner hopes to meet matching rows soon on a walk
    along the primary key, and where there are few, it reads the table.
    """
    if beyond is not None:
        rows = rows.filter(Q(pk__lt=beyond) if descending else Q(pk__gt=beyond))
    found = compiled(wanted.matching(rows.filter(wanted.contained())).order_by().values("pk"))
    if found is None:
        return []
    sql, parameters = found
    order = "DESC" if descending else "ASC"
    with connections[rows.db].cursor() as cursor:
        cursor.execute(
            f"WITH matching (id) AS MATERIALIZED ({sql}) SELECT id FROM matching ORDER BY id {order} LIMIT {count:d}",  # noqa: S608
            parameters,
        )
        return [pk for (pk,) in cursor.fetchall()]
