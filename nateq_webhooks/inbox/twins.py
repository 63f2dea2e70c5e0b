"""A retry under a new delivery id: noticed, so that a person sees that a sender does so, and which two are the same.

Only a delivery that calls itself a retry (`attempt` above 1) and that is new to us is looked at, after it has been
stored. Both stay deliveries with runs of their own; `NATEQ_WEBHOOKS["IDENTITY"] = "content"` makes them one.
"""

import logging
from typing import Final

from django.db import Error

from nateq_webhooks.inbox.statement import NewDelivery
from nateq_webhooks.models import Delivery, Twin
from nateq_webhooks.protocol.envelope import content_identity

logger: Final = logging.getLogger("nateq_webhooks")

MOST_COMPARED: Final = 10
"""Deliveries of the same resource, event and moment that are compared."""


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
    """Find it through the index of resources and moments."""
    alike = Delivery.objects.using(alias).filter(
        resource_id=new.resource_id,
        timestamp=new.timestamp,
        event=new.event,
        webhook_id=new.webhook_id,
        pk__lt=pk,
    )
    content = content_identity(new.body)
    for other, body in alike.order_by("pk").values_list("pk", "body")[:MOST_COMPARED]:
        if content_identity(body) == content:
            return int(other)
    return None
