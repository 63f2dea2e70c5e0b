"""What deliveries and runs have in common in the admin: only the package writes them, and there are very many."""
# ruff: noqa: ARG002 - the signatures are Django's

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse

from nateq_webhooks.admin.biglist.changelist import RecordList
from nateq_webhooks.admin.biglist.filters import FIND_WEBHOOK
from nateq_webhooks.admin.biglist.paginator import CappedPaginator
from nateq_webhooks.admin.biglist.payload_search import PathValue
from nateq_webhooks.admin.biglist.search import any_of
from nateq_webhooks.admin.generics import ModelAdmin
from nateq_webhooks.admin.permissions import Permitted
from nateq_webhooks.models import Webhook

Record = TypeVar("Record", bound=Model)


class RecordAdmin(ModelAdmin[Record]):
    """Rows to look at: no adding, changing or deleting, and no list that makes the database read a whole table."""

    list_per_page = 50
    ordering = ("-pk",)
    paginator = CappedPaginator  # for Django's autocompletion; RecordList has pages of its own
    show_full_result_count = False
    sortable_by: ClassVar[tuple[str, ...]] = ()
    view_on_site = False

    list_defer: ClassVar[tuple[str, ...]] = ()
    "Columns that the list does not load."

    list_parameters: ClassVar[frozenset[str]] = frozenset()
    "The query parameters that the list filters by; any other column may be without an index, or not for all eyes."

    browse_columns: ClassVar[tuple[str, ...]] = ()
    "The columns of the index that the filters go through, before the key (admin.biglist.skip_scan)."

    indexed_parameters: ClassVar[frozenset[str]] = frozenset()
    "The query parameters of our own filters, each with an index; what a project adds gets a time limit."

    narrow_parameters: ClassVar[frozenset[str]] = frozenset()
    "The query parameters that lead to few rows, through an index of their own."

    facet_columns: ClassVar[tuple[str, ...]] = ()
    "The columns that the filters are about."

    links: ClassVar[Mapping[str, tuple[str, str]]] = {}
    "Columns that link to another page: the permission to open that, and the column shown to who lacks it."

    names_webhook: ClassVar[bool] = False
    "Whether the rows belong to a webhook, which is named."

    payload_search_help_text: ClassVar[Any] = ""
    "What to tell about the search through payloads to those who may see them."

    class Media:
        css = {"all": ["nateq_webhooks/admin.css", "nateq_webhooks/list.css"]}

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Take Django's mark of an error off an address that says more: it would speak of the database's set-up."""
        if request.method == "GET" and ERROR_FLAG in request.GET and len(request.GET) > 1:
            parameters = request.GET.copy()
            del parameters[ERROR_FLAG]
            return HttpResponseRedirect(f"{request.path}?{parameters.urlencode()}")
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that goes through indexes and leaves the large columns out."""
        return RecordList

    def get_list_display(self, request: HttpRequest) -> Any:
        """Return the columns; without links to what the user may not open."""
        return [self.column_for(request, name) for name in super().get_list_display(request)]

    def get_fields(self, request: HttpRequest, obj: Record | None = None) -> Any:
        """Return what is shown; without links to what the user may not open."""
        return [self.column_for(request, name) for name in super().get_fields(request, obj)]

    def column_for(self, request: HttpRequest, name: Any) -> Any:
        """Return the name of a column, or of that which stands in its place for who may not follow its link."""
        permission, without_link = self.links.get(name, ("", name))
        return name if not permission or request.user.has_perm(permission) else without_link

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Record | None:
        """Return the row of a page, with what it may not name marked."""
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            self.mark_hidden(request, [found])
        return found

    def mark_hidden(self, request: HttpRequest, records: Sequence[Record]) -> None:
        """Mark the rows that belong to a webhook which the project hides from the user: they don't name it."""
        if not self.names_webhook:
            return
        permitted = Permitted(self.admin_site, request)
        shown = permitted.shown(Webhook, {getattr(record, "webhook_id") for record in records})  # noqa: B009
        for record in records:
            record.is_webhook_hidden = getattr(record, "webhook_id") not in shown  # type: ignore[attr-defined]  # noqa: B009

    def shown_rows(self, rows: QuerySet[Record]) -> QuerySet[Record]:
        """Return the rows of a page with what the list shows of them."""
        return rows

    def search_ways(self, term: str) -> list[Q]:
        """Return the conditions of which a row that is searched for fulfils one; each of them has an index."""
        return [Q(pk__in=[])]

    def moment_of(self, rows: QuerySet[Record], pk: int) -> str:
        """Return in words when a row came; empty when that is unknown."""
        return ""

    def payload_search(self, term: str) -> PathValue | None:
        """Return the search through payloads that a term may mean."""
        return None

    def may_search_payloads(self, request: HttpRequest) -> bool:
        """Say whether the user may see what customers wrote."""
        return request.user.has_perm("nateq_webhooks.view_payload")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Record], search_term: str
    ) -> tuple[QuerySet[Record], bool]:
        """Search exactly."""
        if not search_term.strip():
            return queryset, False
        if "\0" in search_term:  # no text in the database has one, and asking for it is an error on PostgreSQL
            return queryset.none(), False
        return queryset.filter(any_of(self.search_ways(search_term))), False

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow what the list's own filters ask for."""
        return lookup in self.list_parameters or lookup == FIND_WEBHOOK

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse: the inbox stores deliveries, and dispatch makes runs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Refuse: a record says what happened."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Record | None = None) -> bool:
        """Refuse: a deleted delivery would be taken for a new one when the sender repeats it."""
        return False

    def page_of(self, record: Model) -> str:
        """Return the address of another record's page on this admin site; empty when it has none."""
        name = f"admin:{record._meta.app_label}_{record._meta.model_name}_change"
        try:
            return reverse(name, args=[quote(record.pk)], current_app=self.admin_site.name)
        except NoReverseMatch:
            return ""
