"""Which events there are, at Nateq and in this version; which are subscribed to, and which have a receiver."""

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
    """The live list (name and description) beside the built-in one. `new` and `gone` are names."""

    live: dict[str, str]
    new: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Coverage:
    """Names of events: which a webhook subscribes to, which have a receiver of their own, and where that differs.

    `has_catch_all` says that a receiver of every event is connected: then nothing subscribed to goes unheard.
    """

    subscribed: tuple[str, ...]
    unheard: tuple[str, ...]
    unsubscribed: tuple[str, ...]
    has_catch_all: bool


def catalogue(client: "NateqClient") -> Catalogue:
    """Read the live catalogue, compare it with the built-in one, and keep what is new. Raises `ApiError`."""
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
    heard = registry.events()
    has_catch_all = ANY_EVENT in heard
    return Coverage(
        subscribed=tuple(subscribed),
        unheard=() if has_catch_all else tuple(name for name in subscribed if name not in heard),
        unsubscribed=tuple(sorted(heard - {ANY_EVENT} - set(subscribed))),
        has_catch_all=has_catch_all,
    )


def wanted_events(client: "NateqClient", webhook: Webhook) -> list[str]:
    """Return the names that Nateq shall send: the webhook's, or every one there is. Raises `ApiError`."""
    return list(webhook.events) or every_event(client)


def every_event(client: "NateqClient") -> list[str]:
    """Return the live names, the built-in ones where the list is not offered. Raises `ApiError`."""
    try:
        return [event.name for event in client.webhooks.events()] or list(EVENTS)
    except NateqNotOfferedError:
        return list(EVENTS)


def _subscribed(live: Iterable[str]) -> list[str]:
    found: dict[str, None] = {}
    for names in Webhook.objects.using(alias()).filter(is_active=True).values_list("events", flat=True):
        found |= dict.fromkeys(names or live)
    return list(found)
