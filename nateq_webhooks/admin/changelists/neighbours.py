"""The rows before and after one in a list, as its filters and its search leave it: two reads through an index."""

import copy
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.http import HttpRequest, QueryDict
from django.utils.translation import gettext as _

from nateq_webhooks.admin.changelists.changelist import KeysetChangeList
from nateq_webhooks.admin.changelists.page_links import CURSOR_VAR, TEXT_VAR
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.database.keyset.bounded_scan import Budget
from nateq_webhooks.database.keyset.time_limit import TookTooLongError

PRESERVED: Final = "_changelist_filters"
"""Django's parameter with the query of the list that a page was opened from."""

BUDGET: Final = Budget(10_000, 0.04)
"""What is read of a search through payloads for each neighbour; beyond that the list goes on."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Addresses; empty if there is none."""

    previous_url: str
    next_url: str
    list_url: str
    filters: str
    "What the list is filtered by, in words."


class _UnreadList(KeysetChangeList):
    """A list that has parsed its parameters, and reads no page."""

    def get_results(self, request: HttpRequest) -> None:  # noqa: ARG002 - Django's signature
        """Read nothing."""
        self.result_list = []


def neighbours(model_admin: Any, request: HttpRequest, pk: int) -> Neighbours | None:
    """Return the neighbours in the list that the page was opened from; None if its filters are not valid."""
    query = QueryDict(request.GET.get(PRESERVED, ""), mutable=True)
    query.pop(CURSOR_VAR, None)
    asked = copy.copy(request)
    asked.GET = query  # type: ignore[assignment]
    try:
        changelist = _opened(model_admin, asked)
        with changelist.limited_time():
            return _found(changelist, pk, query)
    except (IncorrectLookupParameters, SuspiciousOperation, PermissionDenied, TookTooLongError):
        return None


def _opened(model_admin: Any, request: HttpRequest) -> _UnreadList:
    filters, searched = model_admin.get_list_filter(request), model_admin.get_search_fields(request)
    # The number of a column in the address counts the column of the checkboxes.
    checkbox = ["action_checkbox"] if model_admin.get_actions(request) else []
    columns, ordered = model_admin.get_list_display(request), model_admin.get_sortable_by(request)
    return _UnreadList(
        request,
        model_admin.model,
        list_display=[*checkbox, *columns],
        list_display_links=(),
        list_filter=filters,
        date_hierarchy=None,
        search_fields=searched,
        list_select_related=False,
        list_per_page=1,
        list_max_show_all=0,
        list_editable=(),
        model_admin=model_admin,
        sortable_by=ordered,
        search_help_text="",
    )


def _found(changelist: _UnreadList, pk: int, query: QueryDict) -> Neighbours:
    site, model = changelist.model_admin.admin_site, changelist.model
    scan = changelist.searched(BUDGET).scan()

    def url_of(*, descending: bool) -> str:
        found = scan.find(1, descending=descending, beyond=pk)
        if found.pks:
            page = admin_url(site, model, "change", found.pks[0])
            return f"{page}?{urlencode({PRESERVED: query.urlencode()})}" if query else page
        if found.stopped_at is None:
            return ""
        further = query.copy()
        further[CURSOR_VAR] = str(pk) if descending == changelist.newest_first else f"-{pk}"
        further[TEXT_VAR] = "1"
        return f"{admin_url(site, model, 'changelist')}?{further.urlencode()}"

    listed = admin_url(site, model, "changelist")
    return Neighbours(
        previous_url=url_of(descending=not changelist.newest_first),
        next_url=url_of(descending=changelist.newest_first),
        list_url=f"{listed}?{query.urlencode()}" if query else listed,
        filters=_(", ").join([*([changelist.query] if changelist.query else []), *changelist.active_filters()]),
    )
