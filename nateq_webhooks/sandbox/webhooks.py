"""The webhooks of the sandbox: their validation and their table."""

import secrets
import sqlite3
import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from nateq_webhooks.protocol.signatures import SECRET_PREFIX
from nateq_webhooks.sandbox.clock import iso, now
from nateq_webhooks.sandbox.database import ORGANIZATION_ID, Database
from nateq_webhooks.sandbox.sandbox_errors import InvalidError

MAX_URL_CHARS: Final = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxWebhook:
    """A webhook as Nateq stores it. Its repr does not show the secret."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    is_active: bool
    created_at: float
    organization: str

    def as_json(self) -> dict[str, Any]:
        """Return the webhook for the API, without the secret."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "is_active": self.is_active,
            "created_at": iso(self.created_at),
        }


class Webhooks:
    """The webhooks in the database. `catalogue` has the events that can be subscribed to.

    With an `organization` only its webhooks are included, otherwise all.
    """

    def __init__(self, database: Database, catalogue: Mapping[str, str], organization: str | None = None) -> None:
        self._database = database
        self._catalogue = catalogue
        self._organization = organization

    def of(self, organization: str) -> "Webhooks":
        """Return the webhooks of one organization."""
        return Webhooks(self._database, self._catalogue, organization)

    def create(self, url: object, events: object) -> SandboxWebhook:
        """Create a webhook with a new secret. Raises `InvalidError`, which names the fields."""
        fields = self._validated({"url": url, "events": events})
        webhook = SandboxWebhook(
            id="wh_" + secrets.token_hex(12),
            url=fields["url"],
            events=fields["events"],
            secret=_new_secret(),
            is_active=True,
            created_at=now(),
            organization=self._organization or ORGANIZATION_ID,
        )
        with self._database.transaction() as connection:
            connection.execute(
                _INSERT,
                (
                    webhook.id,
                    webhook.url,
                    " ".join(webhook.events),
                    webhook.secret,
                    webhook.created_at,
                    webhook.organization,
                ),
            )
        return webhook

    def all(self) -> list[SandboxWebhook]:
        """Return every webhook, newest first."""
        return self.page(-1, 0)

    def page(self, limit: int, offset: int) -> list[SandboxWebhook]:
        """Return one page of them, newest first."""
        query = "SELECT * FROM webhook WHERE ?1 IS NULL OR organization = ?1 ORDER BY seq DESC LIMIT ?2 OFFSET ?3"
        return [_webhook(row) for row in self._database.rows(query, (self._organization, limit, offset))]

    def count(self) -> int:
        """Return the number of webhooks."""
        query = "SELECT count(*) FROM webhook WHERE ?1 IS NULL OR organization = ?1"
        return int(self._database.rows(query, (self._organization,))[0][0])

    def get(self, webhook_id: str) -> SandboxWebhook | None:
        """Return the webhook with this id, or None."""
        if not webhook_id.isascii():  # ids are ASCII, and a lone surrogate can't be sent to SQLite
            return None
        query = "SELECT * FROM webhook WHERE id = ?2 AND (?1 IS NULL OR organization = ?1)"
        rows = self._database.rows(query, (self._organization, webhook_id))
        return _webhook(rows[0]) if rows else None

    def update(self, webhook_id: str, changes: Mapping[str, object]) -> SandboxWebhook | None:
        """Change `url`, `events` and `is_active` if they are given; other keys are ignored.

        Returns the changed webhook, or None if it does not exist. Raises `InvalidError`.
        """
        fields = self._validated({name: changes[name] for name in _COLUMNS if name in changes})
        if "events" in fields:
            fields["events"] = " ".join(fields["events"])
        if self.get(webhook_id) is None:
            return None
        with self._database.transaction() as connection:
            for name, value in fields.items():
                connection.execute(_COLUMNS[name], (value, webhook_id))
        return self.get(webhook_id)

    def rotate_secret(self, webhook_id: str) -> SandboxWebhook | None:
        """Give the webhook a new secret, which signs every later attempt, retries too. None if it does not exist."""
        if self.get(webhook_id) is None:
            return None
        with self._database.transaction() as connection:
            connection.execute("UPDATE webhook SET secret = ? WHERE id = ?", (_new_secret(), webhook_id))
        return self.get(webhook_id)

    def delete(self, webhook_id: str) -> bool:
        """Delete the webhook with its deliveries and its log; False if it does not exist."""
        if self.get(webhook_id) is None:
            return False
        with self._database.transaction() as connection:
            return connection.execute("DELETE FROM webhook WHERE id = ?", (webhook_id,)).rowcount > 0

    def _validated(self, fields: Mapping[str, object]) -> dict[str, Any]:
        problems: dict[str, str] = {}
        usable: dict[str, Any] = dict(fields)
        if "url" in fields and (problem := _url_problem(fields["url"])):
            problems["url"] = problem
        if "events" in fields:
            if problem := self._events_problem(fields["events"]):
                problems["events"] = problem
            else:
                usable["events"] = _unique(fields["events"])
        if not isinstance(fields.get("is_active", True), bool):
            problems["is_active"] = "must be true or false."
        if problems:
            raise InvalidError(problems)
        return usable

    def _events_problem(self, events: object) -> str | None:
        if not isinstance(events, list | tuple) or not events:
            return "must be a list of at least one event."
        if unknown := [event for event in events if not isinstance(event, str) or event not in self._catalogue]:
            return f"{', '.join(map(ascii, unknown[:5]))} unknown. The events are {', '.join(self._catalogue)}."
        return None


_INSERT: Final = """
INSERT INTO webhook (id, url, events, secret, is_active, created_at, organization) VALUES (?, ?, ?, ?, 1, ?, ?)
"""

_COLUMNS: Final = {
    "url": "UPDATE webhook SET url = ? WHERE id = ?",
    "events": "UPDATE webhook SET events = ? WHERE id = ?",
    "is_active": "UPDATE webhook SET is_active = ? WHERE id = ?",
}
"""The fields that may be changed, each with its statement."""


def _url_problem(url: object) -> str | None:
    if not isinstance(url, str) or not url:
        return "must be the URL that deliveries are posted to."
    if len(url) > MAX_URL_CHARS:
        return f"must not be longer than {MAX_URL_CHARS} characters."
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be ASCII without spaces; encode other characters."
    try:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            httpx.URL(url)
            parts.hostname.encode("idna")  # as the resolver does, which refuses empty labels and those over 63 letters
            return None
    except (ValueError, httpx.InvalidURL):
        pass
    return "must be an http or https URL with a host, like https://shop.example/webhooks/nateq/."


def _unique(events: Any) -> tuple[str, ...]:
    names: Iterable[str] = events
    return tuple(dict.fromkeys(names))


def _new_secret() -> str:
    return SECRET_PREFIX + secrets.token_hex(32)


def _webhook(row: sqlite3.Row) -> SandboxWebhook:
    return SandboxWebhook(
        id=row["id"],
        url=row["url"],
        events=tuple(row["events"].split()),
        secret=row["secret"],
        is_active=bool(row["is_active"]),
        created_at=row["created_at"],
        organization=row["organization"],
    )
