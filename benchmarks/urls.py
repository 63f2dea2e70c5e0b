"""The URLs of the benchmarks."""

from django.urls import include, path

urlpatterns = [path("nateq/", include("nateq_webhooks.urls"))]
