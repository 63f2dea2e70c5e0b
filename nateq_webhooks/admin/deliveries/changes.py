"""What changed since the previous delivery of the same resource: the two payloads, value by value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from django.db.models import Q

from nateq_webhooks.admin.deliveries import payload, tree
from nateq_webhooks.admin.permissions import PermittedRows
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.redaction import shown_body
from nateq_webhooks.protocol.verbatim import Members

MAX_LOOKED_AT: Final = 500
"""Rows read for a resource id: other organizations and families of events may use the same id."""

MAX_BYTES: Final = 512 * 1024
"""Larger payloads are not compared: both are parsed for each page."""

MAX_CHANGES: Final = 50
"""Changes that are shown."""

MAX_TEXT: Final = 300
"""Characters shown of a value."""

_IN_EACH: Final = ("metadata", "timestamp")
"""What differs in each delivery, and is left out."""

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Change:
    """A value that was added, removed or changed. `before` and `after` are empty where there is none."""

    kind: str
    "`added`, `removed` or `changed`."
    path: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Changes:
    """The first changes since the previous delivery."""

    previous: Delivery
    changes: Sequence[Change]
    has_more: bool


def changes_since_previous(delivery: Delivery, document: Any, permitted: PermittedRows) -> Changes | None:
    """Return what changed; None if no earlier delivery can be compared, or the user may not see it.

    `document` is the payload of `delivery`.
    """
    if document is None or len(delivery.body) > MAX_BYTES:
        return None
    previous = previous_of(delivery, permitted)
    if previous is None or not permitted.may_view(Delivery, previous) or len(previous.body) > MAX_BYTES:
        return None
    former = payload.document(shown_body(previous.body))
    if former is None:
        return None
    found = list(islice(compare(former, document), MAX_CHANGES + 1))
    return Changes(previous, found[:MAX_CHANGES], has_more=len(found) > MAX_CHANGES)


def previous_of(delivery: Delivery, permitted: PermittedRows) -> Delivery | None:
    """Return the delivery before this one about the same resource, of the same webhook and organization."""
    if not delivery.resource_id or delivery.timestamp is None:
        return None
    rows = permitted.of(Delivery).select_related(None)
    is_earlier = Q(timestamp__lt=delivery.timestamp) | Q(timestamp=delivery.timestamp, pk__lt=delivery.pk)
    earlier = rows.filter(is_earlier, resource_id=delivery.resource_id, timestamp__lte=delivery.timestamp)
    wanted = (delivery.webhook_id, delivery.resource, delivery.organization_id)
    columns = earlier.order_by("-timestamp", "-pk").values_list("pk", "webhook_id", "resource", "organization_id")
    # Filtered here: a query would read on until it finds one.
    pk = next((pk for pk, *same in columns[:MAX_LOOKED_AT] if tuple(same) == wanted), None)
    return None if pk is None else rows.defer("payload", "headers").filter(pk=pk).first()


def compare(former: Any, latter: Any) -> Iterator[Change]:
    """Yield the values that differ, in the order of the latter document, without what differs in each delivery."""
    yield from _compare(_without(former), _without(latter), "")


def _without(document: Any) -> Any:
    if not isinstance(document, Members):
        return document
    return tuple((key, value) for key, value in document if key not in _IN_EACH)


def _compare(former: Any, latter: Any, path: str) -> Iterator[Change]:
    if _is_equal(former, latter):
        return
    olds, news = _children(former), _children(latter)
    if olds is None and news is None:
        yield _change(former, latter, path)
        return
    if former is not _ABSENT and latter is not _ABSENT and type(former) is not type(latter):
        yield from _compare(former, _ABSENT, path)
        yield from _compare(_ABSENT, latter, path)
        return
    olds, news = olds or {}, news or {}
    for key in [*news, *(key for key in olds if key not in news)]:
        yield from _compare(olds.get(key, _ABSENT), news.get(key, _ABSENT), _joined(path, key))


def _is_equal(former: Any, latter: Any) -> bool:
    return former is latter or (type(former) is type(latter) and bool(former == latter))


def _children(value: Any) -> Mapping[str, Any] | None:
    """Return the children of a container by their labels, the last one of a doubled key; None for an empty one."""
    if not tree.is_container(value) or not value:
        return None
    if isinstance(value, Members):
        return {tree.key_text(key): child for key, child in value}
    return {f"[{index}]": child for index, child in enumerate(value)}


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path and not key.startswith("[") else f"{path}{key}"


def _change(former: Any, latter: Any, path: str) -> Change:
    kind = "added" if former is _ABSENT else "removed" if latter is _ABSENT else "changed"
    return Change(kind, path, _text(former), _text(latter))


def _text(value: Any) -> str:
    if value is _ABSENT:
        return ""
    if tree.is_container(value):
        return "{}" if isinstance(value, Members) else "[]"
    return tree.value_text(value, 0, MAX_TEXT)
