"""What comes and goes is JSON, whatever `Accept` and `?format=` say (Nateq: quickstart)."""

from collections.abc import Sequence
from typing import Any

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from nateq_webhooks.protocol.api import ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError
from nateq_webhooks.protocol.documents import load_object


class JsonRenderer(JSONRenderer):
    """Strict JSON in ASCII."""

    strict = True
    ensure_ascii = True
    compact = True


class JsonParser(BaseParser):
    """A JSON object; anything else is a 400 that says what is wrong."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, Any]:  # noqa: ARG002
        """Return the document of a body; an empty body is an empty document."""
        body = stream.read()
        if not body.strip():
            return {}
        try:
            return load_object(body)
        except ValueError as error:
            message = f"The body can't be read: {error}"
            raise RequestError(ErrorCode.VALIDATION_ERROR, message, status=400) from error


class AlwaysJson(BaseContentNegotiation):
    """Chooses the only parser and the only renderer."""

    def select_parser(self, request: Any, parsers: Sequence[Any]) -> Any:  # noqa: ARG002 - of the framework
        """Return the parser."""
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Sequence[Any], format_suffix: Any = None) -> Any:  # noqa: ARG002
        """Return the renderer."""
        return renderers[0], renderers[0].media_type
