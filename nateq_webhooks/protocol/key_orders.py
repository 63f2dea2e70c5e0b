"""The order in which a sender may have written the keys of a delivery that came in another order.

Something on the way that reads JSON and writes it again may sort the keys. The envelope's own order is Nateq's; what is
in `data` is not published, so its likely orders are tried, and every order of a few keys. Documents share their values.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any, Final

from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_data

MAX_PERMUTED: Final = 5
"""Keys of `data` whose every order is tried: 120 orders; six would be 720."""

MAX_DEPTH: Final = 32
"""Documents nested deeper are not sorted."""

_ENVELOPE: Final = ("event", "timestamp", "organization_id", "data", "metadata")
_METADATA: Final = ("delivery_id", "attempt", "version")


def likely_orders(document: Any) -> Iterator[Any]:
    """Yield the document with its keys in Nateq's order, sorted, or as in the example of its event."""
    if not isinstance(document, dict):
        return
    envelope = _as_published(document)
    yield envelope
    yield _sorted(document, 0)
    data, event = envelope.get("data"), envelope.get("event")
    if not isinstance(data, dict):
        return
    if isinstance(event, str) and event in EVENTS:
        yield envelope | {"data": _like(data, example_data(event))}
    yield envelope | {"data": _sorted(data, 0)}


def permuted_orders(document: Any) -> Iterator[Any]:
    """Yield the document in Nateq's order with those of its `data` in every order, if they are few."""
    data = document.get("data") if isinstance(document, dict) else None
    if not isinstance(data, dict) or len(data) > MAX_PERMUTED:
        return
    envelope = _as_published(document)
    for keys in itertools.permutations(data):
        yield envelope | {"data": _in_order(data, keys)}


def _as_published(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the envelope with its keys in the order of Nateq's page."""
    envelope = _in_order(document, _ENVELOPE)
    metadata = envelope.get("metadata")
    if isinstance(metadata, dict):
        envelope["metadata"] = _in_order(metadata, _METADATA)
    return envelope


def _in_order(source: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Return the mapping with these keys first."""
    return {key: source[key] for key in keys if key in source} | dict(source)


def _sorted(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        return value
    if isinstance(value, dict):
        return {key: _sorted(value[key], depth + 1) for key in sorted(value)}
    return [_sorted(item, depth + 1) for item in value] if isinstance(value, list) else value


def _like(value: Any, example: Any) -> Any:
    """Return the value with its keys ordered as in an example, at every level that both have."""
    if isinstance(value, dict) and isinstance(example, dict):
        ordered = _in_order(value, tuple(example))
        return {key: _like(item, example.get(key)) for key, item in ordered.items()}
    if isinstance(value, list) and isinstance(example, list) and example:
        return [_like(item, example[0]) for item in value]
    return value
