"""The base of the admins of large tables, whose rows only the package writes."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from nateq_webhooks.admin.changelists.changelist import KeysetChangeList
from nateq_webhooks.admin.changelists.filters import FIND_WEBHOOK
from nateq_webhooks.admin.changelists.paginator import CappedPaginator
from nateq_webhooks.admin.changelists.saved_views import SavedView
from nateq_webhooks.admin.changelists.search import any_of
from nateq_webhooks.admin.changelists.spec import ListSpec
from nateq_webhooks.admin.generics import ModelAdmin
from nateq_webhooks.admin.pages import admin_url
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.conf import wrong_settings
from nateq_webhooks.protocol.columns import column_text

Record = TypeVar("Record", bound=Model)


class RecordAdmin(ModelAdmin[Record]):
    """Read-only rows: no adding, changing or deleting, and no list that reads a whole table."""

    list_per_page = 50
    ordering = ("-pk",)
    paginator = CappedPaginator  # for Django's autocompletion; KeysetChangeList pages by keyset
    show_full_result_count = False
    sortable_by: ClassVar[tuple[str, ...]] = ()
    view_on_site = False

    list_spec: ClassVar[ListSpec] = ListSpec()

    list_parameters: ClassVar[frozenset[str]] = frozenset()
    "Query parameters of filters that a project adds; any other column may lack an index, or be confidential."

    saved_views: ClassVar[Sequence[SavedView]] = ()
    "Filters that are offered as links above the list."

    payload_fields: ClassVar[Sequence[str]] = ()
    "The paths at which a value that is searched for may be, if the list searches payloads."

    links: ClassVar[Mapping[str, tuple[str, str]]] = {}
    "Columns that link to another page: the permission to open it, and the column for users without it."

    class Media:
        css = {"all": ["nateq_webhooks/admin.css", "nateq_webhooks/list.css"]}
        js = ("nateq_webhooks/list.js", "nateq_webhooks/shortcuts.js")

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Remove Django's error flag from the address: its page is about a broken database set-up."""
        if request.method == "GET" and ERROR_FLAG in request.GET and len(request.GET) > 1:
            parameters = request.GET.copy()
            del parameters[ERROR_FLAG]
            return HttpResponseRedirect(f"{request.path}?{parameters.urlencode()}")
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the change list that reads through indexes."""
        return KeysetChangeList

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns, without links to what the user may not open."""
        return [self.column_for(request, name) for name in super().get_list_display(request)]

    def get_fields(self, request: HttpRequest, obj: Record | None = None) -> Any:
        """Return the fields, without links to what the user may not open."""
        return [self.column_for(request, name) for name in super().get_fields(request, obj)]

    def column_for(self, request: HttpRequest, name: Any) -> Any:
        """Return the name of a column, or of its replacement if the user may not follow its link."""
        permission, without_link = self.links.get(name, ("", name))
        return name if not permission or request.user.has_perm(permission) else without_link

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Record | None:
        """Return the row of a page, with what it must not name marked."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            self.list_spec.mark_hidden([found], PermittedRows(self.admin_site, request))
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Record], search_term: str
    ) -> tuple[QuerySet[Record], bool]:
        """Search by exact ids."""
        if not search_term.strip():
            return queryset, False
        term = column_text(search_term, len(search_term))
        if wrong_settings():  # a completion on a page of another app
            return queryset.none(), False
        return queryset.filter(any_of(self.list_spec.search_alternatives(term))), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow the parameters of the list's filters only."""
        spec = self.list_spec
        return lookup in spec.parameters | spec.narrow_parameters | self.list_parameters | {FIND_WEBHOOK}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the inbox stores deliveries, and dispatch makes runs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Refuse: a record says what happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Refuse: the sender's next attempt of a deleted delivery would be stored as a new one."""
        return False

    def page_of(self, record: Model) -> str:
        """Return the address of another record's page on this admin site; empty if it has none."""
        return admin_url(self.admin_site, type(record), "change", record.pk)
