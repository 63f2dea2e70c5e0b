"""URLs of an admin site that knows of refused requests only."""

from django.contrib.admin import AdminSite
from django.urls import include, path

from nateq_webhooks.admin import RejectionAdmin
from nateq_webhooks.models import Rejection

refused = AdminSite("refused")
refused.register(Rejection, RejectionAdmin)

urlpatterns = [path("refused/", refused.urls), path("nateq/", include("nateq_webhooks.urls"))]
