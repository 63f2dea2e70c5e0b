"""Answers of Nateq's API: the envelope, the error in it, and the headers of a rate limit (Nateq: quickstart).

Pure values, for every server that answers in this form and for its tests.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.protocol.api import (
    LIMIT_HEADER,
    REMAINING_HEADER,
    RETRY_AFTER_HEADER,
    STATUS_OF,
    ErrorCode,
    is_api_key,
)

WINDOW_SECONDS: Final = 60
"""The window of a rate limit (Nateq: rate limits)."""

MAX_SHOWN: Final = 80
"""Characters of a request's own text that an error repeats."""


class RequestError(Exception):
    """Ends a request with an error of the API. `details` is JSON; the status follows from the code."""

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        details: Any = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details
        self.status = status or STATUS_OF[code]
        self.headers = dict(headers or {})

    def as_json(self) -> dict[str, Any]:
        """Return the whole document."""
        error: dict[str, Any] = {"code": self.code.value, "message": self.message}
        return {"success": False, "error": error if self.details is None else error | {"details": self.details}}


def success(data: Any, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the document of an answer that succeeded; `meta` is about a list."""
    document = {"success": True, "data": data}
    return document if meta is None else document | {"meta": dict(meta)}


def invalid(problems: Mapping[str, str], what: str = "parameters") -> RequestError:
    """Return the error for parameters (or fields) that are not valid: what is wrong with each, by its name."""
    return RequestError(ErrorCode.VALIDATION_ERROR, f"Some {what} are not valid", dict(problems))


def no_such(what: str, name: object) -> RequestError:
    """Return the error for something that is not there, or that the caller does not see."""
    return RequestError(ErrorCode.NOT_FOUND, f"There is no {what} {shown(str(name))}")


def whole_number(text: str, least: int, most: int) -> int:
    """Return a number in decimal digits. Raises `ValueError` with what it must be."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(most)) and least <= int(text) <= most:
        return int(text)
    raise ValueError(f"must be a whole number from {least} to {most}.")


def bearer_key(header: str) -> str:
    """Return the key in an `Authorization` header. Raises `RequestError` in Nateq's order (Nateq: authentication)."""
    if not header:
        raise RequestError(ErrorCode.MISSING_API_KEY, "Send your API key: Authorization: Bearer <key>")
    scheme, _, text = header.partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or " " in text:
        raise RequestError(ErrorCode.INVALID_AUTH_FORMAT, "The header must read: Authorization: Bearer <key>")
    if not is_api_key(text):
        raise RequestError(ErrorCode.INVALID_API_KEY_FORMAT, "This has not the form of an API key")
    return text


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """What a key has left after a request. `retry_after` is in seconds, None for a request within the limit."""

    limit: int
    remaining: int
    retry_after: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every answer to a key."""
        return {LIMIT_HEADER: str(self.limit), REMAINING_HEADER: str(self.remaining)}


def too_many(quota: Quota) -> RequestError:
    """Return the error for a request over the limit."""
    wait = 1 if quota.retry_after is None else quota.retry_after
    details = {
        "limit": quota.limit,
        "window": f"{WINDOW_SECONDS // 60} minute",
        "retry_after_seconds": wait,
    }
    return RequestError(
        ErrorCode.RATE_LIMIT_EXCEEDED,
        f"More than {quota.limit} requests in a minute",
        details,
        headers={RETRY_AFTER_HEADER: str(wait)},
    )


def new_request_id() -> str:
    """Return an id for an answer, which a person can quote."""
    return f"req_{secrets.token_hex(12)}"


def shown(text: str) -> str:
    """Return a request's own text as an error repeats it: cut, on one line."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text[:MAX_SHOWN])
