"""Reading a request's body: whole, exactly once, and never more of it than is allowed.

Django's `request.body` alone is not enough: it is empty for a chunked request under WSGI, it loads any size under
ASGI, and it has a limit of its own that has nothing to do with ours.
"""

from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, UnreadablePostError

from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.protocol.content_length import ContentLengthError, content_length

_CHUNK = 64 * 1024


class BodyTooLargeError(NateqWebhooksError):
    """The body is larger than allowed; no more than that was read."""


class BodyWithoutLengthError(NateqWebhooksError):
    """The end of the body is unknown: Content-Length is no number, or a chunked body comes without an end.

    The server says that it knows the end of a chunked body with `wsgi.input_terminated`.
    """


class BodyMalformedError(NateqWebhooksError):
    """The server can't read the body: what the sender sent is not HTTP, such as a chunk without a size."""


class BodyLostError(NateqWebhooksError):
    """The body, or a part of it, is not there any more: the delivery can't be verified."""


def read_body(request: HttpRequest, limit: int) -> bytes:
    """Return the exact bytes of the body, at most `limit` of them, and leave them readable to others.

    Raises `BodyTooLargeError`, `BodyWithoutLengthError`, `BodyMalformedError` or `BodyLostError`.
    """
    try:
        declared = content_length(request.META.get("CONTENT_LENGTH"))
    except ContentLengthError as error:
        raise BodyWithoutLengthError(str(error)) from error
    if declared is not None and declared > limit:
        raise BodyTooLargeError(f"The body has {declared} bytes, more than {limit}.")
    try:
        if declared is None and isinstance(request, WSGIRequest):
            body = _read_unbounded(request.environ, limit)
        else:
            body = _read_buffered(request, limit)
    except UnreadablePostError as error:
        raise BodyLostError("The sender closed the connection before the body was complete.") from error
    except NateqWebhooksError:
        raise
    except Exception as error:  # each server has exception classes of its own for a body that is not HTTP
        raise BodyMalformedError(f"The server can't read the body: {type(error).__name__}.") from error
    if len(body) > limit:
        raise BodyTooLargeError(f"The body has more than {limit} bytes.")
    if declared is not None and len(body) < declared:
        raise BodyLostError(
            f"Only {len(body)} of {declared} bytes of the body are there: the sender closed the connection, or a "
            "middleware or the server read the stream before the view."
        )
    # Django's own place for a body that has been read: whatever reads request.body after us finds it.
    request._body = body  # noqa: SLF001
    return body


def _read_buffered(request: HttpRequest, limit: int) -> bytes:
    """Read from Django's stream, which ends where the body ends."""
    if hasattr(request, "_body"):
        return request.body
    if request._read_started:  # type: ignore[attr-defined]  # noqa: SLF001 - Django has no public word for it
        raise BodyLostError(
            "A middleware (or code before the view) has read the request's stream, for instance with request.read() "
            "or by parsing a form: the exact bytes are gone. Let it use request.body instead."
        )
    return request.read(limit + 1)


def _read_unbounded(environ: dict[str, Any], limit: int) -> bytes:
    """Read a body without a Content-Length from the server's stream, if the server says where that ends."""
    if not environ.get("wsgi.input_terminated"):
        if environ.get("HTTP_TRANSFER_ENCODING"):
            raise BodyWithoutLengthError("The body is chunked, and this server does not say where it ends.")
        return b""
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := _read_part(environ["wsgi.input"], min(left, _CHUNK))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_part(stream: Any, size: int) -> bytes:
    try:
        part: bytes = stream.read(size)
    except OSError as error:
        raise UnreadablePostError(*error.args) from error
    return part
