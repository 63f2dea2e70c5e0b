"""Build the exceptions of the client: what failed, and what to do about it.

The API key has been removed from every argument before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from nateq_webhooks.client.calls import Call
from nateq_webhooks.client.limits import requested_wait
from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqConnectionError,
    NateqNotFoundError,
    NateqNotOfferedError,
    NateqPermissionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
    NateqUnexpectedAnswerError,
    NateqValidationError,
)
from nateq_webhooks.protocol.api import (
    KEYS_SCREEN,
    REQUEST_ID_HEADER,
    RETRY_AFTER_HEADER,
    SCOPE,
    STATUS_OF,
    WEBHOOKS_SCREEN,
    ErrorCode,
)

MAX_TEXT_CHARS: Final = 300
"""The longest text of the server that a message repeats."""

AMBIGUOUS_ADVICE: Final = "It may have happened nevertheless, so check before you try again."

ERROR_BY_STATUS: Final[dict[int, type[ApiError]]] = {
    400: NateqValidationError,
    401: NateqAuthenticationError,
    403: NateqPermissionError,
    404: NateqNotFoundError,
    405: NateqNotOfferedError,
    408: NateqTimeoutError,
    422: NateqValidationError,
    429: NateqRateLimitError,
}

ADVICE_BY_CODE: Final[dict[str, str]] = {
    ErrorCode.INSUFFICIENT_SCOPE: f"this key lacks the scope {SCOPE}; grant it under {KEYS_SCREEN}",
    ErrorCode.INSUFFICIENT_PERMISSION: "this key's role may not do this; have an administrator of the organization "
    f"make a key under {KEYS_SCREEN}",
    ErrorCode.IP_NOT_ALLOWED: f"this machine's IP address is not on the key's allow-list; add it under {KEYS_SCREEN}",
}

ADVICE_BY_ERROR: Final[dict[type[ApiError], str]] = {
    NateqAuthenticationError: "Nateq does not accept this API key (revoked, mistyped, or of another environment); "
    f"make a new one under {KEYS_SCREEN} and set NATEQ_API_KEY",
    NateqPermissionError: "this key does not have this permission; check its scopes and its allow-list "
    f"under {KEYS_SCREEN}",
    NateqNotFoundError: "this key sees no such webhook (deleted, or of another organization or environment), or "
    f"the call is not offered by this server; see the webhooks under {WEBHOOKS_SCREEN}",
    NateqRateLimitError: f"the key has no requests left this minute; its limit is shown under {KEYS_SCREEN}",
    NateqServerError: "the server failed",
    NateqTimeoutError: "the server waited too long",
    NateqValidationError: "the server did not accept the request",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportedError:
    """The error object of an API response; a field that is missing there is empty."""

    code: str | None
    message: str
    details: Any


def reports_error(document: Any) -> bool:
    """Return whether a document reports an error, whatever its HTTP status."""
    if not isinstance(document, Mapping):
        return False
    if document.get("success") is False:
        return True
    return bool(document.get("error")) and "data" not in document and "id" not in document


def reported_error(document: Any) -> ReportedError:
    """Parse the error of a document, in either of its shapes.

    The wrapper is `{"success": false, "error": {"code", "message", "details"}}`, the flat one
    `{"error": "text", "details": ...}` (Nateq: quickstart; its SDK).
    """
    if not isinstance(document, Mapping):
        return ReportedError(code=None, message="", details=None)
    error = document.get("error")
    source = error if isinstance(error, Mapping) else document
    code = source.get("code")
    message = error if isinstance(error, str) else source.get("message")
    return ReportedError(
        code=code if isinstance(code, str) and code else None,
        message=message if isinstance(message, str) else "",
        details=source.get("details"),
    )


def refusal(call: Call, *, status: int, headers: httpx.Headers, document: Any) -> ApiError:
    """Build the error of an answer that is not a success."""
    reported = reported_error(document)
    error_class = _class(call, status, reported.code)
    wait = requested_wait(headers.get(RETRY_AFTER_HEADER), reported.details)
    is_ambiguous = not call.is_read and issubclass(error_class, NateqServerError | NateqTimeoutError)
    sentences = [
        f"{call.purpose} was refused ({_label(status, reported.code)}): {_advice(call, error_class, reported)}.",
    ]
    if is_ambiguous:
        sentences.append(AMBIGUOUS_ADVICE)
    if wait is not None:
        sentences.append(f"The server asks the client to wait {wait:g} s.")
    if reported.message:
        sentences.append(f'Nateq says: "{_quotable(reported.message)}".')
    if reported.details and error_class is NateqValidationError:
        sentences.append(f"Details: {_quotable(str(reported.details))}.")
    request_id = headers.get(REQUEST_ID_HEADER)
    if request_id:
        sentences.append(f"Request id: {_quotable(request_id)}.")
    return error_class(
        " ".join(sentences),
        status=status,
        code=reported.code,
        details=reported.details,
        request_id=request_id,
        retry_after=wait,
        is_ambiguous=is_ambiguous,
    )


def no_response(
    call: Call, error_class: type[httpx.RequestError], *, reason: str, host: str, timeout: float
) -> ApiError:
    """Build the error of a request without a complete answer, from the class and message of httpx's error."""
    # Without a connection nothing can have been sent.
    unsent = issubclass(error_class, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.ProxyError)
    is_ambiguous = not call.is_read and not unsent
    advice = AMBIGUOUS_ADVICE if is_ambiguous else "Nothing was changed; try again later."
    if issubclass(error_class, httpx.TimeoutException):
        return NateqTimeoutError(
            f"{call.purpose} got no answer from {host} within {timeout:g} s. {advice}", is_ambiguous=is_ambiguous
        )
    return NateqConnectionError(
        f"{call.purpose} could not reach {host}: {_quotable(reason) or error_class.__name__}. "
        "Check the network, the proxy and NATEQ_BASE_URL. "
        f"{advice}",
        is_ambiguous=is_ambiguous,
    )


def unexpected(call: Call, *, status: int, headers: httpx.Headers, reason: str) -> NateqUnexpectedAnswerError:
    """Build the error of an answer that is not from the API."""
    request_id = headers.get(REQUEST_ID_HEADER)
    return NateqUnexpectedAnswerError(
        f"{call.purpose} got an answer that is not from the API (HTTP {status}): {reason}."
        + ("" if call.is_read else f" {AMBIGUOUS_ADVICE}"),
        status=status,
        request_id=request_id,
        is_ambiguous=not call.is_read,
    )


def redirected(call: Call, *, status: int, headers: httpx.Headers) -> NateqUnexpectedAnswerError:
    """Build the error of a redirect. None is followed: the key goes to the configured address only."""
    target = _quotable(headers.get("Location", "").partition("?")[0])
    reason = (
        f"it redirects to {target or 'nowhere'}, and the key is not sent there. "
        "If that is Nateq's address now, set NATEQ_BASE_URL to it"
    )
    return unexpected(call, status=status, headers=headers, reason=reason)


def not_offered(call: Call, cause: ApiError) -> NateqNotOfferedError:
    """Build the error of a call that returned 404 although the webhook exists: the server has no such call."""
    return NateqNotOfferedError(
        f"{call.purpose} is not offered by this server ({_label(cause.status, cause.code)}); "
        f"in the dashboard, {call.instead}.",
        status=cause.status,
        code=cause.code,
        details=cause.details,
        request_id=cause.request_id,
    )


def _class(call: Call, status: int, code: str | None) -> type[ApiError]:
    if status < 400 and code in list(ErrorCode):  # "success": false under a good status
        status = STATUS_OF[ErrorCode(code)]
    if code == ErrorCode.ENDPOINT_NOT_PUBLIC or (status == 404 and not call.webhook_id):
        return NateqNotOfferedError
    return ERROR_BY_STATUS.get(status, NateqServerError if status >= 500 else ApiError)


def _advice(call: Call, error_class: type[ApiError], reported: ReportedError) -> str:
    if error_class is NateqNotOfferedError:
        return f"this is not offered by this server (is NATEQ_BASE_URL right?); in the dashboard, {call.instead}"
    if reported.code in ADVICE_BY_CODE:
        return ADVICE_BY_CODE[reported.code]
    return ADVICE_BY_ERROR.get(error_class, "the server refused it")


def _label(status: int | None, code: str | None) -> str:
    return f"{status} {_quotable(code)}" if code else str(status)


def _quotable(text: str) -> str:
    """Return the server's text on one line, cut to `MAX_TEXT_CHARS`."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_TEXT_CHARS else line[:MAX_TEXT_CHARS] + "…"
