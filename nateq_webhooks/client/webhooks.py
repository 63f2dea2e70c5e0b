"""The webhooks of an organization: everything under `/webhooks` (Nateq: Set up, Available events, Retries)."""

import builtins
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote

from nateq_webhooks.client import api_errors, response_parsing
from nateq_webhooks.client.calls import Call
from nateq_webhooks.client.paging import Identity, PageReader, Position
from nateq_webhooks.client.response_parsing import ResultPage
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
"""Ids that would change which path is requested."""


class Webhooks:
    """`client.webhooks`. Every method raises an `ApiError` when it fails."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, *, url: str, events: Iterable[str]) -> CreatedWebhook:
        """Create a webhook and return it with its signing secret, which only this answer contains.

        There is no idempotency key: after an error with `is_ambiguous`, check with `list` before creating again.
        """
        call = Call(
            method="POST",
            path=WEBHOOKS_PATH,
            purpose="Creating the webhook",
            body={"url": url, "events": _names(events)},
            instead=f"create it under {WEBHOOKS_SCREEN} and copy its id and signing secret",
        )
        return self._transport.request(call, response_parsing.created_webhook)

    def list(self) -> builtins.list[RemoteWebhook]:
        """Return every webhook that this key sees."""
        reader = PageReader(
            lambda position: self._page("", "Listing the webhooks", position, response_parsing.webhook_page),
            lambda webhook: Identity(key=webhook.id),
        )
        return [*reader]

    def get(self, id: str) -> RemoteWebhook:
        """Return one webhook."""
        call = _call("GET", id, purpose=f"Reading webhook {id}", instead=f"see it under {WEBHOOKS_SCREEN}")
        return self._call_about(call, response_parsing.remote_webhook)

    def update(
        self,
        id: str,
        *,
        url: str | None = None,
        events: Iterable[str] | None = None,
        is_active: bool | None = None,
    ) -> RemoteWebhook:
        """Change what is given, and return the changed webhook."""
        wanted: dict[str, object] = {"url": url, "is_active": is_active}
        wanted["events"] = None if events is None else _names(events)
        body = {name: value for name, value in wanted.items() if value is not None}
        if not body:
            raise NateqValidationError(f"Changing webhook {id} needs url=, events= or is_active=; none was given.")
        instead = f"change it under {WEBHOOKS_SCREEN}"
        call = _call("PATCH", id, purpose=f"Changing webhook {id}", instead=instead, body=body)
        return self._call_about(call, response_parsing.changed_webhook) or self.get(id)

    def delete(self, id: str) -> None:
        """Delete a webhook; Nateq sends it no more deliveries."""
        instead = f"delete it under {WEBHOOKS_SCREEN}"
        self._call_about(
            _call("DELETE", id, purpose=f"Deleting webhook {id}", instead=instead), response_parsing.nothing
        )

    def rotate_secret(self, id: str) -> NewSecret:
        """Have Nateq make a new signing secret, and return it; only this answer contains it.

        Raises `NateqNotOfferedError` if the server has no such call.
        """
        call = _call(
            "POST",
            id,
            ROTATE_SEGMENT,
            purpose=f"Rotating the secret of webhook {id}",
            instead=f"rotate it under {WEBHOOKS_SCREEN} and add the new secret on this side",
        )
        return self._call_about(call, lambda document: response_parsing.new_secret(document, call.webhook_id))

    def events(self) -> builtins.list[EventType]:
        """Return the live list of the events that a webhook may subscribe to."""
        call = Call(method="GET", path=EVENTS_PATH, purpose="Listing the events")
        return self._transport.request(call, response_parsing.event_types)

    def logs(self, id: str) -> Iterator[LogEntry]:
        """Iterate over the attempts to deliver to a webhook, newest first, fetching pages as they are needed.

        Each attempt that the log had at the start is returned once, however many are added meanwhile.
        """
        _check_id(id)
        purpose = f"Reading the log of webhook {id}"
        return iter(
            PageReader(lambda position: self._page(id, purpose, position, response_parsing.log_page), _identity)
        )

    def _page(
        self, webhook_id: str, purpose: str, position: Position, read: Callable[[Any], ResultPage[T]]
    ) -> ResultPage[T]:
        """Get one page of the webhooks or, with a webhook's id, of its log."""
        query: dict[str, str | int] = {LIMIT_PARAMETER: MAX_PAGE_SIZE}
        if position.cursor is not None:
            query[CURSOR_PARAMETER] = position.cursor
        else:
            query[OFFSET_PARAMETER] = position.offset
        instead = f"see them under {WEBHOOKS_SCREEN}"
        if webhook_id:
            call = _call("GET", webhook_id, LOGS_SEGMENT, purpose=purpose, instead=instead, query=query)
            return self._call_about(call, read)
        call = Call(method="GET", path=WEBHOOKS_PATH, purpose=purpose, instead=instead, query=query)
        return self._transport.request(call, read)

    def _call_about(self, call: Call, read: Callable[[Any], T]) -> T:
        """Make a call about one webhook; after a 404, distinguish a missing webhook from a call that is not offered."""
        try:
            return self._transport.request(call, read)
        except NateqNotOfferedError:
            raise
        except NateqNotFoundError as error:
            missing: ApiError = error
        raise api_errors.not_offered(call, missing) if self._is_listed(call.webhook_id) else missing

    def _is_listed(self, id: str) -> bool:
        """Return whether the webhook is listed, after a 404. A server that can't list offers no other call either."""
        try:
            return id in {webhook.id for webhook in self.list()}
        except NateqNotOfferedError:
            return True
        except ApiError:
            return False


def _call(method: str, id: str, segment: str = "", **words: Any) -> Call:
    """Build a call about one webhook."""
    _check_id(id)
    parts = [WEBHOOKS_PATH, quote(id, safe=""), *([segment] if segment else [])]
    return Call(method=method, path="/".join(parts), webhook_id=id, **words)


def _check_id(id: str) -> None:
    """Refuse text that can't be an id, before it changes the path of the request or is logged."""
    if id in _NO_IDS or not id.isprintable() or len(id) > MAX_ID_CHARS:
        raise NateqValidationError(
            f"This text of {len(id)} characters can't be a webhook's id. list() returns the ids that exist."
        )


def _names(events: Iterable[str]) -> list[str]:
    if isinstance(events, str):
        raise NateqValidationError(f'events= is a list of names, not one text: write events=["{events}"].')
    return [str(event) for event in events]


def _identity(entry: LogEntry) -> Identity:
    """Identify an attempt by its stable fields; by all of its fields if these are not enough."""
    key = (entry.id, entry.delivery_id, entry.attempt, entry.attempted_at)
    if entry.id or entry.attempted_at is not None:
        return Identity(key=key, time=entry.attempted_at)
    return Identity(key=(*key, entry.event, entry.status, entry.response_status, repr(entry.payload)))
