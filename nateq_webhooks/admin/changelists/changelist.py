"""The change list of a large table: Django's, but each page, count and search goes through an index.

Django counts all rows and skips rows by OFFSET; on a large table both read all of it.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from nateq_webhooks.admin.changelists.counts import LIMIT, Count, Kind, capped, estimate
from nateq_webhooks.admin.changelists.facets import Facets
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK
from nateq_webhooks.admin.changelists.payload_search import parse as parse_path
from nateq_webhooks.admin.changelists.peers import fetch_peers
from nateq_webhooks.admin.changelists.query import ListQuery
from nateq_webhooks.admin.changelists.search import NoSearch, PathSearch, by_id
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.formatting import DATE_FORMAT, TIME_FORMAT
from nateq_webhooks.admin.permissions import PermittedRows, is_narrowed, may_see_payload
from nateq_webhooks.database.keyset import cursor
from nateq_webhooks.database.keyset.key_queries import count_up_to
from nateq_webhooks.database.keyset.time_limit import MAX_SECONDS, TookTooLongError, limited

FACETS_VAR: Final = "_facets"
"""Django's parameter that shows the counts beside the filters."""

CURSOR_VAR: Final = "cursor"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to another page of the list."""

    url: str
    label: str
    rel: str = ""


class KeysetChangeList(ChangeList):
    """A change list that reads only the rows it shows, without their large columns."""

    page = cursor.EMPTY
    count: Count | None = None
    newest_first = True
    is_limited = False
    "Whether the page scans rows one by one, up to a limit."
    search_hint = ""

    def __init__(self, request: HttpRequest, *args: Any) -> None:
        self._request = request
        self._remaining: Any = {}
        self.cursor = self._parse_cursor(request)
        super().__init__(request, *args)
        if self.spec.searches_payloads and may_see_payload(request):
            further = _("Or a path into the payload and a value: data.requester.email=sara@example.com")
            self.search_help_text = f"{self.search_help_text} {further}"

    def _parse_cursor(self, request: HttpRequest) -> cursor.Cursor:
        if any("\x00" in value for _name, values in request.GET.lists() for value in values):
            raise self._refused(_("The address has a NUL character, which no text in the database can have."))
        try:
            return cursor.parse(request.GET.get(CURSOR_VAR, ""))
        except ValueError as error:
            raise self._refused(_("This page does not exist: %(error)s") % {"error": error}) from error

    def _refused(self, text: str) -> IncorrectLookupParameters:
        """Return the error that redirects to the first page, which shows the text."""
        messages.error(self._request, text)
        return IncorrectLookupParameters(text)

    @cached_property
    def spec(self) -> ListSpec:
        """How the list is read."""
        spec: ListSpec = self.model_admin.list_spec  # type: ignore[attr-defined]
        return spec

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return the rows that an action over the whole list applies to."""
        for parameters in (self.params, self.filter_params):
            parameters.pop(CURSOR_VAR, None)  # a changed filter starts at the first page
        self.filter_params.pop(FIND_WEBHOOK, None)  # narrows the choices of a filter, not the rows
        term, self.query = self.query, ""  # without Django's search: `ListQuery` has the alternatives already
        try:
            rows = super().get_queryset(request, exclude_parameters)
        except IncorrectLookupParameters as error:
            raise self._refused(_("This filter can't be understood, so nothing is filtered.")) from error
        finally:
            self.query = term
        return self.list_query.search.restrict(rows, self.page.pks)

    def get_filters(self, request: HttpRequest) -> Any:
        """Return Django's filters, and keep the parameters that none of them took."""
        filters = super().get_filters(request)
        self._remaining = filters[2]
        return filters

    @cached_property
    def list_query(self) -> ListQuery:
        """What the list asks for; not before the filters have read their parameters."""
        return ListQuery(
            spec=self.spec,
            request=self._request,
            rows=self.root_queryset,
            filters=self.filter_specs,
            lookups=build_q_object_from_lookup_parameters(self._remaining),
            search=by_id(self.query, self.spec.search_alternatives),
            has_narrow_parameter=not self.spec.narrow_parameters.isdisjoint(self.filter_params),
        )

    @cached_property
    def facets(self) -> Facets:
        """The counts beside the filters."""
        return Facets(self.list_query, self._limited)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order by the key alone, which always has an index: the newest first, or the oldest."""
        ordering = super().get_ordering(request, queryset) if ORDER_VAR in self.params else []
        self.newest_first = next((name == "-pk" for name in ordering if name in ("pk", "-pk")), True)
        return ["-pk" if self.newest_first else "pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        self.result_list = []
        try:
            with self._limited():
                self._read_page(request)
        except TookTooLongError:
            self._give_up()
        if self.count is None and not self.is_limited:
            self.count = self._count()
        self.result_count = self._result_count()
        self.full_result_count = self.result_count  # else Django shows the number, which may be a limit, as the result
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(self.result_list, self.list_per_page)

    def _read_page(self, request: HttpRequest) -> None:
        path = parse_path(self.query) if self.spec.searches_payloads else None
        query = self.list_query
        if path is not None and not query.key_query().pks(1, descending=True):
            if may_see_payload(request):
                query = replace(query, search=PathSearch(path))
            else:
                self.search_hint = _("Nothing has this id. A search through payloads needs the permission to see them.")
        page = cursor.read_page(query.scan(), self.cursor, self.list_per_page, newest_first=self.newest_first)
        self.result_list = self._load(page.pks)
        self.list_query, self.page = query, page
        self.is_limited = query.is_bounded
        if isinstance(query.search, PathSearch):
            self.queryset = query.search.restrict(self.root_queryset, page.pks)
            self.add_facets = self.is_facets_optional = False  # each count would scan all payloads

    def _give_up(self) -> None:
        """Show no rows, and the reason."""
        self.count = Count(0, Kind.UNKNOWN)
        self.add_facets = self.is_facets_optional = False
        self.search_hint = _(
            "The query was cancelled after %(seconds)d seconds. "
            "Narrow the list: choose a status, an event or a shorter period."
        ) % {"seconds": MAX_SECONDS}

    def _limited(self) -> AbstractContextManager[None]:
        """Limit the time of the statements that no index bounds."""
        known = self.spec.parameters | self.spec.narrow_parameters | {FIND_WEBHOOK, FACETS_VAR}
        has_foreign_filters = any(name not in known for name in self.filter_params)
        is_path = self.spec.searches_payloads and parse_path(self.query) is not None
        is_bounded = not is_path and not has_foreign_filters and not is_narrowed(self.root_queryset)
        return nullcontext() if is_bounded else limited(self.root_queryset.db)

    def _load(self, pks: list[int]) -> list[Any]:
        """Load the rows of the page."""
        if not pks:
            return []
        rows = self.spec.annotate(self.root_queryset).defer(*self.spec.deferred)
        by_pk = self.apply_select_related(rows).order_by().in_bulk(pks)
        found = [by_pk[pk] for pk in pks if pk in by_pk]
        self.spec.mark_hidden(found, PermittedRows(self.model_admin.admin_site, self._request))
        fetch_peers(found)
        return found

    def _count(self) -> Count:
        """Count the rows: a single page by its rows, the whole table by statistics, a part of it up to a limit."""
        if self.cursor == cursor.FIRST and self.page.next is None:
            return Count(len(self.page.pks))
        if not self.get_filters_params() and isinstance(self.list_query.search, NoSearch):
            number = None if is_narrowed(self.root_queryset) else estimate(self.root_queryset)
            if number is not None and number > LIMIT:
                return Count(number, Kind.ABOUT)
        try:
            with self._limited():
                number = count_up_to(self.list_query.key_query(by_key=True), LIMIT + 1, self.root_queryset.db)
                return capped(number, LIMIT)
        except TookTooLongError:
            return Count(0, Kind.UNKNOWN)

    def _result_count(self) -> int:
        if self.count is None or self.count.kind is Kind.UNKNOWN:
            return len(self.page.pks)
        return self.count.number + (self.count.kind is Kind.MORE)

    @property
    def used_payload_index(self) -> bool:
        """Whether the page has searched all payloads through their index."""
        return isinstance(self.list_query.search, PathSearch) and self.list_query.has_payload_index

    def page_links(self) -> list[Link]:
        """Return the links to the neighbouring pages."""
        links = []
        if self.cursor != cursor.FIRST:
            links.append(self._link(None, _("First page")))
        if self.page.previous is not None:
            links.append(self._link(self.page.previous, _("Previous page"), "prev"))
        if self.page.next is not None:
            further = _("Search further back") if self.newest_first else _("Search further on")
            is_short = self.is_limited and len(self.page.pks) < self.list_per_page
            links.append(self._link(self.page.next, further if is_short else _("Next page"), "next"))
        if self.page.next is not None and not self.is_limited:
            links.append(self._link(cursor.LAST, _("Last page")))
        return links

    def _link(self, value: str | None, label: str, rel: str = "") -> Link:
        return Link(self.get_query_string({CURSOR_VAR: value}), label, rel)

    def search_reach(self) -> str:
        """Return in words how far a search has scanned."""
        found = self.page.found
        number = number_format(found.rows_scanned, force_grouping=True)
        if found.stopped_at is None:
            return _("Looked through %(number)s deliveries, up to the end of the list.") % {"number": number}
        return _("Looked through %(number)s deliveries, as far as %(moment)s. There is more.") % {
            "number": number,
            "moment": self._date_of(found.stopped_at) or found.stopped_at,
        }

    def _date_of(self, pk: int) -> str:
        """Return the date of a row; empty if it is unknown."""
        if not self.spec.date_column:
            return ""
        date = self.root_queryset.filter(pk=pk).values_list(self.spec.date_column, flat=True).first()
        return date_format(timezone.localtime(date), f"{DATE_FORMAT} {TIME_FORMAT}") if date else ""

    def further_link(self) -> Link | None:
        """Return the link that continues a bounded scan where it stopped."""
        if not self.is_limited or self.page.found.stopped_at is None or len(self.page.pks) == self.list_per_page:
            return None
        rel = "prev" if self.cursor.is_backwards else "next"
        return next((link for link in self.page_links() if link.rel == rel), None)
