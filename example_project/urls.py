"""The board, the admin, and the receiver view that Nateq posts to."""

from django.contrib import admin
from django.urls import include, path

from example_project.board.views import board

urlpatterns = [
    path("", board, name="board"),
    path("admin/", admin.site.urls),
    path("nateq/", include("nateq_webhooks.urls")),
]
