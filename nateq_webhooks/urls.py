"""`path("nateq/", include("nateq_webhooks.urls"))` gives `POST /nateq/<webhook uuid>/`.

The slash at the end may be missing: a redirect to the other spelling would lose the body, whoever left it out. The
digits of the UUID may be in either case.
"""

from django.urls import path, register_converter
from django.urls.converters import StringConverter, UUIDConverter

from nateq_webhooks import views

app_name = "nateq_webhooks"


class AnyCaseUUIDConverter(UUIDConverter):
    """A UUID as Django's `uuid` matches it, or with digits in upper case."""

    regex = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"


class MangledUUIDConverter(StringConverter):
    """What was probably a UUID before it was cut, or pasted together with something: hexadecimal digits and dashes.

    Its requests are refused as those to an unknown id are, and leave the same trace. Strict enough to take no address
    from a site that has URLs of its own under the same prefix.
    """

    regex = r"(?=[0-9a-fA-F-]{24,64}/?\Z)[0-9a-fA-F]+(?:-[0-9a-fA-F]+){3,6}"


register_converter(AnyCaseUUIDConverter, "nateq_webhooks_uuid")
register_converter(MangledUUIDConverter, "nateq_webhooks_mangled_uuid")

urlpatterns = [
    path("<nateq_webhooks_uuid:webhook_id>/", views.receive, name="receive"),
    path("<nateq_webhooks_uuid:webhook_id>", views.receive),
    path("<nateq_webhooks_mangled_uuid:mangled_id>/", views.refuse_mangled),
    path("<nateq_webhooks_mangled_uuid:mangled_id>", views.refuse_mangled),
]
