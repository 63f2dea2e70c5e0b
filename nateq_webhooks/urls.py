"""`path("nateq/", include("nateq_webhooks.urls"))` gives `POST /nateq/<webhook uuid>/`.

The slash at the end may be missing: a redirect to the other spelling would lose the body, whoever left it out.
"""

from django.urls import path

from nateq_webhooks import views

app_name = "nateq_webhooks"

urlpatterns = [
    path("<uuid:webhook_id>/", views.receive, name="receive"),
    path("<uuid:webhook_id>", views.receive),
]
