"""Webhooks: their validation, and what is done with them, for the API, the screen and the control channel alike."""

import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

import httpx
from django.db.models import QuerySet

from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site.models import Webhook, new_secret
from nateq_webhooks.sandbox.webhooks import ORGANIZATION_ID

MAX_URL_CHARS: Final = 2048

_FIELDS: Final = ("url", "events", "is_active")


class Webhooks:
    """The webhooks of one organization, or all. `catalogue` has the events that can be subscribed to."""

    def __init__(self, catalogue: Mapping[str, str], organization: str | None = None) -> None:
        self._catalogue = catalogue
        self._organization = organization

    def of(self, organization: str) -> "Webhooks":
        """Return the webhooks of one organization."""
        return Webhooks(self._catalogue, organization)

    def rows(self) -> QuerySet[Webhook]:
        """Return them, newest first."""
        rows = Webhook.objects.all()
        return rows if self._organization is None else rows.filter(organization=self._organization)

    def create(self, url: object, events: object) -> Webhook:
        """Create a webhook with a new secret. Raises `InvalidError`, which names the fields."""
        fields = self.validated({"url": url, "events": events})
        return Webhook.objects.create(organization=self._organization or ORGANIZATION_ID, **fields)

    def get(self, webhook_id: str) -> Webhook | None:
        """Return the webhook with this id, or None."""
        if not webhook_id.isascii():  # ids are ASCII, and a lone surrogate can't be sent to SQLite
            return None
        return self.rows().filter(public_id=webhook_id).first()

    def update(self, webhook_id: str, changes: Mapping[str, object]) -> Webhook | None:
        """Change `url`, `events` and `is_active` if they are given; other keys are ignored.

        Returns the changed webhook, or None if it does not exist. Raises `InvalidError`.
        """
        return self._change(webhook_id, self.validated({name: changes[name] for name in _FIELDS if name in changes}))

    def rotate_secret(self, webhook_id: str) -> Webhook | None:
        """Give the webhook a new secret, which signs every later attempt, retries too. None if it does not exist."""
        return self._change(webhook_id, {"secret": new_secret()})

    def delete(self, webhook_id: str) -> bool:
        """Delete the webhook with its deliveries and its log; False if it does not exist."""
        webhook = self.get(webhook_id)
        return webhook is not None and webhook.delete()[0] > 0

    def validated(self, fields: Mapping[str, object]) -> dict[str, Any]:
        """Return the values of fields. Raises `InvalidError` with what is wrong with each."""
        problems: dict[str, str] = {}
        usable: dict[str, Any] = dict(fields)
        if "url" in fields and (problem := _url_problem(fields["url"])):
            problems["url"] = problem
        if "events" in fields:
            if problem := self._events_problem(fields["events"]):
                problems["events"] = problem
            else:
                usable["events"] = tuple(dict.fromkeys(usable["events"]))
        if not isinstance(fields.get("is_active", True), bool):
            problems["is_active"] = "must be true or false."
        if problems:
            raise InvalidError(problems)
        return usable

    def _change(self, webhook_id: str, fields: Mapping[str, Any]) -> Webhook | None:
        webhook = self.get(webhook_id)
        if webhook is None or not fields:
            return webhook
        Webhook.objects.filter(pk=webhook.pk).update(**fields)
        return self.get(webhook_id)

    def _events_problem(self, events: object) -> str | None:
        if not isinstance(events, list | tuple) or not events:
            return "must be a list of at least one event."
        if unknown := [event for event in events if not isinstance(event, str) or event not in self._catalogue]:
            return f"{', '.join(map(ascii, unknown[:5]))} unknown. The events are {', '.join(self._catalogue)}."
        return None


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
