"""The board, the admin, the receiver view that Nateq posts to, and the API."""

from django.contrib import admin
from django.urls import include, path

from example_project.board.views import board

urlpatterns = [
    path("", board, name="board"),
    path("admin/", admin.site.urls),
    path("nateq/", include("nateq_webhooks.urls")),
    path("api/", include("nateq_webhooks.api.urls")),
]
