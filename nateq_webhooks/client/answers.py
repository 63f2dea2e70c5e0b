"""From the API's JSON to values, whatever shape it comes in (ours: docs/reference/protocol.md).

Wrapped in `{"success", "data", "meta"}` or bare, snake_case or camelCase, lists as such or under a name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from nateq_webhooks.client.values import CreatedWebhook, EventType, LogEntry, NewSecret, RemoteWebhook
from nateq_webhooks.protocol.secret_text import SECRET_PREFIX, SecretText

DEEPEST: Final = 8
"""Nesting of a list of events that is followed; groups of groups end well before."""

_SECRET_NAMES: Final = ("secret", "signing_secret")

_SECRET_KEYS: Final = frozenset((*_SECRET_NAMES, "signingSecret"))

T = TypeVar("T")


class UnreadableError(Exception):
    """A document lacks what it must have; the text goes on in a sentence after a colon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `total` counts the whole list; None, like `next_cursor`, when the server does not say."""

    items: tuple[T, ...]
    total: int | None
    next_cursor: str | None


def hide_secrets(item: dict[str, Any]) -> dict[str, Any]:
    """Have the secrets in an object of an answer not print themselves; for each object, as it is parsed."""
    for name, value in item.items():
        if isinstance(value, str) and (name in _SECRET_KEYS or value.startswith(SECRET_PREFIX)):
            item[name] = SecretText(value)
    return item


def webhook(document: Any) -> RemoteWebhook:
    """Read one webhook."""
    return RemoteWebhook(**_webhook_fields(_object(document)))


def created_webhook(document: Any) -> CreatedWebhook:
    """Read the webhook that was just made, with its secret."""
    source = _object(document)
    return CreatedWebhook(**_webhook_fields(source), secret=SecretText(_text(source, *_SECRET_NAMES)) or None)


def changed_webhook(document: Any) -> RemoteWebhook | None:
    """Read what a change answers with; None where that is nothing, or no more than a success."""
    data = _data(document)
    return webhook(document) if isinstance(data, Mapping) and {"id", "webhook"} & data.keys() else None


def new_secret(document: Any, webhook_id: str) -> NewSecret:
    """Read the secret after a rotation: in an object, or the bare text."""
    data = _data(document)
    secret = SecretText(data if isinstance(data, str) else _text(_object(document), *_SECRET_NAMES))
    if not secret:
        raise UnreadableError("it has no secret")
    return NewSecret(webhook_id=webhook_id, secret=secret)


def nothing(document: Any) -> None:
    """Read an answer that has nothing to say but its status."""


def webhook_page(document: Any) -> Page[RemoteWebhook]:
    """Read a page of the webhooks."""
    items = tuple(RemoteWebhook(**_webhook_fields(_object(item))) for item in _items(document, "webhooks"))
    return _page(document, items)


def log_page(document: Any) -> Page[LogEntry]:
    """Read a page of a webhook's delivery log."""
    items = tuple(_log_entry(item) for item in _items(document, "logs"))
    return _page(document, items)


def event_types(document: Any) -> list[EventType]:
    """Read the catalogue: objects, names, `{"events": [...]}`, or either of them in groups by resource."""
    data = _data(document)
    if not isinstance(data, list | Mapping | None):
        raise UnreadableError("it has no list of events")
    found: dict[str, EventType] = {}
    for event_type in _event_types(data, group="", depth=0):
        found.setdefault(event_type.name, event_type)
    return list(found.values())


def _data(document: Any) -> Any:
    """Take the wrapper off, where there is one."""
    if isinstance(document, Mapping) and "data" in document:
        return document["data"]
    return document


def _meta(document: Any) -> Mapping[str, Any]:
    """Return what is said about a list: in `meta`, or beside the list where the resource comes bare."""
    data = _data(document)
    meta = document.get("meta") if isinstance(document, Mapping) else None
    return {**(data if isinstance(data, Mapping) else {}), **(meta if isinstance(meta, Mapping) else {})}


def _object(document: Any) -> Mapping[str, Any]:
    data = _data(document)
    if not isinstance(data, Mapping):
        raise UnreadableError("an object was expected")
    inner = data.get("webhook")
    return {**data, **inner} if isinstance(inner, Mapping) else data


def _items(document: Any, name: str) -> list[Any]:
    """Return the list of a document: bare, under its name, or the only one there is. Null is an empty list."""
    data = _data(document)
    if isinstance(data, Mapping):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = data[name] if name in data else lists[0] if len(lists) == 1 else data
    if data is None:
        return []
    if not isinstance(data, list):
        raise UnreadableError(f"it has no list of {name}")
    return data


def _page(document: Any, items: tuple[T, ...]) -> Page[T]:
    meta = _meta(document)
    cursor = _text(meta, "next_cursor")
    return Page(items=items, total=_whole(meta, "total"), next_cursor=cursor or None)


def _webhook_fields(source: Mapping[str, Any]) -> dict[str, Any]:
    identifier = _text(source, "id")
    if not identifier:
        raise UnreadableError("a webhook in it has no id")
    is_active = _pick(source, "is_active")
    return {
        "id": identifier,
        "url": _text(source, "url"),
        "events": tuple(dict.fromkeys(found.name for found in _event_types(source.get("events"), group="", depth=0))),
        "is_active": is_active if isinstance(is_active, bool) else None,
        "created_at": _moment(source, "created_at"),
    }


def _log_entry(item: Any) -> LogEntry:
    if not isinstance(item, Mapping):
        raise UnreadableError("an entry of the log is no object")
    duration = _pick(item, "duration_ms")
    body = _pick(item, "response_body")
    return LogEntry(
        id=_text(item, "id"),
        delivery_id=_text(item, "delivery_id"),
        event=_text(item, "event"),
        attempt=_whole(item, "attempt"),
        status=_text(item, "status"),
        response_status=_whole(item, "response_status"),
        response_body=body if isinstance(body, str | None) else json.dumps(body),
        duration_ms=duration if isinstance(duration, int | float) and not isinstance(duration, bool) else None,
        attempted_at=_moment(item, "attempted_at"),
        next_attempt_at=_moment(item, "next_attempt_at"),
        payload=_pick(item, "payload"),
    )


def _event_types(data: Any, *, group: str, depth: int) -> Iterator[EventType]:
    """Walk whatever a server lists its events in. `group` is the resource that they stand under."""
    if depth > DEEPEST:
        return
    if isinstance(data, str):
        yield _event_type(data, group, "")
    elif isinstance(data, list):
        for item in data:
            yield from _event_types(item, group=group, depth=depth + 1)
    elif isinstance(data, Mapping):
        name = _text(data, "name", "event", "type", "key", "id")
        if "events" in data:
            group = _text(data, "resource", "group") or name or group
            yield from _event_types(data["events"], group=group, depth=depth + 1)
        elif name:
            yield _event_type(name, group, _text(data, "description"))
        else:
            yield from _named_event_types(data, group=group, depth=depth)


def _named_event_types(data: Mapping[str, Any], *, group: str, depth: int) -> Iterator[EventType]:
    """Walk an object whose keys are names: of events, with their description, or of resources."""
    for key, value in data.items():
        if isinstance(value, str):
            if group or "." in key:  # another key names no event: it says something about the list
                yield _event_type(key, group, value)
        elif isinstance(value, Mapping) and ("." in key or "description" in value):
            yield _event_type(key, group, _text(value, "description"))
        else:
            yield from _event_types(value, group=key, depth=depth + 1)


def _event_type(name: str, group: str, description: str) -> EventType:
    """Build an event; in a group its name may be the second half only (`created` in `ticket`)."""
    return EventType(name=f"{group}.{name}" if group and "." not in name else name, description=description)


def _pick(source: Mapping[str, Any], *names: str) -> Any:
    """Return the first of `names` that is there and not null, in snake_case or camelCase."""
    for name in names:
        first, *rest = name.split("_")
        for spelling in (name, first + "".join(part.capitalize() for part in rest)):
            if source.get(spelling) is not None:
                return source[spelling]
    return None


def _text(source: Mapping[str, Any], *names: str) -> str:
    """Return a text; an integer counts as one, as an id may be."""
    value = _pick(source, *names)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _whole(source: Mapping[str, Any], name: str) -> int | None:
    value = _pick(source, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(source: Mapping[str, Any], name: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(_text(source, name))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
