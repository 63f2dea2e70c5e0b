"""The webhooks of an organization: everything under `/webhooks` (Nateq: Set up, Available events, Retries)."""

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote

from nateq_webhooks.client import answers, failures
from nateq_webhooks.client.answers import Page
from nateq_webhooks.client.calls import Call
from nateq_webhooks.client.paging import Identity, Place, Reading
from nateq_webhooks.client.transport import Transport
from nateq_webhooks.client.values import CreatedWebhook, EventType, LogEntry, NewSecret, RemoteWebhook
from nateq_webhooks.errors import ApiError, NateqNotFoundError, NateqNotOfferedError, NateqValidationError
from nateq_webhooks.protocol.api import (
    CURSOR_PARAMETER,
    EVENTS_PATH,
    LIMIT_PARAMETER,
    LOGS_SEGMENT,
    MAX_PAGE_SIZE,
    OFFSET_PARAMETER,
    ROTATE_SEGMENT,
    WEBHOOKS_PATH,
    WEBHOOKS_SCREEN,
)

T = TypeVar("T")

MAX_ID_CHARS: Final = 200
"""Ids are a prefix and two dozen characters, or UUIDs."""

_NO_IDS: Final = {"", ".", "..", EVENTS_PATH.rpartition("/")[2]}
"""What would make another path of `/webhooks/{id}`."""


class Webhooks:
    """`client.webhooks`. Every method raises an `ApiError` when it fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, *, url: str, events: Iterable[str]) -> CreatedWebhook:
        """Create a webhook and return it with its signing secret, which is in this answer only.

        There is no idempotency key: after an error with `is_ambiguous`, look with `list` before creating again.
        """
        call = Call(
            method="POST",
            path=WEBHOOKS_PATH,
            purpose="Creating the webhook",
            body={"url": url, "events": _names(events)},
            instead=f"create it under {WEBHOOKS_SCREEN} and copy its id and signing secret",
        )
        return self._transport.request(call, answers.created_webhook)

    def list(self) -> builtins.list[RemoteWebhook]:
        """Return every webhook that this key sees."""
        reading = Reading(
            lambda place: self._page("", "Listing the webhooks", place, answers.webhook_page),
            lambda webhook: Identity(key=webhook.id),
        )
        return [*reading]

    def get(self, id: str) -> RemoteWebhook:
        """Return one webhook."""
        call = _call("GET", id, purpose=f"Reading webhook {id}", instead=f"see it under {WEBHOOKS_SCREEN}")
        return self._about(call, answers.webhook)

    def update(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        is_active: bool | None = None,
    ) -> RemoteWebhook:
        """Change what is given, leave the rest, and return the webhook as it is then."""
        wanted: dict[str, object] = {"url": url, "is_active": is_active}
        wanted["events"] = None if events is None else _names(events)
        body = {name: value for name, value in wanted.items() if value is not None}
        if not body:
            raise NateqValidationError(f"Changing webhook {id} needs url=, events= or is_active=; none was given.")
        instead = f"change it under {WEBHOOKS_SCREEN}"
        call = _call("PATCH", id, purpose=f"Changing webhook {id}", instead=instead, body=body)
        return self._about(call, answers.changed_webhook) or self.get(id)

    def delete(self, id: str) -> None:
        """Delete a webhook: Nateq sends it nothing more."""
        instead = f"delete it under {WEBHOOKS_SCREEN}"
        self._about(_call("DELETE", id, purpose=f"Deleting webhook {id}", instead=instead), answers.nothing)

    def rotate_secret(self, id: str) -> NewSecret:
        """Have Nateq make a new signing secret, and return it: it is in this answer only.

        Raises `NateqNotOfferedError` where the server has no such call.
        """
        call = _call(
            "POST",
            id,
            ROTATE_SEGMENT,
            purpose=f"Rotating the secret of webhook {id}",
            instead=f"rotate it under {WEBHOOKS_SCREEN} and add the new secret on this side",
        )
        return self._about(call, lambda document: answers.new_secret(document, call.about))

    def events(self) -> builtins.list[EventType]:
        """Return the live list of the events that a webhook may subscribe to."""
        call = Call(method="GET", path=EVENTS_PATH, purpose="Listing the events")
        return self._transport.request(call, answers.event_types)

    def logs(self, id: str) -> Iterator[LogEntry]:
        """Iterate over the attempts to deliver to a webhook, newest first, fetching pages as they are needed.

        Every attempt that the log had at the start comes once, however many are added meanwhile.
        """
        _check(id)
        purpose = f"Reading the log of webhook {id}"
        reading = Reading(lambda place: self._page(id, purpose, place, answers.log_page), _identity)
        return iter(reading)

    def _page(self, about: str, purpose: str, place: Place, read: Callable[[Any], Page[T]]) -> Page[T]:
        """Get one page: of the webhooks or, about one of them, of its log."""
        query: dict[str, str | int] = {LIMIT_PARAMETER: MAX_PAGE_SIZE}
        if place.cursor is not None:
            query[CURSOR_PARAMETER] = place.cursor
        else:
            query[OFFSET_PARAMETER] = place.offset
        instead = f"see them under {WEBHOOKS_SCREEN}"
        if about:
            call = _call("GET", about, LOGS_SEGMENT, purpose=purpose, instead=instead, query=query)
            return self._about(call, read)
        call = Call(method="GET", path=WEBHOOKS_PATH, purpose=purpose, instead=instead, query=query)
        return self._transport.request(call, read)

    def _about(self, call: Call, read: Callable[[Any], T]) -> T:
        """Make a call about one webhook, and tell a webhook that is not there from a call that is not there."""
        try:
            return self._transport.request(call, read)
        except NateqNotOfferedError:
            raise
        except NateqNotFoundError as error:
            missing: ApiError = error
        raise failures.not_offered(call, missing) if self._lists(call.about) else missing

    def _lists(self, id: str) -> bool:
        """Say whether the webhook is listed, after a 404. A server that can't list has no other calls either."""
        try:
            return id in {webhook.id for webhook in self.list()}
        except NateqNotOfferedError:
            return True
        except ApiError:
            return False


def _call(method: str, id: str, segment: str = "", **words: Any) -> Call:
    """Build a call about one webhook."""
    _check(id)
    parts = [WEBHOOKS_PATH, quote(id, safe=""), *([segment] if segment else [])]
    return Call(method=method, path="/".join(parts), about=id, **words)


def _check(id: str) -> None:
    """Refuse what can't be an id, before it makes another path of it or fills a log."""
    if id in _NO_IDS or not id.isprintable() or len(id) > MAX_ID_CHARS:
        raise NateqValidationError(
            f"This text of {len(id)} characters can't be a webhook's id. See list() for the ids that there are."
        )


def _names(events: Iterable[str]) -> list[str]:
    if isinstance(events, str):
        raise NateqValidationError(f'events= is a list of names, not one text: write events=["{events}"].')
    return [str(event) for event in events]


def _identity(entry: LogEntry) -> Identity:
    """Tell attempts apart: by everything about them that stays, and by all of it where that is too little."""
    key = (entry.id, entry.delivery_id, entry.attempt, entry.attempted_at)
    if entry.id or entry.attempted_at is not None:
        return Identity(key=key, moment=entry.attempted_at)
    return Identity(key=(*key, entry.event, entry.status, entry.response_status, repr(entry.payload)))
