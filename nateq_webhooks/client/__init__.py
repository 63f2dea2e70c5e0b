"""A client of Nateq's HTTP API for webhooks. Needs the extra `client`; does not use Django.

::

    with NateqClient() as client:  # NATEQ_API_KEY, NATEQ_BASE_URL
        created = client.webhooks.create(url="https://shop.example/nateq/shop/", events=["ticket.created"])
        save(created.id, created.secret)
        for entry in client.webhooks.logs(created.id):
            print(entry.attempted_at, entry.event, entry.response_status)
"""

try:
    from nateq_webhooks.client.nateq import NateqClient
except ModuleNotFoundError as missing:
    if missing.name not in {"httpx", "tenacity"}:
        raise
    raise ModuleNotFoundError(
        f"nateq_webhooks.client needs {missing.name}, which is not installed. "
        'Install the extra: pip install "nateq-webhooks[client]"',
        name=missing.name,
    ) from None
from nateq_webhooks.client.values import CreatedWebhook, EventType, LogEntry, NewSecret, RemoteWebhook
from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqConfigurationError,
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

__all__ = [
    "ApiError",
    "CreatedWebhook",
    "EventType",
    "LogEntry",
    "NateqAuthenticationError",
    "NateqClient",
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
    "NewSecret",
    "RemoteWebhook",
]
