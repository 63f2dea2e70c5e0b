"""The errors of this package. A message says what happened, with what value (never a secret), and what to do."""

__all__ = [
    "ApiError",
    "ContentRemovedError",
    "DecryptionError",
    "DeliveryRefusedError",
    "ErasureError",
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
    "SecretUnavailableError",
    "StoreError",
    "TimedOutError",
]


class NateqWebhooksError(Exception):
    """Base of every error of this package."""


class SecretError(NateqWebhooksError, ValueError):
    """A signing secret is empty, too short, or not in the encoding of the settings. Never contains the secret.

    `message` is the text without the values of `params`, as it is translated.
    """

    def __init__(self, message: str = "", **params: str) -> None:
        super().__init__(message % params if params else message)
        self.message = message
        self.params = params


class SecretUnavailableError(SecretError):
    """A stored signing secret can't be read: no key decrypts it, or its environment variable has no usable secret.

    Unlike an unusable secret, it may be the sender's: deliveries that no other secret verifies are answered with 503.
    """


class DecryptionError(NateqWebhooksError):
    """Stored data is encrypted, and this process has no key that decrypts it. Contains neither data nor keys."""


class ReceiverError(NateqWebhooksError, TypeError):
    """A receiver can't be connected: it has no stable name, would be garbage-collected, or can't take an event.

    Or its name belongs to another one. In a run: the value that the receiver returned shows that its body did not run.
    """


class EventLoopError(NateqWebhooksError, RuntimeError):
    """An `async def` receiver can't run in this process: with eventlet there is no thread for an event loop."""


class ErasureError(NateqWebhooksError, ValueError):
    """What is to be erased is unclear: no criteria, an unusable path, or values of too many people. Nothing changed.

    Or another process has carried out the same erasure meanwhile.
    """


class StoreError(NateqWebhooksError):
    """A delivery could not be committed. It must not be acknowledged, so that the sender tries again."""


class DeliveryRefusedError(NateqWebhooksError):
    """`nateq_webhooks.testing.deliver` could deliver nothing: the request was refused, and nothing was stored.

    `status` is the HTTP status of the answer. `reason` is the code of a refusal ("no_secret", "other_organization",
    "too_large", ...), as the signal `delivery_rejected` has it; empty if the answer is not a refusal with a code.
    """

    def __init__(self, message: str, *, status: int, reason: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class RetryLater(NateqWebhooksError):  # noqa: N818 - a receiver's instruction, not an error
    """A receiver raises this to be tried again after `seconds`, regardless of its number of tries.

    Its database changes are rolled back. Only the maximum age of a run (`RETRY_MAX_AGE`) ends it. The wait is at least
    one second; with 0, a negative number or a value that is not a number it is as long as after any other failure.
    """

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again after {seconds} s")
        self.seconds = seconds


class GiveUp(NateqWebhooksError):  # noqa: N818 - a receiver's instruction, not an error
    """A receiver raises this to end its run as failed, without further tries. Its database changes are rolled back."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason or "the receiver gave up")


class ContentRemovedError(GiveUp, ValueError):
    """The content of a delivery was removed by retention or an erasure, so no receiver can run for it."""


class TimedOutError(NateqWebhooksError):
    """A receiver ran longer than `RUN_TIMEOUT`: the try has failed, and its late commit is refused."""


class RolledBackError(NateqWebhooksError):
    """A receiver returned, but its transaction was rolled back: the try has failed."""


class RunLostError(NateqWebhooksError):
    """A worker has lost the lease of its run: its changes are rolled back, and another worker executes the run."""


class ApiError(NateqWebhooksError):
    """Base of all errors of Nateq's API and of the connection to it. Never contains the API key.

    `status` is the HTTP status, `code` and `details` come from the API's error, `request_id` is for Nateq's support;
    each is None if unknown. `retry_after` is the number of seconds that the server asks to wait. `is_ambiguous` is
    true if a write may have been executed: check before trying again.
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
    """The client's configuration is invalid: no usable key, or no safe base URL. Nothing was sent."""


class NateqAuthenticationError(ApiError):
    """The key is missing, malformed, revoked or unknown (401)."""


class NateqPermissionError(ApiError):
    """The key is valid, but lacks a scope or role, or its IP allow-list excludes this site (403)."""


class NateqNotFoundError(ApiError):
    """There is no such webhook, or the key has no access to it (404)."""


class NateqNotOfferedError(NateqNotFoundError):
    """The server does not offer this call to API keys (404, 405, ENDPOINT_NOT_PUBLIC): use the dashboard."""


class NateqValidationError(ApiError):
    """The server, or the client before sending, refuses the data (400, 422)."""


class NateqRateLimitError(ApiError):
    """The key has used its requests per minute (429). Nothing was executed: safe to try again."""


class NateqServerError(ApiError):
    """The server failed (5xx)."""


class NateqConnectionError(ApiError):
    """No connection: DNS, TLS, a socket error, or no network."""


class NateqTimeoutError(ApiError):
    """No answer in time, or status 408."""


class NateqUnexpectedAnswerError(ApiError):
    """The answer is not the API's: a redirect, not JSON, or a document without required keys."""
