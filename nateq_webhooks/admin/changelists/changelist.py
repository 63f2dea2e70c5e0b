"""The change list of a large table: Django's, but each page, count and search goes through an index.

Django counts all rows and skips rows by OFFSET; on a large table both read all of it.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import build_q_object_from_lookup_parameters
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.count_text import found_on_page, in_words
from nateq_webhooks.admin.changelists.counts import LIMIT, Count, Kind, capped
from nateq_webhooks.admin.changelists.facets import Facets
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK
from nateq_webhooks.admin.changelists.histogram import Histogram, histogram
from nateq_webhooks.admin.changelists.page_links import CURSOR_VAR, TEXT_VAR, Link, page_links, text_link
from nateq_webhooks.admin.changelists.payload_search import PayloadCondition
from nateq_webhooks.admin.changelists.payload_search import parse as parse_path
from nateq_webhooks.admin.changelists.query import ListQuery
from nateq_webhooks.admin.changelists.reach import SearchReach, why_empty
from nateq_webhooks.admin.changelists.rows import load_rows
from nateq_webhooks.admin.changelists.saved_views import ViewLink, active_filters, view_links
from nateq_webhooks.admin.changelists.search import NoSearch, PayloadSearch, by_id
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.changelists.text_search import payload_text
from nateq_webhooks.admin.permissions import is_narrowed, may_replay, may_see_payload
from nateq_webhooks.database.estimate import estimated_rows
from nateq_webhooks.database.keyset import cursor
from nateq_webhooks.database.keyset.bounded_scan import Budget
from nateq_webhooks.database.keyset.key_queries import count_up_to
from nateq_webhooks.database.keyset.time_limit import MAX_SECONDS, TookTooLongError, limited

FACETS_VAR: Final = "_facets"
"""Django's parameter that shows the counts beside the filters."""

FIRST_BUDGET: Final = Budget(50_000, 0.25)
"""What the first page of a search through payloads reads without the index."""

FURTHER_BUDGET: Final = Budget(200_000, 1.0)
"""What each further page reads: who asks for one is willing to wait."""


class KeysetChangeList(ChangeList):
    """A change list that reads only the rows it shows, without their large columns."""

    page = cursor.EMPTY
    count: Count | None = None
    newest_first = True
    is_limited = False
    "Whether the page scans rows one by one, up to a limit."
    search_hint = ""

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        self._request = request
        self._remaining: Any = {}
        self.cursor = self._parse_cursor(request)
        super().__init__(request, *args, **options)
        if self.spec.searches_payloads and may_see_payload(request):
            further = _(
                "Or any text of the payload: an e-mail address, a name, a phone number. "
                "Or a path and a value: data.requester.email=sara@example.com"
            )
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
            parameters.pop(TEXT_VAR, None)
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
        return Facets(self.list_query, self.limited_time)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the order by the key alone, which always has an index: the newest first, or the oldest."""
        ordering = super().get_ordering(request, queryset) if ORDER_VAR in self.params else []
        self.newest_first = next((name == "-pk" for name in ordering if name in ("pk", "-pk")), True)
        return ["-pk" if self.newest_first else "pk"]

    def get_results(self, request: HttpRequest) -> None:
        """Read the page."""
        self.result_list = []
        try:
            with self.limited_time():
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
        query = self.list_query
        wanted = self._wanted_in_payloads()
        page = cursor.EMPTY if wanted is not None else self._page_of(query)
        if wanted is None and not page.pks and self._is_no_id():
            wanted = payload_text(self.query, self.model_admin.payload_fields)  # type: ignore[attr-defined]
        if wanted is not None and not may_see_payload(request):
            self.search_hint = _("Nothing has this id. A search through payloads needs the permission to see them.")
        elif wanted is not None and (refusal := wanted.refusal()):
            self.search_hint = refusal
        elif wanted is not None:
            budget = FIRST_BUDGET if self.cursor == cursor.FIRST else FURTHER_BUDGET
            query = replace(query, search=PayloadSearch(wanted, budget))
            page = self._page_of(query)
            self.queryset = query.search.restrict(self.root_queryset, page.pks)
            self.add_facets = self.is_facets_optional = False  # each count would scan all payloads
        self.result_list = load_rows(self, request, page.pks)
        self.list_query, self.page = query, page
        self.is_limited = query.is_bounded
        if not page.pks and not self.search_hint and not isinstance(query.search, PayloadSearch):
            self.search_hint = why_empty(self)

    def _page_of(self, query: ListQuery) -> cursor.KeyPage:
        return cursor.read_page(query.scan(), self.cursor, self.list_per_page, newest_first=self.newest_first)

    def _wanted_in_payloads(self) -> PayloadCondition | None:
        """Return what to look for in payloads without a search by id: what was asked for, or a path and a value."""
        if not self.spec.searches_payloads or not self.query.strip():
            return None
        path = parse_path(self.query)
        if TEXT_VAR in self._request.GET:
            return path or payload_text(self.query, self.model_admin.payload_fields)  # type: ignore[attr-defined]
        return None if path is None or self.has_id() else path

    def searched(self, budget: Budget) -> ListQuery:
        """Return what the list asks for, without reading a page; `budget` is for a search through payloads."""
        wanted = self._wanted_in_payloads()
        if wanted is None and self.spec.searches_payloads and self.query.strip() and not self.has_id():
            wanted = payload_text(self.query, self.model_admin.payload_fields)  # type: ignore[attr-defined]
        if wanted is None or not may_see_payload(self._request) or wanted.refusal():
            return self.list_query
        return replace(self.list_query, search=PayloadSearch(wanted, budget))

    def _is_no_id(self) -> bool:
        """Return whether a term that was not found as an id is to be looked for in payloads."""
        is_first = self.cursor == cursor.FIRST  # links to further pages of such a search have TEXT_VAR
        if not self.spec.searches_payloads or not self.query.strip() or not is_first:
            return False
        return not self.get_filters_params() or not self.has_id()

    def has_id(self) -> bool:
        """Return whether a row has the term as its id, also one that the filters exclude."""
        return bool(self.list_query.narrow_query().pks(1, descending=True))

    def _give_up(self) -> None:
        """Show no rows, and the reason."""
        self.count = Count(0, Kind.UNKNOWN)
        self.add_facets = self.is_facets_optional = False
        self.search_hint = _(
            "The query was cancelled after %(seconds)d seconds. "
            "Narrow the list: choose a status, an event or a shorter period."
        ) % {"seconds": MAX_SECONDS}

    @property
    def is_bounded(self) -> bool:
        """Whether the indexes of the package bound every statement of the page."""
        known = self.spec.parameters | self.spec.narrow_parameters | {FIND_WEBHOOK, FACETS_VAR}
        has_foreign_filters = any(name not in known for name in self.filter_params)
        is_scan = (self.spec.searches_payloads or self.spec.is_search_limited) and bool(self.query.strip())
        return not is_scan and not has_foreign_filters and not is_narrowed(self.root_queryset)

    def limited_time(self) -> AbstractContextManager[None]:
        """Limit the time of the statements that no index bounds."""
        return nullcontext() if self.is_bounded else limited(self.root_queryset.db)

    def _count(self) -> Count:
        """Count the rows: a single page by its rows, the whole table by statistics, a part of it up to a limit."""
        if self.cursor == cursor.FIRST and self.page.next is None:
            return Count(len(self.page.pks))
        if not self.get_filters_params() and isinstance(self.list_query.search, NoSearch):
            number = None if is_narrowed(self.root_queryset) else estimated_rows(self.root_queryset)
            if number is not None and number > LIMIT:
                return Count(number, Kind.ABOUT)
        try:
            with self.limited_time():
                number = count_up_to(self.list_query.key_query(by_key=True), LIMIT + 1, self.root_queryset.db)
                return capped(number, LIMIT)
        except TookTooLongError:
            return Count(0, Kind.UNKNOWN)

    def _result_count(self) -> int:
        if self.count is None or self.count.kind is Kind.UNKNOWN:
            return len(self.page.pks)
        return self.count.number + (self.count.kind is Kind.MORE)

    def count_text(self) -> str:
        """Return the number of rows in words."""
        return found_on_page(self.result_count) if self.count is None else in_words(self.count, self.opts.model_name)

    def page_links(self) -> list[Link]:
        """Return the links to the neighbouring pages."""
        return page_links(self)

    def text_link(self) -> Link | None:
        """Return the link that searches payloads for a term that was found as an id."""
        return text_link(self) if may_see_payload(self._request) else None

    @cached_property
    def reach(self) -> SearchReach | None:
        """How far the page has scanned rows one by one; None if it has not."""
        is_payload = isinstance(self.list_query.search, PayloadSearch)
        # A scan of the few rows with an id that came to their end has left nothing out.
        has_limit = is_payload or (self.is_limited and self.page.found.stopped_at is not None)
        return SearchReach(self) if has_limit else None

    def date_of(self, pk: int) -> str:
        """Return the time of a row's receipt in words; empty if it is unknown."""
        if not self.spec.date_column:
            return ""
        date = self.root_queryset.filter(pk=pk).values_list(self.spec.date_column, flat=True).first()
        return formatting.moment_text(date) if date else ""

    @cached_property
    def histogram(self) -> Histogram | None:
        """The rows by time, above the first page."""
        return histogram(self) if self.cursor == cursor.FIRST and self.spec.has_histogram else None

    @property
    def can_follow(self) -> bool:
        """Whether new rows come to the top of the page, and no payload is scanned for them."""
        is_first = self.cursor == cursor.FIRST and self.newest_first
        return is_first and not isinstance(self.list_query.search, PayloadSearch)

    @property
    def may_replay(self) -> bool:
        """Whether the rows are deliveries that the user may have run again."""
        return self.spec.searches_payloads and may_replay(self._request)

    def views(self) -> list[ViewLink]:
        """Return the saved views."""
        return view_links(self, self.model_admin.saved_views)  # type: ignore[attr-defined]

    def active_filters(self) -> list[str]:
        """Return what is selected in the filters, in words."""
        return active_filters(self)
