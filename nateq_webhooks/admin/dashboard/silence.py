"""Webhooks that have gone silent: they used to get deliveries, and got none for long by their own pace."""

import itertools
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from nateq_webhooks.admin.dashboard.statistics import Share, Survey
from nateq_webhooks.admin.permissions import ALL_ROWS, Among
from nateq_webhooks.models import Delivery, Webhook

LEAST: Final = timedelta(hours=1)
"""A shorter silence is never told: senders pause for a moment."""

TIMES_THE_PACE: Final = 10
"""A silence is long when it lasts so many times the mean time between two deliveries, or longer."""

FEWEST: Final = 5
"""Deliveries that it takes to speak of a pace."""

SHORTEST: Final = timedelta(hours=6)
"""The time over which they must have come: a burst is no pace."""

UNKNOWN_PACE: Final = timedelta(days=7)
"""When the silence of a webhook whose pace is not known is long."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Silence:
    """A webhook that should have got a delivery by now."""

    webhook_id: uuid.UUID
    name: str
    last: datetime
    "When the newest delivery came, or with `is_older` that none came since."
    is_older: bool
    pace: timedelta | None
    "The mean time between two deliveries; None when there were too few to tell."


def silences(survey: Survey, webhooks: Iterable[Webhook], among: Among = ALL_ROWS) -> list[Silence]:
    """Return the active webhooks that have gone silent, the longest silence first. At most one statement."""
    active = [webhook for webhook in webhooks if webhook.is_active]
    shares = survey.of_webhook
    unseen = [webhook for webhook in active if webhook.pk not in shares]
    found = [_of(survey, webhook, shares[webhook.pk]) for webhook in active if webhook.pk in shares]
    found += _long_gone(survey, unseen, among)
    return sorted((each for each in found if each is not None), key=lambda silence: silence.last)


def _of(survey: Survey, webhook: Webhook, shares: Sequence[Share]) -> Silence | None:
    """Return the silence of a webhook with deliveries among those looked at, if it is a long one."""
    first, last = min(share.first for share in shares), max(share.last for share in shares)
    number = sum(share.number for share in shares)
    pace, patience = None, UNKNOWN_PACE
    if number >= FEWEST and last - first >= SHORTEST:
        pace = (last - first) / (number - 1)
        patience = max(LEAST, TIMES_THE_PACE * pace, _longest_pause(survey, shares))
    if survey.now - last <= patience:
        return None
    return Silence(webhook_id=webhook.pk, name=webhook.name, last=last, is_older=False, pace=pace)


def _longest_pause(survey: Survey, shares: Sequence[Share]) -> timedelta:
    """Return the longest time between two hours with deliveries: a shop that sleeps at night is not silent then."""
    hours = sorted({share.hour for share in shares if share.hour >= survey.hours[0]})
    return max((later - earlier for earlier, later in itertools.pairwise(hours)), default=timedelta())


def _long_gone(survey: Survey, unseen: Sequence[Webhook], among: Among) -> list[Silence]:
    """Return the webhooks that only have deliveries older than those counted."""
    since = survey.seen_from
    if not unseen or since is None or survey.now - since <= UNKNOWN_PACE:
        return []
    used = [webhook for webhook in unseen if among.of(Delivery).filter(webhook=webhook).exists()]
    return [Silence(webhook_id=webhook.pk, name=webhook.name, last=since, is_older=True, pace=None) for webhook in used]
