"""Checks of the API keys: one that fits no webhook may be mistyped or no longer needed."""

import difflib
from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import Error, router

from nateq_webhooks import conf
from nateq_webhooks.models import Delivery, Webhook

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks", checks.Tags.database)
def check_api_keys(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report entries of `API_KEYS` that fit no webhook: neither its name nor its organization.

    Silent if tables are missing or there is no webhook yet: a key may be set before the first one is created.
    """
    alias = router.db_for_write(Webhook)
    if alias not in (databases or ()) or list(conf.problems()):
        return []
    entries = list(conf.settings().api_keys)
    try:
        known = _names(alias) if entries else set()
        unused = [entry for entry in entries if known and entry not in known and not _is_seen(entry)]
    except Error:
        return []
    return [
        checks.Warning(
            f'NATEQ_WEBHOOKS["API_KEYS"] has a key for {entry!r}, which is not a name or organization of a webhook.',
            hint=_hint(entry, known),
            id=f"{_PREFIX}.W030",
        )
        for entry in unused
    ]


def _names(alias: str) -> set[str]:
    rows = Webhook.objects.using(alias).values_list("name", "organization_id")
    return {text for row in rows for text in row if text}


def _is_seen(organization: str) -> bool:
    """Return whether a delivery of the organization was received."""
    deliveries = Delivery.objects.using(router.db_for_write(Delivery))
    return deliveries.filter(organization_id=organization).exists()


def _hint(entry: str, known: set[str]) -> str:
    close = difflib.get_close_matches(entry, known, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return "Use the name of a webhook, or the organization that it is bound to or has received deliveries of."
