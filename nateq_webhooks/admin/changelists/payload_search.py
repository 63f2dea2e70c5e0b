"""The search by a path into the payload: `data.requester.email=sara@example.com`.

Without an index, payloads are scanned one by one up to a limit (bounded_scan). With the optional index
(`payload_index`) the search covers all of them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Protocol

from django.db.models import F, Q, QuerySet
from django.db.models.fields.json import KeyTransform
from django.utils.translation import gettext as _

from nateq_webhooks.conf import settings
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.key_queries import ScanResult, after, compiled, fetch_keys
from nateq_webhooks.database.keyset.time_limit import TookTooLongError, limited

MAX_DEPTH: Final = 16
MAX_NUMBERS: Final = 3
"""Segments of a path, and how many may be numbers: each of those is a key or an index of a list."""

INDEX_SECONDS: Final = 2.0
"""Time limit of the optional index, which is slow for a value of very many payloads; then the scan alone answers."""

MAX_LIST_INDEX: Final = 2**31 - 1
"""The largest index of a list that PostgreSQL accepts."""

_INTEGER: Final = re.compile(r"-?(0|[1-9]\d{0,17})")
_DECIMAL: Final = re.compile(r"-?(0|[1-9]\d{0,15})\.\d{1,15}")
_WORDS: Final = {"true": True, "false": False, "null": None}


class PayloadCondition(Protocol):
    """What is looked for in payloads."""

    def matching(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` that match. Reads each of them."""

    def indexed(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return those of `rows` that match, through the optional index."""

    def refusal(self) -> str:
        """Return why it may not be looked for: the answer would tell a value that is masked. Empty if it may."""


@dataclass(frozen=True, slots=True)
class PathValue:
    """A path into the payload, and the values that match there: `7` is a text or a number."""

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

    def indexed(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Return the same rows through the optional index."""
        return self.matching(rows.filter(self.contained()))

    def refusal(self) -> str:
        """Return why the path may not be searched (`REDACT`); empty if it may."""
        if not settings().redaction.covers(self.path):
            return ""
        return _("The values at this path are masked (setting REDACT), so they can't be searched.")

    def contained(self) -> Q:
        """Return the condition that PostgreSQL's index answers; it is slightly wider than `matching`."""
        condition = Q()
        for value, steps in product(self.values, self._readings()):
            document = value
            for step in reversed(steps):
                document = [document] if step is None else {step: document}
            condition |= Q(payload__contains=document)
        return condition

    def _readings(self) -> Iterator[tuple[str | None, ...]]:
        """Yield each reading of the path: None stands for any index of a list."""
        yield from product(*([key, None] if key.isdecimal() else [key] for key in self.path))


def parse(term: str) -> PathValue | None:
    """Return the search of a term that is a path, `=` and a value; None for any other term."""
    left, sign, right = term.partition("=")
    path = tuple(key.strip() for key in left.strip().removeprefix("$.").split("."))
    value = right.strip()
    if not sign or not value or not all(path) or len(path) > MAX_DEPTH:
        return None
    if sum(key.isdecimal() for key in path) > MAX_NUMBERS or any(map(_is_invalid_index, path)):
        return None
    return PathValue(path, tuple(_values(value)))


def _is_invalid_index(key: str) -> bool:
    """Return whether Django reads a key as an index of a list that no database accepts: -1, 1_0, 2147483648."""
    try:
        index = int(key)
    except ValueError:
        return False
    return not (key.isascii() and key.isdecimal()) or index > MAX_LIST_INDEX


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
class IndexedScan:
    """The search with the optional index, which finds what the bounded scan has not reached, however old."""

    scan: BoundedScan
    filtered: QuerySet[Any]
    wanted: PayloadCondition

    def find(self, count: int, *, descending: bool, beyond: int | None) -> ScanResult:
        """Scan some rows first, because the index returns every row of a frequent value. Then ask the index."""
        found = self.scan.find(count, descending=descending, beyond=beyond)
        if found.stopped_at is None or len(found.pks) == count:
            return found
        more = count - len(found.pks)
        rows = after(self.filtered, found.stopped_at, descending=descending)
        try:
            with limited(rows.db, INDEX_SECONDS):
                rest = _keys_by_index(rows, self.wanted, more + 1, descending=descending)
        except TookTooLongError:
            return found
        return ScanResult(
            found.pks + rest[:more],
            rest[more - 1] if len(rest) > more else None,
            found.rows_scanned,
            found.stopped_at,
            used_index=True,
        )


def _keys_by_index(rows: QuerySet[Any], wanted: PayloadCondition, count: int, *, descending: bool) -> list[int]:
    """Return the first keys of the rows that match, found through the optional index: PostgreSQL only.

    MATERIALIZED: else the planner scans along the primary key, which reads the whole table if few rows match.
    """
    found = compiled(wanted.indexed(rows).order_by().values("pk"))
    if found is None:
        return []
    statement = f"WITH matching (id) AS MATERIALIZED ({found[0]}) SELECT id FROM matching", found[1]  # noqa: S608
    return fetch_keys(statement, rows.db, count, descending=descending)
