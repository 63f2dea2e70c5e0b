"""The URLs of a site with the API and without the admin."""

from django.urls import include, path

urlpatterns = [path("api/", include("nateq_webhooks.api.urls"))]
