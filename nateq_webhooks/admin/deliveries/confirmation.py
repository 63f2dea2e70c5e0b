"""The pages that confirm an action on deliveries: the list's action or the address says which, the page asks."""

import functools
from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib.admin import ModelAdmin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from nateq_webhooks.admin.deliveries.selection import SelectableDeliveries, SelectedDeliveries, from_action, select
from nateq_webhooks.admin.deliveries.selection_form import SelectionForm
from nateq_webhooks.admin.pages import AdminPage
from nateq_webhooks.admin.permissions import has_object_permissions
from nateq_webhooks.database.keyset.time_limit import MAX_SECONDS, TookTooLongError, limited
from nateq_webhooks.models import Delivery


class ConfirmationPage(AdminPage):
    """A page that asks before it acts on a selection of deliveries."""

    permission: ClassVar[str]
    title: ClassVar[str | Promise]
    form_class: ClassVar[type[forms.Form]]
    "What the user chooses on the page beside the deliveries."

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Check the permissions before any method runs."""
        if not (request.user.has_perm(self.permission) and self.model_admin.has_view_permission(request)):
            raise PermissionDenied
        return super().dispatch(request, *args, **kwargs)

    @classmethod
    def for_action(
        cls, model_admin: "ModelAdmin[Delivery]", request: HttpRequest, queryset: QuerySet[Delivery]
    ) -> HttpResponse:
        """Ask about the rows that were selected in the list."""
        page = cls(model_admin=model_admin)
        page.setup(request)
        return page.confirm(lambda: from_action(request, queryset, page.selectable))

    def get(self, request: HttpRequest) -> HttpResponse:
        """Ask about the deliveries that the address names."""
        return self.confirm(lambda: select(SelectionForm(request.GET).selection, self.selectable))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        """Act on the deliveries that were confirmed, or show what is wrong with the form."""
        found = self._find(lambda: select(SelectionForm(request.POST).selection, self.selectable))
        if isinstance(found, HttpResponse):
            return found
        form = self.form_class(request.POST)
        return self.perform(found, form) if form.is_valid() else self.show_form(found, form)

    def show_form(self, selected: SelectedDeliveries, form: forms.Form) -> HttpResponse:
        """Show the question, with the errors of a form that was posted."""
        context = {"selected": selected, "hidden": selected.form_fields, **self.extra_context(selected)}
        return self._show(400 if form.errors else 200, form=form, **context)

    def extra_context(self, selected: SelectedDeliveries) -> dict[str, Any]:  # noqa: ARG002
        """Return what else the page's template shows."""
        return {}

    def perform(self, selected: SelectedDeliveries, form: Any) -> HttpResponseBase:
        """Do what was confirmed. `form` is valid."""
        raise NotImplementedError

    @functools.cached_property
    def selectable(self) -> SelectableDeliveries:
        """The deliveries that the user may select."""
        may_view = functools.partial(self.model_admin.has_view_permission, self.request)
        rows = self.model_admin.get_queryset(self.request)
        return SelectableDeliveries(rows, may_view if has_object_permissions(self.model_admin) else None)

    def confirm(self, find: Callable[[], SelectedDeliveries]) -> HttpResponse:
        """Ask about the deliveries that `find` returns."""
        found = self._find(find)
        return found if isinstance(found, HttpResponse) else self.show_form(found, self.form_class())

    def _find(self, find: Callable[[], SelectedDeliveries]) -> SelectedDeliveries | HttpResponse:
        """Return what `find` does, or a page that says what is wrong with the selection."""
        try:
            with limited(self.selectable.rows.db):
                return find()
        except ValidationError as error:
            return self._show(400, selection_errors=error.messages)
        except TookTooLongError:
            text = _("Counting these deliveries takes longer than %(seconds)d seconds. Choose fewer, by a filter.")
            return self._show(400, selection_errors=[text % {"seconds": MAX_SECONDS}])

    def _show(self, status: int, **context: Any) -> HttpResponse:
        media = self.model_admin.media
        return self.render(f"delivery/{self.name}", str(self.title), status=status, media=media, **context)
