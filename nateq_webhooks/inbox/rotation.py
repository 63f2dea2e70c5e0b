"""The end of former secrets: the first delivery with the new one sets it, no command has to (ours: docs/remote.md)."""

import logging
from datetime import datetime
from typing import Final

from django.db import Error, router, transaction

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.configuration import Configuration
from nateq_webhooks.models import Secret, Webhook

logger: Final = logging.getLogger("nateq_webhooks")


def end_former_secrets(webhook: Configuration, seen_at: datetime) -> None:
    """Let a webhook's replaced secrets end `ROTATION_OVERLAP` after the new one was seen.

    Does nothing when the webhook has changed since it was read, by another rotation perhaps: the next delivery knows
    more. The delivery is committed already, so a failure is only logged.
    """
    alias = router.db_for_write(Webhook)
    same = Webhook.objects.using(alias).filter(pk=webhook.id, modified_at=webhook.modified_at)
    retiring = Secret.objects.using(alias).filter(webhook_id=webhook.id, is_retiring=True, expires_at=None)
    try:
        with transaction.atomic(using=alias):
            if same.update(looked_through=None):
                retiring.update(expires_at=seen_at + settings().rotation_overlap)
    except Error as error:
        logger.warning(
            'The former secrets of webhook "%s" were not given their end; the next delivery does it: %s',
            webhook.name,
            type(error).__name__,
        )
