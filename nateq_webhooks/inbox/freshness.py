"""Protection against replays that outlives the stored deliveries: a new delivery must have a recent timestamp.

A repetition of a stored delivery runs no receiver, however old it is. But a delivery that was removed may be forgotten
one day, and then somebody who has a copy of the signed request could have its receivers run again.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import connections, router

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.outages import as_store_error
from nateq_webhooks.inbox.removed import was_removed
from nateq_webhooks.inbox.request import Refusal, Verified
from nateq_webhooks.models import Delivery

CLOCK_SKEW: Final = timedelta(minutes=5)
"""How far the sender's clock may be ahead of this server's."""


STORING_TAKES: Final = timedelta(minutes=1)
"""An identity that is kept no longer than this may be forgotten before the delivery is compared with it."""


def replay_refusal(verified: Verified) -> Refusal | None:
    """Return why a delivery is refused as a possible replay (`REPLAY_WINDOW`), or None.

    Queries the database only if the timestamp is not acceptable: a repetition of what is stored, or was removed by
    retention or erasure, is never refused. A body that can't be read is none of a delivery that receivers run for.
    Raises `StoreError`.
    """
    window = settings().replay_window
    if not window or not verified.content.is_readable:
        return None
    now = datetime.now(UTC)
    refusal = _judge(verified.content.event.timestamp, now, window)
    return None if refusal is None or _is_known(verified, now) else refusal


def _judge(timestamp: datetime | None, now: datetime, window: timedelta) -> Refusal | None:
    if timestamp is None:
        return Refusal.NO_TIMESTAMP
    if timestamp < now - window:
        return Refusal.STALE
    return Refusal.FUTURE if timestamp > now + CLOCK_SKEW else None


def _is_known(verified: Verified, now: datetime) -> bool:
    """Return whether the delivery is stored, or removed and remembered for as long as storing it may take."""
    alias = router.db_for_write(Delivery)
    webhook, content = verified.webhook, verified.content
    with as_store_error(alias, f'A delivery to webhook "{webhook.name}" could not be looked up'):
        if Delivery.objects.using(alias).filter(webhook_id=webhook.id, identity=content.identity).exists():
            return True
        return was_removed(connections[alias], webhook.id, content.identity, content.content_hash, now + STORING_TAKES)
