"""The URLs of the benchmarks: the package's, and the floors."""

from django.urls import include, path

from benchmarks import views

urlpatterns = [
    path("nateq/", include("nateq_webhooks.urls")),
    path("bare/", views.bare),
    path("bare-inline/", views.bare_inline),
    path("bare-prepared/", views.bare_prepared),
    path("bare-inline-prepared/", views.bare_inline_prepared),
    path("bare-row/<uuid:webhook_id>/", views.bare_row),
    path("bare-row-inline/<uuid:webhook_id>/", views.bare_row_inline),
]
