"""The rows that the filters and the search of a list leave, and how to find their keys through the indexes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db import connections
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from nateq_webhooks import payload_index
from nateq_webhooks.admin.changelists.filters import ColumnFilter
from nateq_webhooks.admin.changelists.payload_search import IndexedScan
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.search import IdSearch, PayloadSearch, Search
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.key_queries import IndexScan, KeyQuery, Scan, Union
from nateq_webhooks.database.keyset.skip_scan import Combinations, SkipScan, read_combinations


@dataclass(frozen=True, kw_only=True)
class ListQuery:
    """What a list asks for."""

    spec: ListSpec
    request: HttpRequest
    rows: QuerySet[Any]
    "All rows that the user may see."
    filters: Sequence[Any]
    lookups: Q
    "The parameters that no filter has taken."
    search: Search
    has_narrow_parameter: bool

    @property
    def is_narrow(self) -> bool:
        """Whether a search or a parameter leaves few rows, through an index of its own."""
        return isinstance(self.search, IdSearch) or self.has_narrow_parameter

    def scan(self) -> Scan:
        """Return how to find the keys of a page."""
        if isinstance(self.search, PayloadSearch):
            scan = BoundedScan(self.key_query(), self.rows, self.search.wanted.matching, budget=self.search.budget)
            if self.has_payload_index:
                return IndexedScan(scan, self.filtered(self.rows), self.search.wanted)
            return scan
        if self.is_scanned:
            return BoundedScan(self.narrow_query(), self.rows, self.filtered)
        return IndexScan(self.key_query())

    @property
    def is_bounded(self) -> bool:
        """Whether the page scans rows one by one, up to a limit."""
        return isinstance(self.search, PayloadSearch) or self.is_scanned

    @cached_property
    def is_scanned(self) -> bool:
        """Whether the rows of a search by id are filtered one by one: MariaDB does not intersect indexes."""
        is_filtered = any(each.selected_values() for each in self.column_filters())
        return is_filtered and isinstance(self.search, IdSearch) and connections[self.rows.db].vendor == "mysql"

    @cached_property
    def has_payload_index(self) -> bool:
        """Whether the database has the optional index of payloads."""
        return bool(payload_index.is_there(self.rows.db))

    def key_query(self, *, without: object = None, by_key: bool = False) -> KeyQuery:
        """Return the query for the keys, without one of the filters.

        `by_key`: a period is a range of keys only, so that a count does not read the time of each row.
        """
        rows = self.filtered(self.rows, without=without, by_key=by_key)
        if isinstance(self.search, IdSearch):
            return self._union(rows)
        selected = {
            each.column: values
            for each in self.column_filters()
            if each is not without and (values := each.selected_values())
        }
        uses_index = bool(selected) or isinstance(without, ColumnFilter)
        if self.is_narrow or not uses_index or self._combinations is None:
            return Union([rows])
        combinations = self._combinations.only(selected)
        if not combinations.are_few:
            return Union([rows])
        # The combinations have the selected values; several of them as a condition keep PostgreSQL from the order.
        others = [each for each in self.filters if not isinstance(each, ColumnFilter)]
        return SkipScan(replace(self, filters=others).filtered(self.rows, without=without, by_key=by_key), combinations)

    def narrow_query(self) -> KeyQuery:
        """Return the query for the keys that a search or a narrow parameter leaves, without the filters."""
        return self._union(self.rows.filter(self.lookups))

    def filtered(self, rows: QuerySet[Any], *, without: object = None, by_key: bool = False) -> QuerySet[Any]:
        """Return those of the rows that the filters leave."""
        for each in self.filters:
            if each is without:
                continue
            if by_key and isinstance(each, PeriodFilter):
                rows = each.by_key(rows)
                continue
            filtered = each.queryset(self.request, rows)
            rows = rows if filtered is None else filtered
        return rows.filter(self.lookups)

    def column_filters(self) -> Iterator[ColumnFilter]:
        """Yield the filters on a column of the index."""
        return (each for each in self.filters if isinstance(each, ColumnFilter))

    def _union(self, rows: QuerySet[Any]) -> Union:
        if not isinstance(self.search, IdSearch):
            return Union([rows])
        return Union([rows.filter(alternative) for alternative in self.search.alternatives])

    @cached_property
    def _combinations(self) -> Combinations | None:
        return read_combinations(self.rows.model, self.rows.db, self.spec.index)
