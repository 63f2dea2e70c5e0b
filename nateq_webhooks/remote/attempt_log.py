"""What Nateq tried to send to a webhook: its own log, read live, beside what this site holds of each delivery id."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from django.db.models import QuerySet

from nateq_webhooks.conf import settings
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.protocol.envelope import identity_of_id
from nateq_webhooks.remote.secret_rotation import require_registered

if TYPE_CHECKING:
    from nateq_webhooks.client import LogEntry, NateqClient

PAGE_SIZE: Final = 50
"""Attempts of one page."""

MAX_PAGES: Final = 10
"""Pages that can be read: for each one, Nateq is asked for those before it again."""

NEARBY: Final = timedelta(seconds=5)
"""How far the times of an attempt and of a refused request may differ: two clocks, and the way between."""

MAX_REJECTIONS: Final = 500
"""Refused requests, the newest ones of the page's time, that are compared with its attempts."""


REFUSALS: Final = frozenset({401, 403, 404, 411, 413})
"""The status codes that the receiver view refuses a POST with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SentAttempt:
    """An attempt in Nateq's log, and what this site holds of it."""

    entry: "LogEntry"
    delivery: Delivery | None
    "The stored delivery with this id; only its key and its status are read."
    rejection: Rejection | None
    "A request to the webhook that was refused at about that time; None if the delivery is stored."


@dataclass(frozen=True, kw_only=True, slots=True)
class SentPage:
    """A page of the log, the newest attempt first."""

    attempts: Sequence[SentAttempt]
    has_more: bool


def sent_log(
    client: "NateqClient",
    webhook: Webhook,
    page: int,
    *,
    deliveries: QuerySet[Delivery],
    rejections: QuerySet[Rejection],
) -> SentPage:
    """Return a page (from 1 to `MAX_PAGES`) of the attempts to deliver to a webhook.

    `deliveries` and `rejections` are those that the reader may see. With `IDENTITY` "content" no index has the
    delivery id, so deliveries are not looked up. Raises `ApiError`, and `RemoteError` for a webhook that is not
    registered.
    """
    require_registered(webhook)
    start = (page - 1) * PAGE_SIZE
    entries = list(itertools.islice(client.webhooks.logs(webhook.nateq_id), start, start + PAGE_SIZE + 1))
    shown = entries[:PAGE_SIZE]
    stored = _stored(webhook, shown, deliveries)
    refused = _refused(webhook, shown, rejections)
    attempts = []
    for entry in shown:
        delivery = stored.get(entry.delivery_id)
        rejection = _nearest(entry, refused) if delivery is None else None
        attempts.append(SentAttempt(entry=entry, delivery=delivery, rejection=rejection))
    return SentPage(attempts=attempts, has_more=len(entries) > PAGE_SIZE and page < MAX_PAGES)


def _stored(webhook: Webhook, entries: "Sequence[LogEntry]", deliveries: QuerySet[Delivery]) -> Mapping[str, Delivery]:
    """Return the stored deliveries by the id that Nateq's log has, through the unique index."""
    if settings().identity == "content":
        return {}
    wanted = {identity_of_id(entry.delivery_id): entry.delivery_id for entry in entries if entry.delivery_id}
    found = deliveries.filter(webhook=webhook, identity__in=list(wanted)).select_related(None).order_by()
    return {wanted[delivery.identity]: delivery for delivery in found.only("pk", "identity", "status", "webhook_id")}


def _refused(webhook: Webhook, entries: "Sequence[LogEntry]", rejections: QuerySet[Rejection]) -> list[Rejection]:
    """Return the refused requests to the webhook in the time of these attempts."""
    moments = [entry.attempted_at for entry in entries if entry.attempted_at is not None]
    if not moments:
        return []
    newest = rejections.filter(webhook=webhook).select_related(None).order_by("-pk")[:MAX_REJECTIONS]
    first, last = min(moments) - NEARBY, max(moments) + NEARBY
    return [each for each in newest.defer("header_names") if first <= each.received_at <= last]


def _nearest(entry: "LogEntry", refused: list[Rejection]) -> Rejection | None:
    """Remove and return the refused request that is nearest in time to an attempt that was refused; None: none is."""
    at = entry.attempted_at
    if at is None or entry.response_status not in REFUSALS:
        return None
    near = [(abs(each.received_at - at), each.pk, each) for each in refused if abs(each.received_at - at) <= NEARBY]
    if not near:
        return None
    found = min(near)[2]
    refused.remove(found)
    return found
