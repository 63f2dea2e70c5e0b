"""URLs of an admin site on which a project hides rows, as it may: each user sees the rows of one organization only."""

from typing import Any

from django.contrib import admin
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin, RejectionAdmin, ReplayAdmin, RunAdmin, WebhookAdmin
from nateq_webhooks.models import Delivery, Rejection, Replay, Run, Webhook

MINE = "org_mine"


class MyDeliveries(DeliveryAdmin):
    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(organization_id=MINE)


class MyWebhooks(WebhookAdmin):
    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(organization_id=MINE)


class MyRuns(RunAdmin):
    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(delivery__organization_id=MINE)


class MyRejections(RejectionAdmin):
    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(webhook__organization_id=MINE)


class MyReplays(ReplayAdmin):
    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).filter(by="mine")


class JudgedDeliveries(DeliveryAdmin):
    """Lists all, but lets nobody view those of others."""

    def has_view_permission(self, request: Any, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) and (obj is None or obj.organization_id == MINE)


tenants = admin.AdminSite("tenants")
for model, model_admin in [
    (Delivery, MyDeliveries),
    (Webhook, MyWebhooks),
    (Run, MyRuns),
    (Rejection, MyRejections),
    (Replay, MyReplays),
]:
    tenants.register(model, model_admin)  # type: ignore[arg-type]

deliveries_only = admin.AdminSite("deliveries_only")
deliveries_only.register(Delivery, MyDeliveries)

judged = admin.AdminSite("judged")
judged.register(Delivery, JudgedDeliveries)

urlpatterns = [
    path("tenants/", tenants.urls),
    path("deliveries-only/", deliveries_only.urls),
    path("judged/", judged.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
