"""Which API key is used for which webhook. A key of Nateq's belongs to one organization (Nateq: authentication)."""

import os
from collections.abc import Iterable
from typing import Final

from django.db import router

from nateq_webhooks.conf import settings
from nateq_webhooks.models import Delivery, Webhook

API_KEY_VARIABLE: Final = "NATEQ_API_KEY"


class KeyName(str):
    """Says where a key is set, such as `API_KEYS["org_2"]`; never the key itself."""

    __slots__ = ()


def organization_of(webhook: Webhook) -> str:
    """Return the organization that a webhook belongs to: the one it is bound to, else that of its newest delivery.

    Empty while neither is known.
    """
    if webhook.organization_id:
        return webhook.organization_id
    mine = Delivery.objects.using(router.db_for_write(Delivery)).filter(webhook_id=webhook.pk)
    newest = mine.exclude(delivery_id__startswith="test_").order_by("-pk").values_list("organization_id", flat=True)
    return newest.first() or ""


def entry_of(webhook: Webhook) -> str:
    """Return the entry of `API_KEYS` for a webhook: by its name, else by its organization. Empty: there is none."""
    keys = settings().api_keys
    if webhook.name in keys:
        return webhook.name
    organization = organization_of(webhook) if keys else ""
    return organization if organization in keys else ""


def entries() -> list[str]:
    """Return every place a key is configured in, an entry of `API_KEYS` or "" for `API_KEY`; one for each key."""
    found: dict[str, str] = {}
    for entry in ("", *settings().api_keys):
        if key := key_at(entry):
            found.setdefault(key, entry)
    return list(found.values())


def key_at(entry: str) -> str:
    """Return the key of an entry of `API_KEYS`; for "" that of `API_KEY`, else the environment's. Empty: none."""
    if entry:
        return settings().api_keys[entry]
    return settings().api_key or os.environ.get(API_KEY_VARIABLE, "")


def place_of(entry: str) -> KeyName:
    """Return how a message names the key of an entry."""
    return KeyName(f'API_KEYS["{entry}"]' if entry else "API_KEY")


def organizations_of(webhooks: Iterable[Webhook]) -> set[str]:
    """Return the organizations that these webhooks are known to belong to."""
    return {organization_of(webhook) for webhook in webhooks} - {""}
