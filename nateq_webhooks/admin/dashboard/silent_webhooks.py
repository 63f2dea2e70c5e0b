"""Silent webhooks: they used to get deliveries, but got none for a long time by their own pace."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nateq_webhooks.admin.dashboard.statistics import Activity, Statistics
from nateq_webhooks.models import Webhook

MIN_SILENCE: Final = timedelta(hours=1)
"""A shorter silence is never reported: it is normal."""

INTERVAL_FACTOR: Final = 10
"""A silence is long if it lasts this many times the mean time between two deliveries."""

DEFAULT_LIMIT: Final = timedelta(days=7)
"""How long a silence is long for a webhook without a known pace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentWebhook:
    """A webhook that is expected to have got a delivery by now."""

    webhook_id: uuid.UUID
    name: str
    last: datetime
    "When the newest delivery came."
    pace: timedelta | None
    "The mean time between two deliveries; None if there were too few."


def find_silent(statistics: Statistics, webhooks: Iterable[Webhook]) -> list[SilentWebhook]:
    """Return the active webhooks that are silent, the longest silence first."""
    found = [
        SilentWebhook(webhook_id=webhook.pk, name=webhook.name, last=activity.last, pace=activity.pace)
        for webhook in webhooks
        if webhook.is_active and (activity := statistics.activities.get(webhook.pk)) is not None
        if statistics.now - activity.last > _limit(activity)
    ]
    return sorted(found, key=lambda webhook: webhook.last)


def _limit(activity: Activity) -> timedelta:
    """Return how long a silence is usual: a shop without deliveries at night is not silent in the morning."""
    if activity.pace is None:
        return DEFAULT_LIMIT
    return max(MIN_SILENCE, INTERVAL_FACTOR * activity.pace, activity.longest_pause)
