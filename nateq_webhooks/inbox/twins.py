"""A retry under a new delivery id: noticed, so that a person sees that a sender does so, and which two are the same.

Only a delivery that calls itself a retry (`attempt` above 1) and that is new to us is looked at, after it has been
stored. Both stay deliveries with runs of their own; `NATEQ_WEBHOOKS["IDENTITY"] = "content"` makes them one.
"""

import logging
from typing import Final

from django.db import Error

from nateq_webhooks.inbox.contents import hash_of_older
from nateq_webhooks.inbox.statement import NewDelivery
from nateq_webhooks.models import Delivery, Twin

logger: Final = logging.getLogger("nateq_webhooks")

MOST_COMPARED: Final = 500
"""Deliveries of the same resource and moment whose hashes are compared. Among more, a retry may go unnoticed."""

MOST_READ: Final = 3
"""Bodies read, at most, of deliveries that were stored without a hash."""

MOST_BYTES_READ: Final = 128 * 1024
"""The largest of them: reading JSON takes up to 0.2 s a megabyte."""


def note_twin(alias: str, pk: int, new: NewDelivery) -> None:
    """Keep which earlier delivery has the same content, if one has; a failure to do so is only logged."""
    try:
        first = _first_with_content(alias, pk, new)
        if first is None:
            return
        Twin.objects.using(alias).create(delivery_id=pk, first_id=first)
    except Error as error:
        logger.warning("Whether delivery %s came before under another id is not known: %s", pk, type(error).__name__)
        return
    logger.warning(
        "Delivery %s is attempt %s of delivery %s under another id: the sender gives each retry an id of its own, and "
        'each runs its receivers. NATEQ_WEBHOOKS["IDENTITY"] = "content" makes them one.',
        pk,
        new.attempt,
        first,
    )


def _first_with_content(alias: str, pk: int, new: NewDelivery) -> int | None:
    """Find it through the index of resources and moments: a bounded range of it, compared by webhook and hash here.

    Compared in SQL, a value that never comes would have the database read the whole range.
    """
    alike = Delivery.objects.using(alias).filter(resource_id=new.resource_id, timestamp=new.timestamp)
    rows = alike.order_by().values_list("pk", "webhook_id", "content_hash")[:MOST_COMPARED]
    earlier = sorted((other, known) for other, webhook, known in rows if webhook == new.webhook_id and other < pk)
    for other, known in earlier:
        if known == new.content_hash:
            return int(other)
    older = [other for other, known in earlier if known is None]
    for other in older[:MOST_READ]:
        if hash_of_older(alias, other, MOST_BYTES_READ) == new.content_hash:
            return int(other)
    return None
