"""What follows the INSERT of a delivery or of its repetition, apart from running receivers.

`keep_other_content` comes before the acknowledgement, as the content is stored nowhere else. A failure of anything
later is only logged: the delivery is committed, and the sender is answered so.
"""

import logging
from dataclasses import dataclass
from typing import Final

from django.db import Error
from django.dispatch import Signal

from nateq_webhooks import signals
from nateq_webhooks.inbox import other_content
from nateq_webhooks.inbox.delivery_row import NewDelivery, UpsertResult
from nateq_webhooks.inbox.former_secrets import TEST_ID_PREFIX, end_former_secrets
from nateq_webhooks.inbox.outages import UNAVAILABLE, as_store_error
from nateq_webhooks.inbox.reissued import link_reissue
from nateq_webhooks.inbox.request import Verified
from nateq_webhooks.models import Attempt, Delivery
from nateq_webhooks.models.delivery import MAX_ATTEMPTS_KEPT

logger: Final = logging.getLogger("nateq_webhooks")


@dataclass(frozen=True, slots=True)
class OtherContentFound:
    """A repetition carried other content than the stored delivery. `is_kept`: it was stored by this request."""

    is_kept: bool


def keep_other_content(
    alias: str, stored: UpsertResult, new: NewDelivery, *, has_removed: bool
) -> OtherContentFound | None:
    """Keep the content of a repetition if it differs from the stored delivery's; None if it does not.

    Raises `StoreError` if it can't be committed.
    """
    with as_store_error(alias, f"Delivery {stored.pk} was repeated; its content could not be compared or stored"):
        if not other_content.differs(alias, stored, new):
            return None
        return OtherContentFound(is_kept=other_content.keep(alias, stored, new, has_removed=has_removed))


def follow_up(
    verified: Verified, alias: str, stored: UpsertResult, new: NewDelivery, other: OtherContentFound | None
) -> None:
    """Do everything that a stored delivery or a counted attempt entails. Never raises."""
    try:
        _follow_up(verified, alias, stored, new, other)
    except Exception:
        logger.exception("Delivery %s is stored, but the steps after storing it failed.", stored.pk)


def _follow_up(
    verified: Verified, alias: str, stored: UpsertResult, new: NewDelivery, other: OtherContentFound | None
) -> None:
    is_new = stored.attempts_seen == 1
    if not is_new and not (other and other.is_kept):
        _keep_attempt(alias, stored, new)
    if other:
        other_content.log_difference(stored.pk, new, is_kept=other.is_kept)
    if is_new and new.attempt is not None and new.attempt > 1:
        link_reissue(alias, stored.pk, new)
    if verified.key_id == verified.webhook.awaited_key_id and not new.delivery_id.startswith(TEST_ID_PREFIX):
        end_former_secrets(verified.webhook, new.received_at)
    _announce(signals.delivery_received if is_new else signals.delivery_duplicated, alias, stored.pk)
    if other:
        _announce(signals.delivery_content_differs, alias, stored.pk, event=verified.content.event)
    if is_new and new.status == Delivery.Status.PROCESSED:
        _announce(signals.delivery_processed, alias, stored.pk)


def _keep_attempt(alias: str, stored: UpsertResult, new: NewDelivery) -> None:
    """Keep when and from where a stored delivery was repeated. It is committed already, so a failure is only logged."""
    if stored.attempts_seen > MAX_ATTEMPTS_KEPT + 1:
        return
    try:
        Attempt.objects.using(alias).create(
            delivery_id=stored.pk,
            number=new.attempt,
            received_at=new.received_at,
            remote_addr=new.remote_addr,
        )
    except UNAVAILABLE as error:
        logger.warning(
            "An attempt at delivery %s was counted, but its details were not kept: %s",
            stored.pk,
            type(error).__name__,
        )


def _announce(signal: Signal, alias: str, pk: int, **arguments: object) -> None:
    """Send a monitoring signal; the row is read only if a receiver is connected."""
    if not signal.has_listeners(Delivery):
        return
    try:
        delivery = Delivery.objects.using(alias).get(pk=pk)
    except (Error, Delivery.DoesNotExist) as error:
        logger.warning("Delivery %s is stored, but its signal could not be sent: %s", pk, type(error).__name__)
        return
    signal.send_robust(sender=Delivery, delivery=delivery, **arguments)
