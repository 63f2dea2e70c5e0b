"""The dashboard's entry on the admin's home: a link to the app's index, where the dashboard is."""
# ruff: noqa: ARG002 - the signatures are Django's

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from nateq_webhooks.admin.generics import ModelAdmin
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import Delivery, Rejection, Run
from nateq_webhooks.models.dashboard import Dashboard


@admin.register(Dashboard)
class DashboardAdmin(ModelAdmin[Dashboard]):
    """An entry without rows, for users who may see anything that the dashboard reports."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Return whether the entry is shown."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Return whether the user may see deliveries, runs or refused requests."""
        permitted = PermittedRows(self.admin_site, request)
        return any(map(permitted.may_view, (Delivery, Run, Rejection)))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False: there is nothing to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Return False: there is nothing to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Dashboard | None = None) -> bool:
        """Return False: there is nothing to delete."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return the URL of the entry alone."""
        name = f"{self.opts.app_label}_{self.opts.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Lead to the dashboard. Raises `PermissionDenied` for users who may not see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        url = reverse("admin:app_list", args=[self.opts.app_label], current_app=self.admin_site.name)
        return HttpResponseRedirect(url)
