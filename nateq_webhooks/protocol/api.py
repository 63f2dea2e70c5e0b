"""Nateq's API as far as it is public, and what we assume of its webhook endpoints (ours: docs/reference/protocol.md).

Only this module names its paths, headers, error codes, limits and environment variables; the client and the sandbox
use them.
"""

import re
from enum import StrEnum
from typing import Final

BASE_URL: Final = "https://api.nateq.io/api/v1"
"""Nateq: quickstart."""

API_PATH: Final = "/api/v1"
"""The path of `BASE_URL`; a local server has its API there, too."""

WEBHOOKS_PATH: Final = "/webhooks"
EVENTS_PATH: Final = "/webhooks/events"

ROTATE_SEGMENT: Final = "rotate-secret"
LOGS_SEGMENT: Final = "logs"
"""What follows a webhook's id in the path of the two calls below it."""

LIMIT_PARAMETER: Final = "limit"
OFFSET_PARAMETER: Final = "offset"
CURSOR_PARAMETER: Final = "cursor"
"""How a page is asked for; the cursor is what `meta.next_cursor` said, where a server has it."""

API_KEY_VARIABLE: Final = "NATEQ_API_KEY"
BASE_URL_VARIABLE: Final = "NATEQ_BASE_URL"
"""The environment variables of Nateq's SDK, which have the same meaning here."""

KEYS_SCREEN: Final = "Settings -> Developers -> API Keys"
WEBHOOKS_SCREEN: Final = "Settings -> Developers -> Webhooks"
"""Where a person does by hand what a call can't (Nateq: authentication, Set up)."""

LIVE_KEY_PREFIX: Final = "tg_live_"
TEST_KEY_PREFIX: Final = "tg_test_"
"""Nateq: authentication. Production and sandbox data are apart."""

_BEARER: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750: what may follow "Bearer "


def is_api_key(text: str) -> bool:
    """Return whether a text has the form of an API key: a prefix, and what a header may carry after it."""
    has_prefix = any(text.startswith(prefix) and text != prefix for prefix in (LIVE_KEY_PREFIX, TEST_KEY_PREFIX))
    return has_prefix and _BEARER.fullmatch(text) is not None


class Scope(StrEnum):
    """What a key may be for: Nateq's word for webhooks, and those of a site's own API (ours: docs/reference/api.md)."""

    WEBHOOKS_READ = "webhooks:read"
    """See webhooks and their logs."""
    WEBHOOKS_MANAGE = "webhooks:manage"
    """Everything about webhooks (Nateq: Set up), seeing them included."""
    DELIVERIES_READ = "deliveries:read"
    """See deliveries, runs, refused requests, and the state of the receivers."""
    DELIVERIES_REPLAY = "deliveries:replay"
    """Have receivers run again, pause and resume them."""
    PAYLOADS_READ = "payloads:read"
    """See what customers wrote: bodies, values of headers, errors."""


NATEQ_SCOPES: Final = frozenset(
    (
        Scope.WEBHOOKS_MANAGE.value,
        *(
            f"{resource}:{verb}"
            for resource in ("conversations", "tickets", "tags", "templates", "broadcasts", "faqs", "files")
            for verb in ("read", "write")
        ),
        *("teams:read", "overview_stats:read", "emails:send", "emails:read"),
    )
)
"""What a key of Nateq's may be for (Nateq: authentication; its SDK); nothing but webhooks matters here."""

SCOPE: Final = Scope.WEBHOOKS_MANAGE.value
"""The scope that a key of Nateq's needs for everything about webhooks."""

LIMIT_PER_MINUTE: Final = {LIVE_KEY_PREFIX: 1000, TEST_KEY_PREFIX: 100}
"""Requests a minute by the kind of key, where the dashboard sets no other value (Nateq: rate limits)."""

LIMIT_HEADER: Final = "X-RateLimit-Limit"
REMAINING_HEADER: Final = "X-RateLimit-Remaining"
REQUEST_ID_HEADER: Final = "X-Request-Id"
RETRY_AFTER_HEADER: Final = "Retry-After"

IDEMPOTENCY_KEY_HEADER: Final = "Idempotency-Key"
REPLAYED_HEADER: Final = "Idempotency-Replayed"
"""A request that may be sent again, and an answer that was given before (ours: Nateq has none)."""

PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 100
"""`limit` of a list: its default and the most (Nateq's SDK)."""


class ErrorCode(StrEnum):
    """The codes of the API's errors (Nateq: authentication, rate limits)."""

    MISSING_API_KEY = "MISSING_API_KEY"
    INVALID_AUTH_FORMAT = "INVALID_AUTH_FORMAT"
    INVALID_API_KEY_FORMAT = "INVALID_API_KEY_FORMAT"
    INVALID_API_KEY = "INVALID_API_KEY"
    AUTHENTICATION_FAILED = "AUTHENTICATION_FAILED"
    INSUFFICIENT_SCOPE = "INSUFFICIENT_SCOPE"
    INSUFFICIENT_PERMISSION = "INSUFFICIENT_PERMISSION"
    ENDPOINT_NOT_PUBLIC = "ENDPOINT_NOT_PUBLIC"
    IP_NOT_ALLOWED = "IP_NOT_ALLOWED"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    VALIDATION_ERROR = "VALIDATION_ERROR"
    NOT_FOUND = "NOT_FOUND"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


STATUS_OF: Final = {
    ErrorCode.MISSING_API_KEY: 401,
    ErrorCode.INVALID_AUTH_FORMAT: 401,
    ErrorCode.INVALID_API_KEY_FORMAT: 401,
    ErrorCode.INVALID_API_KEY: 401,
    ErrorCode.AUTHENTICATION_FAILED: 401,
    ErrorCode.INSUFFICIENT_SCOPE: 403,
    ErrorCode.INSUFFICIENT_PERMISSION: 403,
    ErrorCode.ENDPOINT_NOT_PUBLIC: 403,
    ErrorCode.IP_NOT_ALLOWED: 403,
    ErrorCode.RATE_LIMIT_EXCEEDED: 429,
    ErrorCode.VALIDATION_ERROR: 422,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.INTERNAL_ERROR: 500,
}
"""The HTTP status of each error."""


class LogStatus(StrEnum):
    """What became of an attempt, as the delivery log says it (ours: the page names no values)."""

    DELIVERED = "delivered"
    """The receiver answered 2xx."""
    FAILED = "failed"
    """Any other answer, none in time, or no connection."""
    DROPPED = "dropped"
    """Never sent: the sandbox was told to lose it."""
