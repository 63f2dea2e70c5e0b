"""The settings screen at `/`: its routes, the checks of requests, and the security headers."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from nateq_webhooks.sandbox.exchange import Request, Response
from nateq_webhooks.sandbox.flash_messages import FlashMessage, FlashMessages
from nateq_webhooks.sandbox.origin import is_allowed_host, is_same_origin
from nateq_webhooks.sandbox.pages import NotFound, Pages, Redirect, ScreenPage
from nateq_webhooks.sandbox.rendering import STATIC, Templates, static
from nateq_webhooks.sandbox.resources import Resources
from nateq_webhooks.sandbox.sandbox_errors import InvalidError

_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that, browsers send `Origin: null` along with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_HTML: Final = "text/html; charset=utf-8"

View = Callable[..., ScreenPage | Redirect]


class Screen:
    """Responds to everything outside the API. `hosts` are the accepted host names, empty for any."""

    def __init__(self, resources: Resources, shared_context: Mapping[str, Any], hosts: frozenset[str]) -> None:
        self._templates = Templates(shared_context)
        self._messages = FlashMessages()
        self._hosts = hosts
        pages = Pages(resources)
        self._routes: tuple[tuple[str, re.Pattern[str], View], ...] = (
            ("GET", re.compile(r"/"), pages.webhooks),
            ("GET", re.compile(r"/webhooks/new"), pages.new),
            ("POST", re.compile(r"/webhooks/new"), pages.create),
            ("GET", re.compile(r"/webhooks/(\w+)"), pages.webhook),
            ("GET", re.compile(r"/webhooks/(\w+)/edit"), pages.edit),
            ("POST", re.compile(r"/webhooks/(\w+)/edit"), pages.update),
            ("POST", re.compile(r"/webhooks/(\w+)/rotate-secret"), pages.rotate_secret),
            ("POST", re.compile(r"/webhooks/(\w+)/delete"), pages.delete),
            ("GET", re.compile(r"/webhooks/(\w+)/send"), pages.compose),
            ("POST", re.compile(r"/webhooks/(\w+)/send"), pages.send),
            ("GET", re.compile(r"/deliveries/([0-9]{1,15})"), pages.delivery),
            ("POST", re.compile(r"/deliveries/([0-9]{1,15})/resend"), pages.resend),
            ("GET", re.compile(r"/faults"), pages.faults),
            ("POST", re.compile(r"/faults"), pages.set_faults),
        )

    def respond(self, request: Request) -> Response:
        """Respond to a request for a page, a posted form or a file."""
        if not is_allowed_host(request, self._hosts):
            return self._error(421, "This address is not the sandbox's", "Open it by the address it printed.")
        if request.path.startswith("/static/"):
            return self._file(request.path.removeprefix("/static/"))
        method = "GET" if request.method == "HEAD" else request.method
        routes = [(route, found) for route in self._routes if (found := route[1].fullmatch(request.path))]
        if not routes:
            return self._error(404, "There is no such page", f"{request.path[:200]} is not a page of this screen.")
        for (allowed, _, view), found in routes:
            if allowed == method:
                return self._view(request, view, found.groups())
        return self._error(405, "That can't be done here", f"{request.method[:20]} is not a method of this page.")

    def _view(self, request: Request, view: View, arguments: tuple[str, ...]) -> Response:
        if request.method == "POST" and not is_same_origin(request):
            return self._error(403, "This form came from another site", "Nothing was changed.")
        try:
            result = view(request, *arguments)
        except NotFound as error:
            return self._error(404, "It is not there", str(error))
        except InvalidError as error:
            return self._error(422, "That can't be done", str(error))
        if isinstance(result, Redirect):
            token = self._messages.add(FlashMessage(text=result.text, secret=result.secret))
            return Response(status=303, headers=_HEADERS | {"Location": f"{result.location}?message={token}"})
        message = self._messages.pop(request.query.get("message", ""))
        return self._page(result, message)

    def _page(self, page: ScreenPage, message: FlashMessage | None = None) -> Response:
        body = self._templates.render(page.template, {**page.values, "message": message})
        return Response(status=page.status, body=body, content_type=_HTML, headers=_HEADERS)

    def _error(self, status: int, title: str, text: str) -> Response:
        return self._page(ScreenPage("error", {"title": title, "text": text, "here": ""}, status=status))

    def _file(self, name: str) -> Response:
        body = static(name)
        if body is None:
            return self._error(404, "There is no such file", "It may belong to another version of the sandbox.")
        return Response(
            status=200,
            body=body,
            content_type=STATIC[name],
            headers=_HEADERS | {"Cache-Control": "no-cache"},
        )
