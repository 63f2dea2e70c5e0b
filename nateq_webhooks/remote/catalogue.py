"""Which events exist, at Nateq and in this version; which are subscribed to, and which have a receiver."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nateq_webhooks.errors import NateqNotOfferedError
from nateq_webhooks.models import EventType, Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.receivers import ANY_EVENT, registry
from nateq_webhooks.remote.claim import alias

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


@dataclass(frozen=True, kw_only=True, slots=True)
class Catalogue:
    """Nateq's list of events (name and description) compared with the built-in one. `new` and `gone` are names."""

    live: dict[str, str]
    new: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Names of events: those subscribed to, and where subscriptions and receivers differ.

    `has_catch_all` says that a receiver of every event is connected: then no event is without a receiver.
    """

    subscribed: tuple[str, ...]
    without_receivers: tuple[str, ...]
    unsubscribed: tuple[str, ...]
    has_catch_all: bool


def catalogue(client: "NateqClient") -> Catalogue:
    """Fetch Nateq's list of events, store it, and compare it with the built-in one. Raises `ApiError`."""
    live = {event.name: event.description for event in client.webhooks.events()}
    EventType.objects.using(alias()).remember(live)
    return Catalogue(
        live=live,
        new=tuple(name for name in live if name not in EVENTS),
        gone=tuple(name for name in EVENTS if name not in live),
    )


def coverage(live: Iterable[str]) -> Coverage:
    """Compare what this site's active webhooks subscribe to with the receivers that are connected in this process."""
    subscribed = _subscribed(live)
    connected = registry.events()
    has_catch_all = ANY_EVENT in connected
    return Coverage(
        subscribed=tuple(subscribed),
        without_receivers=() if has_catch_all else tuple(name for name in subscribed if name not in connected),
        unsubscribed=tuple(sorted(connected - {ANY_EVENT} - set(subscribed))),
        has_catch_all=has_catch_all,
    )


def wanted_events(client: "NateqClient", webhook: Webhook) -> list[str]:
    """Return the names that a webhook subscribes to; every known one if it lists none. Raises `ApiError`."""
    return list(webhook.events) or every_event(client)


def every_event(client: "NateqClient") -> list[str]:
    """Return Nateq's list of events, or the built-in one if the server does not offer its own. Raises `ApiError`."""
    try:
        return [event.name for event in client.webhooks.events()] or list(EVENTS)
    except NateqNotOfferedError:
        return list(EVENTS)


def _subscribed(live: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for names in Webhook.objects.using(alias()).filter(is_active=True).values_list("events", flat=True):
        found |= dict.fromkeys(names or live)
    return list(found)
