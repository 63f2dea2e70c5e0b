"""Who may use the screen and the API, and the headers that every answer has."""

from collections.abc import Callable
from typing import Final

from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse, JsonResponse, UnreadablePostError

from nateq_webhooks.protocol.api import API_PATH, REQUEST_ID_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import RequestError, new_request_id
from nateq_webhooks.sandbox.control import CONTROL_PATH
from nateq_webhooks.sandbox.site.server import lose_answer

Respond = Callable[[HttpRequest], HttpResponse]

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Server": "nateq-sandbox",
}
"""What Django's own middleware does not set."""


class SecurityHeaders:
    """Sets headers of every answer."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Respond."""
        response = self._respond(request)
        for name, value in _HEADERS.items():
            response.setdefault(name, value)
        return response


class CompleteBodies:
    """Closes the connection of a client that left before its request was complete, which might make sense as it is."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Respond."""
        try:
            is_complete = len(request.body) >= int(request.META.get("CONTENT_LENGTH") or 0)
        except UnreadablePostError:
            is_complete = False
        if is_complete:
            return self._respond(request)
        lose_answer(request)
        return HttpResponse(status=400)


class OwnPagesOnly:
    """Refuses requests for another host name and those that a page of another site sent."""

    def __init__(self, respond: Respond) -> None:
        self._respond = respond

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Respond, or refuse."""
        if request.path == CONTROL_PATH:  # has a token; the other process may know this machine by any name
            return self._respond(request)
        try:
            # Another site's name can resolve to this machine (DNS rebinding); its pages would have the same origin.
            request.get_host()
        except DisallowedHost:
            return _refused(request, 421, "This host name is not the sandbox's. Use the address that it printed.")
        if (_is_api(request) or request.method == "POST") and not _is_same_origin(request):
            return _refused(request, 403, "A page of another site sent this request. Nothing was done.")
        return self._respond(request)


def _is_api(request: HttpRequest) -> bool:
    return request.path == API_PATH or request.path.startswith(f"{API_PATH}/")


def _is_same_origin(request: HttpRequest) -> bool:
    """Return whether a request was sent by the sandbox's own page, or not by a browser."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    return site in (None, "same-origin") and origin in (None, f"http://{request.headers.get('Host', '')}")


def _refused(request: HttpRequest, status: int, message: str) -> HttpResponse:
    if _is_api(request):
        error = RequestError(ErrorCode.INSUFFICIENT_PERMISSION, message, status=status)
        return JsonResponse(error.as_json(), status=status, headers={REQUEST_ID_HEADER: new_request_id()})
    from nateq_webhooks.sandbox.site.screen import error_page

    return error_page(request, status, "This request is not answered", message)
