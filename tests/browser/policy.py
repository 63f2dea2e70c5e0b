"""A strict Content-Security-Policy on every page, as a careful site sets it."""

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponseBase

STRICT: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # Django's own style sheets have images in them
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class StrictPolicy:
    """Middleware that sets the policy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response["Content-Security-Policy"] = STRICT
        return response
