"""How a list of a large table is read: its index, its parameters, its search. Each model admin has one `list_spec`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet
from django.http import HttpRequest

from nateq_webhooks.admin.permissions import PermittedRows


def _search_nothing(_term: str) -> list[Q]:
    return [Q(pk__in=[])]


def _unchanged(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows


def _hide_nothing(_records: Sequence[Any], _permitted: PermittedRows) -> None:
    pass


def _nothing(_records: Sequence[Any], _permitted: PermittedRows, _request: HttpRequest) -> None:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class ListSpec:
    """How a list is read."""

    index: tuple[str, ...] = ()
    "The columns of the index that the filters use, before the key (skip_scan)."
    parameters: frozenset[str] = frozenset()
    "The query parameters of the list's own filters, which all use an index. Others get a time limit."
    narrow_parameters: frozenset[str] = frozenset()
    "Query parameters that leave few rows, through an index of their own."
    facet_columns: tuple[str, ...] = ()
    "The columns that the filters are about."
    deferred: tuple[str, ...] = ()
    "The columns that the list does not load."
    date_column: str = ""
    "The column that tells how far back a search went; empty if the key is shown."
    has_histogram: bool = False
    "Whether the list shows how many deliveries came when."
    search_alternatives: Callable[[str], list[Q]] = _search_nothing
    "Returns the alternatives of the search by id; each one uses an index."
    is_search_limited: bool = False
    "Whether no index has what is searched for: the search has a time limit."
    searches_payloads: bool = False
    "Whether a term that is not an id is looked for in payloads."
    annotate: Callable[[QuerySet[Any]], QuerySet[Any]] = _unchanged
    "Adds to the rows of a page what its columns show."
    complete: Callable[[Sequence[Any], PermittedRows, HttpRequest], None] = _nothing
    "Reads for all rows of a page at once what its columns show of other tables."
    mark_hidden: Callable[[Sequence[Any], PermittedRows], None] = _hide_nothing
    "Marks on rows what they belong to and the project hides from the user: it is not named."
