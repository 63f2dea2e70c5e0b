"""The URLs of processes that only receive and run."""

from django.urls import include, path

urlpatterns = [path("nateq/", include("nateq_webhooks.urls"))]
