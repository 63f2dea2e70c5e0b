"""Silent webhooks: they used to get deliveries, but got none for a long time by their own pace."""

import itertools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nateq_webhooks.admin.dashboard.statistics import HourlyCount, Statistics
from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope
from nateq_webhooks.models import Delivery, Webhook

MIN_SILENCE: Final = timedelta(hours=1)
"""A shorter silence is never reported: it is normal."""

INTERVAL_FACTOR: Final = 10
"""A silence is long if it lasts this many times the mean time between two deliveries."""

MIN_DELIVERIES: Final = 5
"""The number of deliveries from which a pace can be computed."""

MIN_PERIOD: Final = timedelta(hours=6)
"""The time over which they must have come: a burst has no pace."""

DEFAULT_LIMIT: Final = timedelta(days=7)
"""How long a silence is long for a webhook without a known pace."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SilentWebhook:
    """A webhook that is expected to have got a delivery by now."""

    webhook_id: uuid.UUID
    name: str
    last: datetime
    "When the newest delivery came; if `is_older`, it came before that."
    is_older: bool
    pace: timedelta | None
    "The mean time between two deliveries; None if there were too few."


def find_silent(statistics: Statistics, webhooks: Iterable[Webhook], among: RowScope = ALL_ROWS) -> list[SilentWebhook]:
    """Return the active webhooks that are silent, the longest silence first. At most one query for each."""
    active = [webhook for webhook in webhooks if webhook.is_active]
    counts = statistics.counts_by_webhook
    not_counted = [webhook for webhook in active if webhook.pk not in counts]
    found = [_silent_webhook(statistics, webhook, counts[webhook.pk]) for webhook in active if webhook.pk in counts]
    found += _with_older_deliveries(statistics, not_counted, among)
    return sorted((each for each in found if each is not None), key=lambda webhook: webhook.last)


def _silent_webhook(statistics: Statistics, webhook: Webhook, counts: Sequence[HourlyCount]) -> SilentWebhook | None:
    """Return the silence of a webhook with deliveries among those counted, if it is long."""
    first, last = min(count.first for count in counts), max(count.last for count in counts)
    number = sum(count.number for count in counts)
    pace, limit = None, DEFAULT_LIMIT
    if number >= MIN_DELIVERIES and last - first >= MIN_PERIOD:
        pace = (last - first) / (number - 1)
        limit = max(MIN_SILENCE, INTERVAL_FACTOR * pace, _longest_pause(statistics, counts))
    if statistics.now - last <= limit:
        return None
    return SilentWebhook(webhook_id=webhook.pk, name=webhook.name, last=last, is_older=False, pace=pace)


def _longest_pause(statistics: Statistics, counts: Sequence[HourlyCount]) -> timedelta:
    """Return the longest time between two hours with deliveries: a shop without deliveries at night is not silent."""
    hours = sorted({count.hour for count in counts if count.hour >= statistics.hours[0]})
    return max((later - earlier for earlier, later in itertools.pairwise(hours)), default=timedelta())


def _with_older_deliveries(
    statistics: Statistics, not_counted: Sequence[Webhook], among: RowScope
) -> list[SilentWebhook]:
    """Return the webhooks that only have deliveries older than those counted."""
    since = statistics.counted_after
    if not not_counted or since is None or statistics.now - since <= DEFAULT_LIMIT:
        return []
    used = [webhook for webhook in not_counted if among.of(Delivery).filter(webhook=webhook).exists()]
    return [
        SilentWebhook(webhook_id=webhook.pk, name=webhook.name, last=since, is_older=True, pace=None)
        for webhook in used
    ]
