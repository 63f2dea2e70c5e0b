"""Parse the API's JSON into values, in any shape that it is known to come in (ours: docs/reference/protocol.md).

Wrapped in `{"success", "data", "meta"}` or not, snake_case or camelCase, a list itself or under a name.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

from nateq_webhooks.client.values import CreatedWebhook, EventType, LogEntry, NewSecret, RemoteWebhook
from nateq_webhooks.protocol.secret_text import SECRET_PREFIX, SecretText

MAX_DEPTH: Final = 8
"""How deep a list of events may be nested; groups of groups need less."""

_SECRET_NAMES: Final = ("secret", "signing_secret")

_SECRET_KEYS: Final = frozenset((*_SECRET_NAMES, "signingSecret"))

T = TypeVar("T")


class UnreadableError(Exception):
    """A document lacks something required; the text continues a sentence after a colon."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultPage(Generic[T]):
    """One page of a list. `total` counts the whole list; None, like `next_cursor`, if the server does not send it."""

    items: tuple[T, ...]
    total: int | None
    next_cursor: str | None


def hide_secrets(item: dict[str, Any]) -> dict[str, Any]:
    """Replace the secrets in a parsed object by text that does not print itself; an `object_hook` for json."""
    for name, value in item.items():
        if isinstance(value, str) and (name in _SECRET_KEYS or value.startswith(SECRET_PREFIX)):
            item[name] = SecretText(value)
    return item


def remote_webhook(document: Any) -> RemoteWebhook:
    """Parse one webhook."""
    return RemoteWebhook(**_webhook_fields(_object(document)))


def created_webhook(document: Any) -> CreatedWebhook:
    """Parse a webhook that was just created, with its secret."""
    source = _object(document)
    return CreatedWebhook(**_webhook_fields(source), secret=SecretText(_text(source, *_SECRET_NAMES)) or None)


def changed_webhook(document: Any) -> RemoteWebhook | None:
    """Parse the answer to a change; None if it has no webhook in it."""
    data = _data(document)
    return remote_webhook(document) if isinstance(data, Mapping) and {"id", "webhook"} & data.keys() else None


def new_secret(document: Any, webhook_id: str) -> NewSecret:
    """Parse the secret after a rotation: in an object, or as text."""
    data = _data(document)
    secret = SecretText(data if isinstance(data, str) else _text(_object(document), *_SECRET_NAMES))
    if not secret:
        raise UnreadableError("it has no secret")
    return NewSecret(webhook_id=webhook_id, secret=secret)


def nothing(document: Any) -> None:
    """Ignore the body of an answer whose status says everything."""


def webhook_page(document: Any) -> ResultPage[RemoteWebhook]:
    """Parse a page of the webhooks."""
    items = tuple(RemoteWebhook(**_webhook_fields(_object(item))) for item in _items(document, "webhooks"))
    return _page(document, items)


def log_page(document: Any) -> ResultPage[LogEntry]:
    """Parse a page of a webhook's delivery log."""
    items = tuple(_log_entry(item) for item in _items(document, "logs"))
    return _page(document, items)


def event_types(document: Any) -> list[EventType]:
    """Parse the list of events: objects, names, `{"events": [...]}`, or either of them in groups by resource."""
    data = _data(document)
    if not isinstance(data, list | Mapping | None):
        raise UnreadableError("it has no list of events")
    found: dict[str, EventType] = {}
    for event_type in _event_types(data, group="", depth=0):
        found.setdefault(event_type.name, event_type)
    return list(found.values())


def _data(document: Any) -> Any:
    """Return what is in the wrapper, or the document if it has none."""
    if isinstance(document, Mapping) and "data" in document:
        return document["data"]
    return document


def _meta(document: Any) -> Mapping[str, Any]:
    """Return the properties of a list: from `meta`, or from beside the list if it is not wrapped."""
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
    """Return the list of a document: the document, under `name`, or the only list in it. Null is an empty list."""
    data = _data(document)
    if isinstance(data, Mapping):
        lists = [value for value in data.values() if isinstance(value, list)]
        data = data[name] if name in data else lists[0] if len(lists) == 1 else data
    if data is None:
        return []
    if not isinstance(data, list):
        raise UnreadableError(f"it has no list of {name}")
    return data


def _page(document: Any, items: tuple[T, ...]) -> ResultPage[T]:
    meta = _meta(document)
    cursor = _text(meta, "next_cursor")
    return ResultPage(items=items, total=_integer(meta, "total"), next_cursor=cursor or None)


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
        "created_at": _time(source, "created_at"),
    }


def _log_entry(item: Any) -> LogEntry:
    if not isinstance(item, Mapping):
        raise UnreadableError("an entry of the log is not an object")
    duration = _pick(item, "duration_ms")
    body = _pick(item, "response_body")
    return LogEntry(
        id=_text(item, "id"),
        delivery_id=_text(item, "delivery_id"),
        event=_text(item, "event"),
        attempt=_integer(item, "attempt"),
        status=_text(item, "status"),
        response_status=_integer(item, "response_status"),
        response_body=body if isinstance(body, str | None) else json.dumps(body),
        duration_ms=duration if isinstance(duration, int | float) and not isinstance(duration, bool) else None,
        attempted_at=_time(item, "attempted_at"),
        next_attempt_at=_time(item, "next_attempt_at"),
        payload=_pick(item, "payload"),
    )


def _event_types(data: Any, *, group: str, depth: int) -> Iterator[EventType]:
    """Yield the events of a list in any of its shapes. `group` is the resource that they belong to."""
    if depth > MAX_DEPTH:
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
    """Yield the events of an object whose keys are names of events, or of resources."""
    for key, value in data.items():
        if isinstance(value, str):
            if group or "." in key:  # another key is a property of the list
                yield _event_type(key, group, value)
        elif isinstance(value, Mapping) and ("." in key or "description" in value):
            yield _event_type(key, group, _text(value, "description"))
        else:
            yield from _event_types(value, group=key, depth=depth + 1)


def _event_type(name: str, group: str, description: str) -> EventType:
    """Build an event; in a group its name may be only the second half (`created` in `ticket`)."""
    return EventType(name=f"{group}.{name}" if group and "." not in name else name, description=description)


def _pick(source: Mapping[str, Any], *names: str) -> Any:
    """Return the first of `names` that is present and not null, in snake_case or camelCase."""
    for name in names:
        first, *rest = name.split("_")
        for spelling in (name, first + "".join(part.capitalize() for part in rest)):
            if source.get(spelling) is not None:
                return source[spelling]
    return None


def _text(source: Mapping[str, Any], *names: str) -> str:
    """Return a text; an integer is converted, as ids may be integers."""
    value = _pick(source, *names)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""


def _integer(source: Mapping[str, Any], name: str) -> int | None:
    value = _pick(source, name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(source: Mapping[str, Any], name: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(_text(source, name))
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
