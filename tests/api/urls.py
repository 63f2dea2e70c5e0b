"""The URLs of a site with the API."""

from django.urls import include, path

from tests.urls import urlpatterns as without_api

urlpatterns = [*without_api, path("api/", include("nateq_webhooks.api.urls"))]
