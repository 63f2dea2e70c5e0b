"""Rotate a webhook's secret without losing a delivery.

The sender may sign with the former secret for a while, and a late retry may carry a signature by it. So both secrets
are valid until a delivery was verified with the new one, and for `ROTATION_OVERLAP` after that.
"""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from django.db import router, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import ApiError
from nateq_webhooks.inbox.former_secrets import TEST_ID_PREFIX, keep_former
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.models.signing_keys import reference
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.remote_errors import RemoteError

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from nateq_webhooks.client import NateqClient

_BATCH: Final = 5000
"""Deliveries read by one query, five small columns each."""


def require_state(webhook: Webhook, *states: Webhook.Registration) -> None:
    """Raise `RemoteError` for a webhook whose registration is in another state."""
    if webhook.registration not in states:
        raise not_registered(webhook)


def require_registered(webhook: Webhook) -> None:
    """Raise `RemoteError` for a webhook whose id at Nateq is not known."""
    if not webhook.nateq_id:
        raise not_registered(webhook)


def not_registered(webhook: Webhook) -> RemoteError:
    """Return the error for a webhook that is not registered."""
    return RemoteError(
        _('Webhook "%(name)s" is not registered. Register it: %(command)s')
        % {"name": webhook.name, "command": command("create", webhook)}
    )


def require_stored_secret(webhook: Webhook) -> None:
    """Raise `RemoteError` for a webhook whose secret is in the environment: a new one can't be saved there."""
    variable = reference(webhook.secret)
    if variable is not None:
        raise RemoteError(
            _(
                'The signing secret of webhook "%(name)s" is in the environment variable %(variable)s, so it can\'t be '
                "replaced from here. Nothing was changed. Set the new secret in another variable and enter env: with "
                "that name on the webhook's page; or enter the secret itself there first, to have it stored."
            )
            % {"name": webhook.name, "variable": variable}
        )


def rotate(client: "NateqClient", webhook: Webhook, *, wait_seconds: float = 0.0) -> None:
    """Have Nateq make a new secret, and keep the former one for late retries.

    Raises `RemoteError` for a webhook that is not registered or has its secret in the environment, and `ApiError`. If
    it was killed, call it again: a new secret that was not saved is replaced by another.
    """
    with claimed(client, webhook, wait_seconds=wait_seconds) as claim:
        require_state(webhook, Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING)
        _rotate(client, claim)


def finish_rotation(client: "NateqClient", claim: Claim) -> None:
    """Rotate again if an earlier rotation was interrupted before its secret was saved."""
    if claim.webhook.registration == Webhook.Registration.ROTATING:
        _rotate(client, claim)


def retire_secrets() -> int:
    """Delete former secrets that have expired; set the end of those whose successor has been used.

    Reads each delivery once, so it is cheap enough for every `list`, `show` and `sync`. Returns how many secrets were
    given an end.
    """
    ended = 0
    for webhook in Webhook.objects.using(alias()).filter(rotation_scanned_to__isnull=False):
        used_at = _first_use(webhook)
        if used_at is not None:
            ended += _set_end(webhook, used_at)
    Secret.objects.using(alias()).filter(is_retiring=True, expires_at__lt=timezone.now()).delete()
    return ended


def _rotate(client: "NateqClient", claim: Claim) -> None:
    require_stored_secret(claim.webhook)
    was_rotating = claim.webhook.registration == Webhook.Registration.ROTATING
    former = claim.webhook.secret
    claim.update(registration=Webhook.Registration.ROTATING)
    try:
        rotated = client.webhooks.rotate_secret(claim.webhook.nateq_id)
    except ApiError as error:
        if not error.is_ambiguous and not was_rotating:
            claim.update(registration=Webhook.Registration.REGISTERED)
        raise
    with claim.step():
        claim.update_in_step(secret=rotated.secret, registration=Webhook.Registration.REGISTERED)
        keep_former(claim.webhook, former)
        audit.record(
            audit.Action.SECRET_CHANGED,
            **audit.of_webhook(claim.webhook),
            details={"at": "nateq"},
            using=alias(),
        )


def _first_use(webhook: Webhook) -> datetime | None:
    """Return when a delivery was first verified with the current secret, among those not scanned before."""
    current = str(Secret(secret=webhook.secret))
    deliveries = Delivery.objects.using(router.db_for_write(Delivery))
    position = webhook.rotation_scanned_to or 0
    while True:
        after = deliveries.filter(pk__gt=position).order_by("pk")
        rows = list(after.values_list("pk", "webhook_id", "secret_id", "received_at", "delivery_id")[:_BATCH])
        for _pk, webhook_id, secret_id, received_at, delivery_id in rows:
            is_test = delivery_id.startswith(TEST_ID_PREFIX)  # signed by this site, not by Nateq
            if webhook_id == webhook.pk and secret_id == current and not is_test:
                return received_at
        if rows:
            position = rows[-1][0]
        if len(rows) < _BATCH:
            _unchanged(webhook).update(rotation_scanned_to=position)
            return None


def _set_end(webhook: Webhook, used_at: datetime) -> int:
    """Let the former secrets expire `ROTATION_OVERLAP` after the new one was used."""
    with transaction.atomic(using=alias()):
        if not _unchanged(webhook).update(rotation_scanned_to=None):
            return 0
        retiring = Secret.objects.using(alias()).filter(webhook=webhook, is_retiring=True, expires_at__isnull=True)
        return retiring.update(expires_at=used_at + settings().rotation_overlap)


def _unchanged(webhook: Webhook) -> "QuerySet[Webhook]":
    """Return the row unless it has changed since it was read: a rotation meanwhile starts a scan of its own."""
    return Webhook.objects.using(alias()).filter(pk=webhook.pk, modified_at=webhook.modified_at)
