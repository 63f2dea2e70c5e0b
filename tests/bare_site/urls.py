"""URLs of that site, with the admin's where it is installed."""

from django.apps import apps
from django.urls import include, path

urlpatterns = [path("nateq/", include("nateq_webhooks.urls"))]
if apps.is_installed("django.contrib.admin"):
    from django.contrib import admin

    urlpatterns += [path("admin/", admin.site.urls)]
