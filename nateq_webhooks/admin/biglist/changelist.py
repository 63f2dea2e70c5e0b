"""The list of deliveries or runs: Django's, but each page, count and search goes through an index.

Django counts what it lists and leaves out rows from the start to reach a page; on a big table both read it all.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db import connections
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from nateq_webhooks import payload_index
from nateq_webhooks.admin.biglist import keyset
from nateq_webhooks.admin.biglist.bounded_scan import Walk
from nateq_webhooks.admin.biglist.counts import LIMIT, Count, Kind, capped, estimate
from nateq_webhooks.admin.biglist.cursor import FIRST, LAST, Place, parse
from nateq_webhooks.admin.biglist.facets import Facets
from nateq_webhooks.admin.biglist.filters import FIND_WEBHOOK, ColumnFilter, PeriodFilter
from nateq_webhooks.admin.biglist.key_queries import Merged, Rows, counted
from nateq_webhooks.admin.biglist.payload_search import Indexed, PathValue
from nateq_webhooks.admin.biglist.peers import load_together
from nateq_webhooks.admin.biglist.search import any_of
from nateq_webhooks.admin.biglist.skip_scan import Combination, Combined, combinations
from nateq_webhooks.admin.biglist.time_limit import MAX_SECONDS, TookTooLongError, limited
from nateq_webhooks.admin.permissions import is_narrowed

if TYPE_CHECKING:
    from nateq_webhooks.admin.biglist.base import RecordAdmin

FACETS_VAR: Final = "_facets"
"""Django's parameter that shows the counts beside the filters."""

CURSOR_VAR: Final = "cursor"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another page of the list."""

    url: str
    label: str
    rel: str = ""


class RecordList(ChangeList):
    """A list that reads what it shows: no more rows, no large columns."""

    model_admin: "RecordAdmin[Any]"
    page: keyset.Page
    count: Count | None = None
    newest_first = True
    wanted: PathValue | None = None
    "The search through payloads, if it is one."
    is_walk = False
    "Whether the rows of a search are looked at one after another, because filters are on, too."
    search_hint = ""

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self._request = request
        self._found: list[int] | None = None
        self._remaining: Any = {}
        self.facets = Facets(self)
        self.place = self._place(request)
        super().__init__(request, *args)
        if self.model_admin.payload_search_help_text and self.model_admin.may_search_payloads(request):
            self.search_help_text = f"{self.search_help_text} {self.model_admin.payload_search_help_text}"

    def _place(self, request: HttpRequest) -> Place:
        if any("\x00" in value for _name, values in request.GET.lists() for value in values):
            raise self._refused(_("The address holds a NUL character, which no text in the database has."))
        try:
            return parse(request.GET.get(CURSOR_VAR, ""))
        except ValueError as error:
            raise self._refused(_("This page does not exist: %(error)s") % {"error": error}) from error

    def _refused(self, text: str) -> IncorrectLookupParameters:
        """Say what is wrong on the page that Django leads to."""
        messages.error(self._request, text)
        return IncorrectLookupParameters(text)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return all rows that fit, for actions over the list; of a search through payloads, those of the page."""
        for parameters in (self.params, self.filter_params):
            parameters.pop(CURSOR_VAR, None)  # a changed filter begins at the first page
        self.filter_params.pop(FIND_WEBHOOK, None)  # it is about the filter's choices, not about rows
        query, self.query = self.query, ""  # the search is ours, see `find`
        try:
            rows = super().get_queryset(request, exclude_parameters)
        except IncorrectLookupParameters as error:
            raise self._refused(_("This filter can't be understood, so nothing is filtered.")) from error
        finally:
            self.query = query
        if self._found is not None:
            return rows.filter(pk__in=self._found)
        return rows.filter(any_of(self._ways)) if self._term else rows

    def get_filters(self, request: HttpRequest) -> Any:
        """Return Django's filters, and remember what none of them took."""
        filters = super().get_filters(request)
        self._remaining = filters[2]
        return filters

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the newest first, or the oldest: by nothing but the key, for which there always is an index."""
        asked = super().get_ordering(request, queryset) if ORDER_VAR in self.params else []
        self.newest_first = next((name == "-pk" for name in asked if name in ("pk", "-pk")), True)
        return ["-pk" if self.newest_first else "pk"]

    @property
    def alias(self) -> str:
        """The database that the rows are in."""
        return str(self.root_queryset.db)

    @cached_property
    def is_narrow(self) -> bool:
        """Whether a search or a parameter leads to few rows already, through an index of its own."""
        return bool(self._term) or not self.model_admin.narrow_parameters.isdisjoint(self.filter_params)

    @property
    def _term(self) -> str:
        return "" if self.wanted is not None else self.query.strip()

    @cached_property
    def _combinations(self) -> list[Combination] | None:
        return combinations(self.model, self.alias, self.model_admin.browse_columns)

    @cached_property
    def _ways(self) -> list[Q]:
        return self.model_admin.search_ways(self.query)

    def find(self, *, without: object = None, roughly: bool = False) -> Rows:
        """Return how to find the rows that fit, without one of the filters; a period by its keys alone if `roughly`."""
        rows = self._filtered(without, roughly=roughly)
        if self._term:
            return Merged([rows.filter(way) for way in self._ways])
        chosen = {
            spec.column: spec.chosen() for spec in self._column_filters() if spec is not without and spec.chosen()
        }
        if self.is_narrow or not (chosen or isinstance(without, ColumnFilter)) or self._combinations is None:
            return Merged([rows])
        return Combined(rows, self.model_admin.browse_columns, self._combinations).only(chosen)

    def _column_filters(self) -> Iterable[ColumnFilter]:
        return (spec for spec in self.filter_specs if isinstance(spec, ColumnFilter))

    def _filtered(self, without: object = None, *, roughly: bool = False) -> QuerySet[Any]:
        return self._filtered_from(self.root_queryset, without, roughly=roughly)

    def _filtered_from(self, rows: QuerySet[Any], without: object = None, *, roughly: bool = False) -> QuerySet[Any]:
        for spec in self.filter_specs:
            if spec is without:
                continue
            if roughly and isinstance(spec, PeriodFilter):
                rows = spec.roughly(rows)
                continue
            filtered = spec.queryset(self._request, rows)
            rows = rows if filtered is None else filtered
        return rows.filter(build_q_object_from_lookup_parameters(self._remaining))

    def find_narrow(self) -> Rows:
        """Return how to find the rows that a search or a narrow parameter leads to, whatever the filters say."""
        rows = self.root_queryset.filter(build_q_object_from_lookup_parameters(self._remaining))
        return Merged([rows.filter(way) for way in self._ways] if self._term else [rows])

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        try:
            with self.limited():
                self._read_page(request)
        except TookTooLongError:
            self._give_up()
        if self.wanted:
            self._found = self.page.pks
            self.queryset = self.get_queryset(request)
            self.add_facets = self.is_facets_optional = False  # each would have to look into all payloads
        elif not self.is_walk and self.count is None:
            self.count = self._count()
        self.result_count = self._result_count()
        self.full_result_count = self.result_count  # else Django shows the number, which may be a limit, as the result
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    def _read_page(self, request: HttpRequest) -> None:
        self._look_into_payloads(request)
        self.page = keyset.read(self._finding(), self.place, self.list_per_page, newest_first=self.newest_first)
        self.result_list = self._loaded()

    def _give_up(self) -> None:
        """Show no rows, and say why."""
        self.page = keyset.Page([], None, None, keyset.Found([], None))
        self.result_list, self.wanted, self.count = [], None, Count(0, Kind.UNKNOWN)
        self.add_facets = self.is_facets_optional = False
        self.search_hint = _(
            "The database was stopped after %(seconds)d seconds. "
            "Narrow it down: choose a status, an event or a shorter period."
        ) % {"seconds": MAX_SECONDS}

    def limited(self) -> AbstractContextManager[None]:
        """Limit the time of the statements, where the indexes do not do that."""
        is_ours = self.wanted is None and not is_narrowed(self.root_queryset) and not self._has_foreign_filters
        is_path = self.model_admin.payload_search(self.query) is not None
        return nullcontext() if is_ours and not is_path else limited(self.alias)

    @cached_property
    def _has_foreign_filters(self) -> bool:
        """Whether a filter is on that is none of ours, such as one that a project added."""
        known = self.model_admin.indexed_parameters | {FIND_WEBHOOK, FACETS_VAR}
        return any(name not in known for name in self.filter_params)

    def _finding(self) -> keyset.Find:
        if self.wanted:
            walk = Walk(self.find(), self.root_queryset, self.wanted.matching)
            return Indexed(walk, self._filtered(), self.wanted).find if self.has_payload_index else walk.find
        if self._filters_a_search_in_vain():
            self.is_walk = True
            return Walk(self.find_narrow(), self.root_queryset, self._filtered_from).find
        return keyset.finding(self.find())

    def _filters_a_search_in_vain(self) -> bool:
        """Say whether filters on top of a search need each row of the search: MariaDB does not intersect indexes."""
        is_filtered = any(spec.chosen() for spec in self._column_filters())
        return is_filtered and bool(self._term) and connections[self.alias].vendor == "mysql"

    def _look_into_payloads(self, request: HttpRequest) -> None:
        wanted = self.model_admin.payload_search(self.query)
        if wanted is None or self.find().pks(1, descending=True):
            return
        if self.model_admin.may_search_payloads(request):
            self.wanted = wanted
            self.__dict__.pop("is_narrow", None)
        else:
            self.search_hint = _("Nothing has this id. A search through payloads needs the permission to see them.")

    @cached_property
    def has_payload_index(self) -> bool:
        """Whether the optional index is there."""
        return bool(payload_index.is_there(self.alias))

    def _loaded(self) -> list[Any]:
        """Load the rows of the page."""
        if not self.page.pks:
            return []
        rows = self.model_admin.shown_rows(self.root_queryset).defer(*self.model_admin.list_defer)
        by_pk = self.apply_select_related(rows).order_by().in_bulk(self.page.pks)
        found = [by_pk[pk] for pk in self.page.pks if pk in by_pk]
        self.model_admin.mark_hidden(self._request, found)
        load_together(found)
        return found

    def _count(self) -> Count:
        """Count the rows: not at all when the page has them all, by statistics when no filter is on."""
        if self.place == FIRST and self.page.next is None:
            return Count(len(self.page.pks))
        if not self.get_filters_params() and not self.query.strip():
            number = None if is_narrowed(self.root_queryset) else estimate(self.root_queryset)
            if number is not None and number > LIMIT:
                return Count(number, Kind.ABOUT)
        try:
            with self.limited():
                return capped(counted(self.find(roughly=True), LIMIT + 1, self.alias))
        except TookTooLongError:
            return Count(0, Kind.UNKNOWN)

    def _result_count(self) -> int:
        if self.count is None:
            return len(self.page.pks)
        if self.count.kind is Kind.UNKNOWN:
            return len(self.page.pks)
        return self.count.number + (self.count.kind is Kind.MORE)

    @property
    def is_limited(self) -> bool:
        """Whether a page looks at rows up to a limit only."""
        return self.wanted is not None or self.is_walk

    def page_links(self) -> list[Link]:
        """Return the links to the pages around."""
        links = []
        if self.place != FIRST:
            links.append(self._link(None, _("First page")))
        if self.page.previous is not None:
            links.append(self._link(self.page.previous, _("Previous page"), "prev"))
        if self.page.next is not None:
            further = self.is_limited and len(self.page.pks) < self.list_per_page
            links.append(self._link(self.page.next, self._further() if further else _("Next page"), "next"))
        if self.page.next is not None and not self.is_limited:
            links.append(self._link(LAST, _("Last page")))
        return links

    def _further(self) -> str:
        return _("Search further back") if self.newest_first else _("Search further on")

    def _link(self, cursor: str | None, label: str, rel: str = "") -> Link:
        return Link(self.get_query_string({CURSOR_VAR: cursor}), label, rel)

    def search_reach(self) -> str:
        """Say how far a search through payloads looked."""
        found = self.page.found
        number = number_format(found.looked_at, force_grouping=True)
        if found.stopped_at is None:
            return _("Looked through %(number)s deliveries, up to the end of the list.") % {"number": number}
        moment = self.model_admin.moment_of(self.root_queryset, found.stopped_at)
        return _("Looked through %(number)s deliveries, as far as %(moment)s. There is more.") % {
            "number": number,
            "moment": moment or found.stopped_at,
        }

    def further_link(self) -> Link | None:
        """Return the link that goes on with a search through payloads where it stopped."""
        if not self.is_limited or self.page.found.stopped_at is None or len(self.page.pks) == self.list_per_page:
            return None
        links = [link for link in self.page_links() if link.rel == ("prev" if self.place.is_backwards else "next")]
        return links[0] if links else None
