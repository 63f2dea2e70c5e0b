"""A retry under a new delivery id: linked to the delivery with the same content, so that a person sees both.

Only a new delivery that is called a retry (`attempt` above 1) is compared, after it has been stored. Both stay
deliveries with runs of their own; `NATEQ_WEBHOOKS["IDENTITY"] = "content"` makes them one.
"""

import logging
from typing import Final

from django.db import Error

from nateq_webhooks.inbox.delivery_row import NewDelivery
from nateq_webhooks.inbox.other_content import hash_of_older
from nateq_webhooks.models import Delivery, Reissue

logger: Final = logging.getLogger("nateq_webhooks")

MAX_COMPARED: Final = 500
"""Deliveries of the same resource and time whose hashes are compared. RowScope more, a retry may go undetected."""

MAX_BODIES_READ: Final = 3
"""Bodies read of deliveries that were stored without a hash."""

MAX_BODY_BYTES: Final = 128 * 1024
"""Larger bodies are not read: reading JSON takes up to 0.2 s per megabyte."""


def link_reissue(alias: str, pk: int, new: NewDelivery) -> None:
    """Store which earlier delivery has the same content, if any; a failure is only logged."""
    try:
        original = _original_of(alias, pk, new)
        if original is None:
            return
        Reissue.objects.using(alias).create(delivery_id=pk, original_id=original)
    except Error as error:
        logger.warning(
            "Delivery %s could not be compared with earlier ones under other ids: %s", pk, type(error).__name__
        )
        return
    logger.warning(
        "Delivery %s is attempt %s of delivery %s under another id: the sender gives each retry a new id, and the "
        'receivers run for each. NATEQ_WEBHOOKS["IDENTITY"] = "content" makes them one delivery.',
        pk,
        new.attempt,
        original,
    )


def _original_of(alias: str, pk: int, new: NewDelivery) -> int | None:
    """Find the earliest delivery with the same content.

    Reads a bounded range of the index of resources and times, and compares webhook and hash in Python: in SQL, a
    value that never occurs would make the database read the whole range.
    """
    candidates = Delivery.objects.using(alias).filter(resource_id=new.resource_id, timestamp=new.timestamp)
    rows = candidates.order_by().values_list("pk", "webhook_id", "content_hash")[:MAX_COMPARED]
    earlier = sorted((other, known) for other, webhook, known in rows if webhook == new.webhook_id and other < pk)
    for other, known in earlier:
        if known == new.content_hash:
            return int(other)
    without_hash = [other for other, known in earlier if known is None]
    for other in without_hash[:MAX_BODIES_READ]:
        if hash_of_older(alias, other, MAX_BODY_BYTES) == new.content_hash:
            return int(other)
    return None
