"""URLs of admin sites with admins as a project may write them: the package's, with more to them."""

from typing import Any, ClassVar

from django.contrib import admin
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin
from nateq_webhooks.models import Delivery


class ActingAdmin(DeliveryAdmin):
    """With an action that remembers what it got."""

    actions = ["remember"]
    list_per_page = 5
    seen: ClassVar[list[int]] = []

    def remember(self, request: Any, queryset: Any) -> None:
        self.seen[:] = sorted(queryset.values_list("pk", flat=True))


class FilteringAdmin(DeliveryAdmin):
    """With one more filter."""

    list_filter = ("version", *DeliveryAdmin.list_filter)
    list_parameters = DeliveryAdmin.list_parameters | {"version"}


acting = admin.AdminSite("acting")
acting.register(Delivery, ActingAdmin)
filtering = admin.AdminSite("filtering")
filtering.register(Delivery, FilteringAdmin)

urlpatterns = [
    path("acting/", acting.urls),
    path("filtering/", filtering.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
