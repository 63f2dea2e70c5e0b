"""What deliveries and runs have in common in the admin: only the package writes them, and there are very many."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from nateq_webhooks.admin.paginator import CappedPaginator

Record = TypeVar("Record", bound=Model)

if TYPE_CHECKING:
    from typing import Generic

    class _ModelAdmin(admin.ModelAdmin[Record], Generic[Record]): ...
else:  # Django's ModelAdmin is generic for the type checker only

    class _ModelAdmin(admin.ModelAdmin):
        def __class_getitem__(cls, model):
            return cls


class RecordList(ChangeList):
    """A list that loads what it shows, and not the bodies."""

    model_admin: "RecordAdmin[Any]"

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return Django's rows without the large columns."""
        rows = super().get_queryset(request, exclude_parameters)
        return rows.defer(*self.model_admin.list_defer)

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        """Return the newest first, whatever `?o=` asks for: no other order has an index."""
        return ["-pk"]


class RecordAdmin(_ModelAdmin[Record]):
    """Rows to look at: no adding, changing or deleting, and no list that makes the database read a whole table."""

    actions: Any = None
    list_per_page = 50
    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()  # no links in the headers; RecordList ignores ?o=
    view_on_site = False

    list_defer: ClassVar[tuple[str, ...]] = ()
    "Columns that the list does not load."

    list_parameters: ClassVar[frozenset[str]] = frozenset()
    "The query parameters that the list filters by; any other column may be without an index, or not for all eyes."

    class Media:
        css = {"all": ["nateq_webhooks/admin.css"]}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list that leaves the large columns out."""
        return RecordList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow what the list's own filters ask for."""
        return lookup in self.list_parameters

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
