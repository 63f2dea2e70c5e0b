"""`path("nateq/", include("nateq_webhooks.urls"))` gives `POST /nateq/<webhook uuid>/`.

The slash at the end may be missing: a redirect to the other spelling would lose the body, whoever left it out. The
digits of the UUID may be in either case.
"""

from django.urls import path, register_converter
from django.urls.converters import UUIDConverter

from nateq_webhooks import views

app_name = "nateq_webhooks"


class AnyCaseUUIDConverter(UUIDConverter):
    """A UUID as Django's `uuid` matches it, or with digits in upper case."""

    regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


register_converter(AnyCaseUUIDConverter, "nateq_webhooks_uuid")

urlpatterns = [
    path("<nateq_webhooks_uuid:webhook_id>/", views.receive, name="receive"),
    path("<nateq_webhooks_uuid:webhook_id>", views.receive),
]
