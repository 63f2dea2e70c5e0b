"""The values that the client returns. Fields of the API that are not known here are ignored."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteWebhook:
    """A webhook at Nateq.

    `events` are the names that it subscribes to. `is_active` and `created_at` (aware) are None if the server does not
    send them.
    """

    id: str
    url: str
    events: tuple[str, ...]
    is_active: bool | None
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedWebhook(RemoteWebhook):
    """A webhook that was just created, with its signing secret, which no later answer contains. Its repr hides it.

    `secret` is None if the server did not send it: rotate it to get one.
    """

    secret: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSecret:
    """The signing secret after a rotation, which no later answer contains. Its repr hides it."""

    webhook_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """An event that webhooks can subscribe to; `description` may be empty."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """One attempt of the sender to deliver one event.

    Fields that the server does not send are empty (text) or None. Times are aware (UTC). `status` is the server's own
    word (see `protocol.api.LogStatus` for the sandbox's); `response_status` and
    `response_body` are what this site answered. `payload` is the body that was sent, as JSON; None if the log
    does not keep it, so that the event can't be fetched from it.
    """

    id: str
    delivery_id: str
    event: str
    attempt: int | None
    status: str
    response_status: int | None
    response_body: str | None = field(repr=False, hash=False)
    duration_ms: float | None
    attempted_at: datetime | None
    next_attempt_at: datetime | None
    payload: Any = field(repr=False, hash=False)
