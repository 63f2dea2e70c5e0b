"""`/schema`: the OpenAPI document; `/docs`: the same as a page. Both say what to install if drf-spectacular is not."""

from importlib.util import find_spec
from typing import Any, Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
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
        """Remember the reader's language: answers are in English, but this one is for a person."""
        self.language = get_language() or self.language
        return super().dispatch(request, *args, **kwargs)

    def get(self, request: Any) -> HttpResponse:
        """Return it."""
        from nateq_webhooks.api.schema.page import render_page

        Parameters.read(request)
        address = request.build_absolute_uri(request.path.removesuffix("/docs"))
        return HttpResponse(render_page(address, self.language))
