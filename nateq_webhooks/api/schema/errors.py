"""The errors that an operation may answer, each with an example that is made as the error itself is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nateq_webhooks.api.base import SettingsWrongError
from nateq_webhooks.protocol.api import (
    IDEMPOTENCY_KEY_HEADER,
    LIMIT_PER_MINUTE,
    LIVE_KEY_PREFIX,
    RETRY_AFTER_HEADER,
    ErrorCode,
    Scope,
)
from nateq_webhooks.protocol.api_answers import Quota, RequestError, invalid, too_many


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorAnswer:
    """The answers of one HTTP status."""

    name: str
    "Of the component."
    description: str
    examples: Mapping[str, RequestError]
    "The body follows from each."
    headers: tuple[str, ...] = field(default=())
    "Names of headers that only these answers have."

    def bodies(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the document of each example."""
        for name, error in self.examples.items():
            yield name, error.as_json()


def _error(code: ErrorCode, message: str, details: Any = None, status: int | None = None) -> RequestError:
    return RequestError(code, message, details, status=status)


ERRORS: Final[Mapping[int, ErrorAnswer]] = {
    400: ErrorAnswer(
        name="BadRequest",
        description="The request can't be read.",
        examples={"unreadable": _error(ErrorCode.VALIDATION_ERROR, "The request can't be read", status=400)},
    ),
    401: ErrorAnswer(
        name="Unauthorized",
        description="There is no key, or it does not exist, has expired or is revoked.",
        examples={
            "missing": _error(ErrorCode.MISSING_API_KEY, "Send your API key: Authorization: Bearer <key>"),
            "format": _error(ErrorCode.INVALID_AUTH_FORMAT, "The header must read: Authorization: Bearer <key>"),
            "form_of_key": _error(ErrorCode.INVALID_API_KEY_FORMAT, "This has not the form of an API key"),
            "revoked": _error(ErrorCode.INVALID_API_KEY, "The API key is revoked"),
        },
        headers=("WWW-Authenticate",),
    ),
    403: ErrorAnswer(
        name="Forbidden",
        description="The caller may not do this, or not from this address.",
        examples={
            "scope": _error(
                ErrorCode.INSUFFICIENT_SCOPE,
                f"This API key lacks the scope {Scope.DELIVERIES_READ}",
                {"required": [Scope.DELIVERIES_READ.value], "granted": [Scope.WEBHOOKS_READ.value]},
            ),
            "address": _error(ErrorCode.IP_NOT_ALLOWED, "This API key may not be used from 192.0.2.7"),
            "permission": _error(
                ErrorCode.INSUFFICIENT_PERMISSION,
                "You lack a permission that this needs",
                {"required": ["view_delivery"]},
            ),
            "csrf": _error(ErrorCode.INSUFFICIENT_PERMISSION, "CSRF: CSRF token missing."),
        },
    ),
    404: ErrorAnswer(
        name="NotFound",
        description="There is nothing, or it belongs to another organization.",
        examples={"none": _error(ErrorCode.NOT_FOUND, "There is no delivery 5120")},
    ),
    409: ErrorAnswer(
        name="Conflict",
        description=(
            "The state of what the address names does not allow it, or the same request with the same "
            f"`{IDEMPOTENCY_KEY_HEADER}` is under way."
        ),
        examples={
            "state": _error(
                ErrorCode.VALIDATION_ERROR, "The webhook has deliveries, so it can't be deleted.", status=409
            ),
            "under_way": _error(
                ErrorCode.VALIDATION_ERROR, "The same request was under way; send it again", status=409
            ),
        },
    ),
    413: ErrorAnswer(
        name="TooLarge",
        description="The body is too large.",
        examples={"too_large": _error(ErrorCode.VALIDATION_ERROR, "The body is too large", status=413)},
    ),
    422: ErrorAnswer(
        name="Invalid",
        description="`details` names each parameter or field that is unknown, given twice or not valid.",
        examples={"parameters": invalid({"limit": "must be a whole number from 1 to 100."})},
    ),
    429: ErrorAnswer(
        name="TooMany",
        description=f"More requests in a minute than allowed. `{RETRY_AFTER_HEADER}` says when it may go on.",
        examples={
            "limit": too_many(Quota(limit=LIMIT_PER_MINUTE[LIVE_KEY_PREFIX], remaining=0, retry_after=43)),
        },
        headers=(RETRY_AFTER_HEADER,),
    ),
    500: ErrorAnswer(
        name="Failure",
        description="An error of this site.",
        examples={"unexpected": _error(ErrorCode.INTERNAL_ERROR, "Something went wrong")},
    ),
    502: ErrorAnswer(
        name="BadGateway",
        description="Nateq did not answer as it should. It may have happened there: the same request completes it.",
        examples={
            "at_nateq": _error(
                ErrorCode.INTERNAL_ERROR, "The webhook could not be changed at Nateq: no answer in time", status=502
            )
        },
    ),
    503: ErrorAnswer(
        name="Unavailable",
        description=(
            "The database took too long, so ask for less; or Nateq's rate limit was reached; or the settings of this "
            "site are wrong."
        ),
        examples={
            "slow": _error(
                ErrorCode.INTERNAL_ERROR,
                "The database took too long. Ask for less: a status, an event or a shorter period.",
                status=503,
            ),
            "settings": SettingsWrongError(),
        },
        headers=(RETRY_AFTER_HEADER,),
    ),
}

ALWAYS: Final = (400, 401, 403, 422, 429, 500, 503)
"""What every operation may answer."""

OF_ACTIONS: Final = (409, 413)
"""What an operation that changes something may answer, too."""
