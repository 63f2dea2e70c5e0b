"""What the API answers with, as frozen values. Each takes what is known of it; what a server adds is ignored."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteWebhook:
    """A webhook as Nateq has it.

    `events` are the names it is sent. `is_active` and `created_at` (aware) are None when the server does not say.
    """

    id: str
    url: str
    events: tuple[str, ...]
    is_active: bool | None
    created_at: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CreatedWebhook(RemoteWebhook):
    """A webhook just made, with the signing secret that no later answer has. Its repr does not show the secret.

    `secret` is None when the server kept it to itself: rotate it to get one.
    """

    secret: str | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class NewSecret:
    """The signing secret after a rotation, in this answer only. Its repr does not show it."""

    webhook_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventType:
    """An event of the live catalogue; `description` is empty when the server gives none."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LogEntry:
    """One attempt of the sender to deliver one event.

    Text is empty, and everything else None, where the server says nothing usable. Times are aware (UTC).
    `status` is the server's own word (see `protocol.api.LogStatus` for the sandbox's); `response_status` and
    `response_body` are what this site answered. `payload` is the body that was sent, as JSON; None when the log
    does not keep it, and then the event can't be fetched from here.
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
