"""Every error this package raises, under one base: what happened, with what value (never a secret), what to do."""

__all__ = [
    "ApiError",
    "DeliveryRefusedError",
    "EventLoopError",
    "GiveUp",
    "NateqAuthenticationError",
    "NateqConfigurationError",
    "NateqConnectionError",
    "NateqNotFoundError",
    "NateqNotOfferedError",
    "NateqPermissionError",
    "NateqRateLimitError",
    "NateqServerError",
    "NateqTimeoutError",
    "NateqUnexpectedAnswerError",
    "NateqValidationError",
    "NateqWebhooksError",
    "ReceiverError",
    "RetryLater",
    "RolledBackError",
    "RunLostError",
    "SecretError",
    "StoreError",
    "TimedOutError",
]


class NateqWebhooksError(Exception):
    """Base of every error of this package."""


class SecretError(NateqWebhooksError, ValueError):
    """A signing secret is empty, or is not in the encoding that the settings say. Never carries the secret."""


class ReceiverError(NateqWebhooksError, TypeError):
    """A receiver can't be connected: it has no stable name, would vanish, or can't be called with an event.

    Or its name belongs to another one. In a run: what the receiver returned shows that its body has not run.
    """


class EventLoopError(NateqWebhooksError, RuntimeError):
    """An `async def` receiver can't run in this process: eventlet leaves no thread for an event loop."""


class StoreError(NateqWebhooksError):
    """A delivery could not be committed. The sender must be told to try again: nothing was acknowledged."""


class DeliveryRefusedError(NateqWebhooksError):
    """`nateq_webhooks.testing.deliver` could deliver nothing: the request was refused, and nothing was stored.

    `status` is the HTTP status of the answer. `reason` is the code of a refusal ("no_secret", "other_organization",
    "too_large", ...), as the signal `delivery_rejected` has it; empty if the answer is not a refusal with a code.
    """

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RetryLater(NateqWebhooksError):  # noqa: N818 - what a receiver raises to say something, not an error
    """A receiver raises this to be tried again after `seconds`, whatever its number of tries.

    Its database work is undone. Only the greatest age of a run (`RETRY_MAX_AGE`) ends it. The wait is a second at
    least; with 0 or a negative number it is as long as after any other failure. What is no number counts as any other
    failure.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again after {seconds} s")
        self.seconds = seconds


class GiveUp(NateqWebhooksError):  # noqa: N818 - what a receiver raises to say something, not an error
    """A receiver raises this to never be tried again on this delivery. Its database work is undone."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the receiver gave up")


class TimedOutError(NateqWebhooksError):
    """A receiver ran for longer than `RUN_TIMEOUT`: the try counts as failed, and its late commit is refused."""


class RolledBackError(NateqWebhooksError):
    """A receiver returned, but what it wrote is rolled back: the run counts as failed."""


class RunLostError(NateqWebhooksError):
    """A worker no longer holds the run it is working on: what it did is undone, another one does it."""


class ApiError(NateqWebhooksError):
    """Base of everything that goes wrong between this site and Nateq's API. Never carries the API key.

    `status` is the HTTP status, `code` and `details` are what the API says of its error, `request_id` is what
    Nateq's support asks for; each is None when there was none. `retry_after` are the seconds that the server asks
    to wait. `is_ambiguous` is true of a write that may have happened all the same: look before trying again.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        details: object = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        is_ambiguous: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.details = details
        self.request_id = request_id
        self.retry_after = retry_after
        self.is_ambiguous = is_ambiguous


class NateqConfigurationError(ApiError):
    """The client can't work as it was set up: no usable key, no safe base URL. Nothing was sent."""


class NateqAuthenticationError(ApiError):
    """The key is missing, malformed, revoked or unknown (401)."""


class NateqPermissionError(ApiError):
    """The key is good, but may not do this: a scope, a role or the IP allow-list is in the way (403)."""


class NateqNotFoundError(ApiError):
    """There is no such webhook, or this key does not see it (404)."""


class NateqNotOfferedError(NateqNotFoundError):
    """The server has no such call for an API key (404, 405, ENDPOINT_NOT_PUBLIC): do it in the dashboard."""


class NateqValidationError(ApiError):
    """The server, or the client before it, refuses what was to be sent (400, 422)."""


class NateqRateLimitError(ApiError):
    """More requests a minute than the key may make (429). Nothing was done: safe to try again."""


class NateqServerError(ApiError):
    """The server failed (5xx)."""


class NateqConnectionError(ApiError):
    """No answer came: DNS, TLS, a socket, or no network."""


class NateqTimeoutError(ApiError):
    """No answer came in time (or the server says 408)."""


class NateqUnexpectedAnswerError(ApiError):
    """An answer came that is not the API's: a redirect, no JSON, or a document without what it must have."""
