"""`/schema`: the OpenAPI document; `/docs`: the same as a page. Both say what to install if drf-spectacular is not."""

from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, reverse
from django.utils.translation import get_language

from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView
from nateq_webhooks.api.schema.formats import MEDIA_TYPES, SchemaParameters
from nateq_webhooks.protocol.api import ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError
from nateq_webhooks.rest.parameters import Parameters

_PACKAGE: Final = "drf_spectacular"


class DescriptionView(ApiView):
    """What the views of the description have in common: every caller may read it, whatever it may do otherwise."""

    access = {"GET": access.DESCRIPTION}

    def authorize(self, request: Any) -> None:  # noqa: ARG002
        """Let every caller in. Raises `RequestError` (404) if the extra is not installed."""
        if find_spec(_PACKAGE) is None:
            message = "There is no description: it needs the extra openapi. pip install 'nateq-webhooks[openapi]'"
            raise RequestError(ErrorCode.NOT_FOUND, message)


class SchemaView(DescriptionView):
    """The OpenAPI document."""

    def get(self, request: Any) -> HttpResponse:
        """Return it as JSON or YAML."""
        from nateq_webhooks.api.schema.generator import rendered

        form = SchemaParameters.read(request)["format"]
        return HttpResponse(rendered(request.path.removesuffix("/schema"), form), content_type=MEDIA_TYPES[form])


class DocsView(DescriptionView):
    """The page."""

    language = "en"

    def dispatch(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Remember the reader's language: answers are in English, but this one is for a person. Let them log in."""
        self.language = get_language() or self.language
        login = _login_url() if _is_stranger_with_browser(request) else None
        if login is not None:
            came_for = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()}, safe="/")
            return HttpResponseRedirect(f"{login}?{came_for}")
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: Any) -> HttpResponse:
        """Return it."""
        from nateq_webhooks.api.schema.page import render_page

        Parameters.read(request)
        address = request.build_absolute_uri(request.path.removesuffix("/docs"))
        return HttpResponse(render_page(address, self.language))


def _is_stranger_with_browser(request: HttpRequest) -> bool:
    """Return whether a browser asks that sends neither a key nor a session."""
    user = getattr(request, "user", None)
    asks_for_page = request.method in ("GET", "HEAD") and "text/html" in request.headers.get("Accept", "")
    return asks_for_page and "Authorization" not in request.headers and not (user and user.is_authenticated)


def _login_url() -> str | None:
    """Return the admin's login page; None if the site's URLs have no admin of the usual name."""
    try:
        return reverse("admin:login")
    except NoReverseMatch:
        return None
