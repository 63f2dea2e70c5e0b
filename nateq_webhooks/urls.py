"""`path("nateq/", include("nateq_webhooks.urls"))` gives `POST /nateq/<webhook uuid>/`."""

from django.urls import path

from nateq_webhooks import views

app_name = "nateq_webhooks"

urlpatterns = [path("<uuid:webhook_id>/", views.receive, name="receive")]
