"""Rotating a secret without losing a delivery: both are live until the new one is seen in use, and then for long.

The sender may go on signing with the former secret for a while, and a late retry may carry the old signature for its
whole retry span. So the former secret gets its end only when a delivery was verified with the new one.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.db import router, transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.conf import settings
from nateq_webhooks.errors import ApiError
from nateq_webhooks.inbox.rotation import TEST_ID_PREFIX, keep_former
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient, NewSecret

_BATCH: Final = 5000
"""Deliveries looked at in one query, five small columns each."""


def rotate(client: "NateqClient", webhook: Webhook, *, patience: float = 0.0) -> None:
    """Have Nateq make a new secret, and keep the former one for as long as it may come.

    Raises `RemoteError` for a webhook that is not registered, and `ApiError`. When it was killed, call it again: a
    new secret that nobody saw is replaced by another.
    """
    with claimed(webhook, patience=patience) as claim:
        if webhook.registration not in (Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING):
            raise RemoteError(
                _('Webhook "%(name)s" is not registered. Register it: manage.py nateq_webhook create --name %(name)s')
                % {"name": webhook.name}
            )
        _rotate(client, claim)


def finish_rotation(client: "NateqClient", claim: Claim) -> bool:
    """Rotate again where an earlier rotation died before its secret was saved; say whether there was one."""
    if claim.webhook.registration != Webhook.Registration.ROTATING:
        return False
    _rotate(client, claim)
    return True


def retire_secrets() -> int:
    """Delete former secrets that have ended; give one its end where the door has seen the new one but could not.

    Looks at each delivery once: cheap enough for every call of `list`, `show` and `sync`. Returns how many secrets
    were given an end.
    """
    waiting = list(Webhook.objects.using(alias()).filter(looked_through__isnull=False))
    ended = 0
    for webhook in waiting:
        seen_at = _first_use(webhook)
        if seen_at is not None:
            ended += _end(webhook, seen_at)
    Secret.objects.using(alias()).filter(is_retiring=True, expires_at__lt=timezone.now()).delete()
    return ended


def _rotate(client: "NateqClient", claim: Claim) -> None:
    was_rotating = claim.webhook.registration == Webhook.Registration.ROTATING
    claim.change(registration=Webhook.Registration.ROTATING)
    try:
        rotated = client.webhooks.rotate_secret(claim.webhook.nateq_id)
    except ApiError as error:
        if not error.is_ambiguous and not was_rotating:
            claim.change(registration=Webhook.Registration.REGISTERED)
        raise
    _save(claim, rotated)


def _save(claim: Claim, rotated: "NewSecret") -> None:
    """Save the new secret, and keep the former one, in one transaction."""
    former = claim.webhook.secret
    with claim.step():
        claim.change_within(secret=rotated.secret, registration=Webhook.Registration.REGISTERED)
        keep_former(claim.webhook, former)


def _first_use(webhook: Webhook) -> datetime | None:
    """Return when a delivery was first verified with the current secret, as far as it came after the last look."""
    current = str(Secret(secret=webhook.secret))
    position = webhook.looked_through or 0
    while True:
        after = _deliveries().filter(pk__gt=position).order_by("pk")
        rows = list(after.values_list("pk", "webhook_id", "secret_id", "received_at", "delivery_id")[:_BATCH])
        for _pk, webhook_id, secret_id, received_at, delivery_id in rows:
            is_test = delivery_id.startswith(TEST_ID_PREFIX)  # sent by this site, not by Nateq
            if webhook_id == webhook.pk and secret_id == current and not is_test:
                return received_at
        if rows:
            position = rows[-1][0]
        if len(rows) < _BATCH:
            # Guarded by the secret: a rotation that happens meanwhile starts its own look.
            Webhook.objects.using(alias()).filter(pk=webhook.pk, secret=webhook.secret).update(looked_through=position)
            return None


def _end(webhook: Webhook, seen_at: datetime) -> int:
    """Let the former secrets end `ROTATION_OVERLAP` after the new one was seen."""
    with transaction.atomic(using=alias()):
        same = Webhook.objects.using(alias()).filter(pk=webhook.pk, secret=webhook.secret)
        if not same.update(looked_through=None):
            return 0
        retiring = Secret.objects.using(alias()).filter(webhook=webhook, is_retiring=True, expires_at__isnull=True)
        return retiring.update(expires_at=seen_at + settings().rotation_overlap)


def _deliveries() -> "QuerySet[Delivery]":
    return Delivery.objects.using(router.db_for_write(Delivery))
