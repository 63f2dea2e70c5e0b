"""The search of a list, as a value: none, by the exact ids, or through payloads."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from django.db.models import Q, QuerySet
from django.utils.functional import cached_property

from nateq_webhooks.admin.changelists.payload_search import PayloadCondition
from nateq_webhooks.database.keyset.bounded_scan import Budget


@dataclass(frozen=True)
class NoSearch:
    """No search: all rows."""

    def restrict(self, rows: QuerySet[Any], _page: Sequence[int]) -> QuerySet[Any]:
        """Return all rows."""
        return rows


@dataclass(frozen=True)
class IdSearch:
    """The search for rows by exact ids."""

    term: str
    find_alternatives: Callable[[str], list[Q]]

    @cached_property
    def alternatives(self) -> list[Q]:
        """The alternatives of the search; each one uses an index."""
        return self.find_alternatives(self.term)

    def restrict(self, rows: QuerySet[Any], _page: Sequence[int]) -> QuerySet[Any]:
        """Return the rows that were searched for."""
        return rows.filter(any_of(self.alternatives))


@dataclass(frozen=True)
class PayloadSearch:
    """The search through payloads."""

    wanted: PayloadCondition
    budget: Budget
    "How many rows a page reads without the index."

    def restrict(self, rows: QuerySet[Any], page: Sequence[int]) -> QuerySet[Any]:
        """Return the rows of the page: an action does not scan further payloads."""
        return rows.filter(pk__in=page)


Search = NoSearch | IdSearch | PayloadSearch


def by_id(term: str, find_alternatives: Callable[[str], list[Q]]) -> NoSearch | IdSearch:
    """Return the search by ids for a term."""
    return IdSearch(term, find_alternatives) if term.strip() else NoSearch()


def any_of(conditions: Sequence[Q]) -> Q:
    """Return the condition that at least one of the conditions holds."""
    return reduce(or_, conditions, Q())
