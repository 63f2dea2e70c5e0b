"""URLs of an admin site whose deliveries can be replayed."""

from typing import Any

from django.contrib.admin import AdminSite
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin, RunAdmin, WebhookAdmin
from nateq_webhooks.admin.replay_jobs import ReplayActions, ReplayAdmin
from nateq_webhooks.models import Delivery, Replay, Run, Webhook

_bases: tuple[Any, ...] = (
    (DeliveryAdmin,) if issubclass(DeliveryAdmin, ReplayActions) else (ReplayActions, DeliveryAdmin)
)
site = AdminSite("admin")
site.register(Delivery, type("ReplayableAdmin", _bases, {}))
site.register(Run, RunAdmin)
site.register(Webhook, WebhookAdmin)
site.register(Replay, ReplayAdmin)

urlpatterns = [
    path("admin/", site.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
