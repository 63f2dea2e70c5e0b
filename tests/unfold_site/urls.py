"""URLs of that site."""

from django.contrib import admin
from django.urls import include, path

from nateq_webhooks import signals


def tell_crm(**_: object) -> None:
    """A receiver, so that there is one to run again."""


signals.event_received.connect(tell_crm, dispatch_uid="shop.tell_crm")

urlpatterns = [path("admin/", admin.site.urls), path("nateq/", include("nateq_webhooks.urls"))]
