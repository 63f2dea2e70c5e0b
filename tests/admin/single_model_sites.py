"""URLs of admin sites, each of which knows one of the package's models only."""

from django.contrib.admin import AdminSite
from django.urls import include, path

from nateq_webhooks.admin import DeliveryAdmin, RejectionAdmin, WebhookAdmin
from nateq_webhooks.models import Delivery, Rejection, Webhook

deliveries = AdminSite("deliveries")
deliveries.register(Delivery, DeliveryAdmin)
webhooks = AdminSite("webhooks")
webhooks.register(Webhook, WebhookAdmin)
refused = AdminSite("refused")
refused.register(Rejection, RejectionAdmin)

urlpatterns = [
    path("deliveries/", deliveries.urls),
    path("webhooks/", webhooks.urls),
    path("refused/", refused.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
