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

LEAST: Final = timedelta(hours=1)
"""A shorter silence is never reported: it is normal."""

TIMES_THE_PACE: Final = 10
"""A silence is long if it lasts this many times the mean time between two deliveries."""

FEWEST: Final = 5
"""The number of deliveries from which a pace can be computed."""

SHORTEST: Final = timedelta(hours=6)
"""The time over which they must have come: a burst has no pace."""

UNKNOWN_PACE: Final = timedelta(days=7)
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


def silences(survey: Statistics, webhooks: Iterable[Webhook], among: RowScope = ALL_ROWS) -> list[SilentWebhook]:
    """Return the active webhooks that are silent, the longest silence first. At most one query for each."""
    active = [webhook for webhook in webhooks if webhook.is_active]
    shares = survey.of_webhook
    unseen = [webhook for webhook in active if webhook.pk not in shares]
    found = [_of(survey, webhook, shares[webhook.pk]) for webhook in active if webhook.pk in shares]
    found += _long_gone(survey, unseen, among)
    return sorted((each for each in found if each is not None), key=lambda silence: silence.last)


def _of(survey: Statistics, webhook: Webhook, shares: Sequence[HourlyCount]) -> SilentWebhook | None:
    """Return the silence of a webhook with deliveries among those counted, if it is long."""
    first, last = min(share.first for share in shares), max(share.last for share in shares)
    number = sum(share.number for share in shares)
    pace, patience = None, UNKNOWN_PACE
    if number >= FEWEST and last - first >= SHORTEST:
        pace = (last - first) / (number - 1)
        patience = max(LEAST, TIMES_THE_PACE * pace, _longest_pause(survey, shares))
    if survey.now - last <= patience:
        return None
    return SilentWebhook(webhook_id=webhook.pk, name=webhook.name, last=last, is_older=False, pace=pace)


def _longest_pause(survey: Statistics, shares: Sequence[HourlyCount]) -> timedelta:
    """Return the longest time between two hours with deliveries: a shop without deliveries at night is not silent."""
    hours = sorted({share.hour for share in shares if share.hour >= survey.hours[0]})
    return max((later - earlier for earlier, later in itertools.pairwise(hours)), default=timedelta())


def _long_gone(survey: Statistics, unseen: Sequence[Webhook], among: RowScope) -> list[SilentWebhook]:
    """Return the webhooks that only have deliveries older than those counted."""
    since = survey.seen_from
    if not unseen or since is None or survey.now - since <= UNKNOWN_PACE:
        return []
    used = [webhook for webhook in unseen if among.of(Delivery).filter(webhook=webhook).exists()]
    return [
        SilentWebhook(webhook_id=webhook.pk, name=webhook.name, last=since, is_older=True, pace=None)
        for webhook in used
    ]
