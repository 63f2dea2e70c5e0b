"""The base of every view: who asks, how often, what for, and each answer in Nateq's envelope with its headers."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.http import Http404, UnreadablePostError
from django.utils.log import log_response
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import APIView, set_rollback

from nateq_webhooks.protocol.api import REQUEST_ID_HEADER, ErrorCode
from nateq_webhooks.protocol.api_answers import Quota, RequestError, new_request_id, shown, success, too_many
from nateq_webhooks.rest.json_format import AlwaysJson, JsonParser, JsonRenderer


class ContractView(APIView):
    """A view of an API in Nateq's contract. A subclass says who the caller is, what it has left, and what it may do.

    The order is Nateq's: the key, the rate limit, the scope, then the operation.
    """

    authentication_classes: ClassVar[Any] = ()
    permission_classes: ClassVar[Any] = ()
    throttle_classes: ClassVar[Any] = ()
    versioning_class = None
    schema = None
    "The schema that a site makes of its own API leaves it out: it knows nothing of the parameters and the envelope."
    metadata_class = None
    renderer_classes = (JsonRenderer,)
    parser_classes = (JsonParser,)
    content_negotiation_class = AlwaysJson
    http_method_names = ["get", "head", "post", "patch", "delete"]

    caller: Any = None
    "Who asks; set by `identify`."

    def identify(self, request: Any) -> Any:
        """Return the caller. Raises `RequestError` if the request does not say who it is."""
        raise NotImplementedError

    def count(self) -> Quota:
        """Count the request, and return what the caller has left."""
        raise NotImplementedError

    def authorize(self, request: Any) -> None:
        """Raise `RequestError` if the caller may not do this."""
        raise NotImplementedError

    def check_method(self, request: Any) -> None:
        """Raise the error for a method that the address does not have."""
        if request.method not in self.allowed_methods:
            raise exceptions.MethodNotAllowed(request.method)

    def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - of the framework
        """Check the request before its handler runs."""
        self.format_kwarg = None
        request.accepted_renderer, request.accepted_media_type = self.perform_content_negotiation(request)
        if request.method not in ("GET", "HEAD"):
            _load_body(request._request)  # noqa: SLF001 - before anything parses it as a form
        self.caller = self.identify(request)
        quota = self.count()
        self.headers |= quota.headers
        if quota.retry_after is not None:
            raise too_many(quota)
        self.check_method(request)
        self.authorize(request)

    def get_exception_handler(self) -> Callable[[Exception, Any], Response]:
        """Return the handler of every exception."""
        return self._error

    @property
    def default_response_headers(self) -> dict[str, str]:
        """The headers of every answer, errors included."""
        return {REQUEST_ID_HEADER: new_request_id(), "Cache-Control": "no-store"}

    def answer(self, data: Any, meta: Mapping[str, Any] | None = None, status: int = 200) -> Response:
        """Return an answer that succeeded."""
        return Response(success(data, meta), status=status)

    def _error(self, error: Exception, context: Any) -> Response:
        set_rollback()
        problem = self._problem(error, context["request"])
        if problem is not None:
            return Response(problem.as_json(), status=problem.status, headers=problem.headers)
        problem = RequestError(ErrorCode.INTERNAL_ERROR, "Something went wrong")
        response = Response(problem.as_json(), status=problem.status)
        _report(error, context["request"]._request, response)  # noqa: SLF001 - the framework has no public name
        return response

    def _problem(self, error: Exception, request: Any) -> RequestError | None:
        """Return the error of the contract for an exception; None for an unexpected one."""
        match error:
            case RequestError():
                if error.status == 401:
                    error.headers.setdefault("WWW-Authenticate", "Bearer")
                return error
            case Http404() | exceptions.NotFound():
                return RequestError(ErrorCode.NOT_FOUND, f"There is nothing at {shown(request.path)}")
            case exceptions.MethodNotAllowed():
                message = f"{shown(str(request.method))} is not possible here"
                allowed = {"Allow": ", ".join(self.allowed_methods)}
                return RequestError(ErrorCode.METHOD_NOT_ALLOWED, message, headers=allowed)
            case PermissionDenied() | exceptions.PermissionDenied():
                return RequestError(ErrorCode.INSUFFICIENT_PERMISSION, str(error) or "This is not permitted")
            case SuspiciousOperation() | BadRequest() | exceptions.ParseError():
                return RequestError(ErrorCode.VALIDATION_ERROR, "The request can't be read", status=400)
        return None


def _load_body(request: Any) -> None:
    """Read the body, so that whatever parses it later finds it. Raises `RequestError` for one that can't be read."""
    try:
        request.body  # noqa: B018 - Django keeps what it reads
    except RequestDataTooBig:
        raise RequestError(ErrorCode.VALIDATION_ERROR, "The body is too large", status=413) from None
    except UnreadablePostError:
        raise RequestError(ErrorCode.VALIDATION_ERROR, "The body is not complete", status=400) from None


def _report(error: Exception, request: Any, response: Response) -> None:
    """Log an unexpected error and send Django's signal, as Django does for a view that raises it."""
    got_request_exception.send(sender=None, request=request)
    log_response("%s: %s", response.reason_phrase, request.path, response=response, request=request, exception=error)
