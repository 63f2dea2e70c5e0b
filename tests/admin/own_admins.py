"""URLs of admin sites with admins as a project may write them: the package's, with more to them."""

from typing import Any, ClassVar

from django.contrib import admin
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin, RunAdmin
from nateq_webhooks.models import Delivery, Run


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


class WideAdmin(DeliveryAdmin):
    """With columns of what the list leaves out."""

    list_display: Any = (*DeliveryAdmin.list_display, "subject", "agent", "length", "events")

    def subject(self, delivery: Delivery) -> str:
        return f"{(delivery.payload or {})['data']['subject']} by payload"

    def agent(self, delivery: Delivery) -> str:
        return f"{delivery.headers['User-Agent']} by headers"

    def length(self, delivery: Delivery) -> str:
        return f"{len(delivery.body)} bytes"

    def events(self, delivery: Delivery) -> str:
        return f"{delivery.webhook.events} of the webhook"


class WideRunAdmin(RunAdmin):
    """With columns of what the list leaves out, of the run and of its delivery."""

    list_display: Any = (*RunAdmin.list_display, "why", "subject")

    list_select_related: ClassVar[Any] = ("delivery__webhook",)

    def why(self, run: Run) -> str:
        return f"{run.error} as error of {run.delivery.webhook.name}"

    def subject(self, run: Run) -> str:
        return f"{(run.delivery.payload or {})['data']['subject']} by payload"


acting = admin.AdminSite("acting")
acting.register(Delivery, ActingAdmin)
filtering = admin.AdminSite("filtering")
filtering.register(Delivery, FilteringAdmin)

wide = admin.AdminSite("wide")
wide.register(Delivery, WideAdmin)
wide.register(Run, WideRunAdmin)

urlpatterns = [
    path("wide/", wide.urls),
    path("acting/", acting.urls),
    path("filtering/", filtering.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
