"""Former secrets: accepted until `ROTATION_OVERLAP` after the first delivery with the new one.

The rule is the same for a rotation through the API, by a command and by hand: a former secret has no `expires_at`
until a delivery was verified with the new one. That delivery sets it.
"""

import logging
import uuid
from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.db import Error, router, transaction
from django.db.models import Q
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.errors import SecretError, SecretUnavailableError
from nateq_webhooks.inbox.configuration import Configuration
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.models.signing_keys import require_usable

TEST_ID_PREFIX: Final = "test_"
"""The prefix of a test event's delivery id: it is signed here, so it does not show that Nateq uses the new secret."""

logger: Final = logging.getLogger("nateq_webhooks")


def keep_former(webhook: Webhook, former: str) -> Secret | None:
    """Keep a replaced secret until the new one is used; None if it is unusable.

    Call it in the transaction that saves the new one, or after it.
    """
    try:
        require_usable(former)
    except SecretUnavailableError:
        pass  # the sender may use it: deliveries that no other secret verifies wait for its key
    except SecretError:
        return None
    alias = router.db_for_write(Webhook)
    secrets = Secret.objects.using(alias)
    # It may be replaced a second time. Compared here: the column may be encrypted.
    known = next((row for row in secrets.filter(webhook=webhook) if row.secret == former), None)
    if known is not None:
        secrets.filter(pk=known.pk).update(expires_at=None, is_retiring=True)
        known.expires_at, known.is_retiring = None, True
    webhook.rotation_scanned_to = newest_delivery()
    Webhook.objects.using(alias).filter(pk=webhook.pk).update(rotation_scanned_to=webhook.rotation_scanned_to)
    return known or secrets.create(webhook=webhook, secret=former, is_retiring=True)


def rotations(webhooks: Collection[uuid.UUID]) -> dict[uuid.UUID, datetime | None]:
    """Return the webhooks with a replaced secret that is still accepted, and when the last of these secrets ends.

    None: the new secret has not been seen on a verified delivery yet. One query, of the small table of secrets.
    """
    secrets = Secret.objects.using(router.db_for_write(Secret)).filter(is_retiring=True, webhook__in=webhooks)
    accepted = secrets.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now())).order_by()
    found: dict[uuid.UUID, datetime | None] = {}
    for webhook, end in accepted.values_list("webhook_id", "expires_at"):
        known = found.get(webhook, end)
        found[webhook] = None if end is None or known is None else max(end, known)
    return found


def newest_delivery() -> int:
    """Return the id of the newest delivery; 0 if there is none."""
    deliveries = Delivery.objects.using(router.db_for_write(Delivery))
    return deliveries.order_by("-pk").values_list("pk", flat=True).first() or 0


def end_former_secrets(webhook: Configuration, seen_at: datetime) -> None:
    """Let a webhook's replaced secrets expire `ROTATION_OVERLAP` after the new one was used.

    Does nothing if the webhook has changed since it was cached, for instance by another rotation; the next delivery
    does it. The delivery is committed already, so a failure is only logged.
    """
    alias = router.db_for_write(Webhook)
    same = Webhook.objects.using(alias).filter(pk=webhook.id, modified_at=webhook.modified_at)
    retiring = Secret.objects.using(alias).filter(webhook_id=webhook.id, is_retiring=True, expires_at=None)
    try:
        with transaction.atomic(using=alias):
            if same.update(rotation_scanned_to=None):
                retiring.update(expires_at=seen_at + settings().rotation_overlap)
    except Error as error:
        logger.warning(
            'The expiry of the former secrets of webhook "%s" could not be set; the next delivery does it: %s',
            webhook.name,
            type(error).__name__,
        )
