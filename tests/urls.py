"""The URLs that the tests use."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
