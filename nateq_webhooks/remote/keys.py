"""Which API key is used for which webhook. A key of Nateq's belongs to one organization (Nateq: authentication)."""

import os
from collections.abc import Iterable
from typing import Final

from django.db import router

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.former_secrets import TEST_ID_PREFIX
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol.api import API_KEY_VARIABLE

_MAX_IDS: Final = 500
"""Ids in one query, below SQLite's limit of parameters."""


class SettingName(str):
    """Where a key is set, such as `API_KEYS["org_2"]`; never the key itself."""

    __slots__ = ()


def organization_of(webhook: Webhook) -> str:
    """Return the organization that a webhook is bound to, else that of its newest delivery; empty if not known."""
    if webhook.organization_id:
        return webhook.organization_id
    deliveries = Delivery.objects.using(router.db_for_write(Delivery)).filter(webhook_id=webhook.pk)
    from_nateq = deliveries.exclude(delivery_id__startswith=TEST_ID_PREFIX).order_by("-pk")
    return from_nateq.values_list("organization_id", flat=True).first() or ""


def key_entry(webhook: Webhook) -> str:
    """Return the entry of `API_KEYS` for a webhook, by its name or else its organization; empty for `API_KEY`."""
    keys = settings().api_keys
    if webhook.name in keys:
        return webhook.name
    organization = organization_of(webhook) if keys else ""
    return organization if organization in keys else ""


def key_entries() -> list[str]:
    """Return an entry of `API_KEYS` (empty for `API_KEY`) for each different key that is configured."""
    found: dict[str, str] = {}
    for entry in ("", *settings().api_keys):
        if key := key_of_entry(entry):
            found.setdefault(key, entry)
    return list(found.values())


def key_of_entry(entry: str) -> str:
    """Return the key of an entry of `API_KEYS`; for an empty one `API_KEY`, else the environment's. Empty: none."""
    if entry:
        return settings().api_keys[entry]
    return settings().api_key or os.environ.get(API_KEY_VARIABLE, "")


def setting_name(entry: str) -> SettingName:
    """Return the name of the setting that holds the key of an entry, for messages."""
    return SettingName(f'API_KEYS["{entry}"]' if entry else "API_KEY")


def registered_among(remote_ids: Iterable[str]) -> list[Webhook]:
    """Return the webhooks of this site that are registered under one of these ids at Nateq."""
    ids = list(remote_ids)[:_MAX_IDS]
    webhooks = Webhook.objects.using(router.db_for_write(Webhook)).exclude(nateq_id="")
    return list(webhooks.filter(nateq_id__in=ids)) if ids else []


def known_organizations(webhooks: Iterable[Webhook]) -> set[str]:
    """Return the organizations of these webhooks, as far as they are known."""
    return {organization_of(webhook) for webhook in webhooks} - {""}
