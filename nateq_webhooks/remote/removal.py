"""Deleting a webhook on both sides."""

from enum import Enum
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.drift import delete_there, known, presence
from nateq_webhooks.remote.errors import RemoteError
from nateq_webhooks.remote.registration import public_url, same_url

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


class Removed(Enum):
    """What became of the row here."""

    DELETED = "deleted"
    SWITCHED_OFF = "switched off"
    "It has deliveries, which are kept and belong to it."


def remove(client: "NateqClient", webhook: Webhook, *, patience: float = 0.0, is_gone: bool = False) -> Removed:
    """Delete a webhook at Nateq, then here; one that has deliveries is switched off here instead.

    Whatever Nateq has at its URL goes, what a run that died left there included. One in use that the key does not see
    is refused, unless the caller knows that Nateq has deleted it (`is_gone`). Raises `RemoteError` and `ApiError`.
    Killed in between, it is called again: the webhook is switched off here before it is deleted there.
    """
    with claimed(webhook, patience=patience) as claim:
        ids = _ids_there(client, webhook)
        check_removal(client, webhook, is_gone=is_gone)
        _delete_there(client, claim, ids)
        if _has_deliveries(webhook):
            claim.change(is_active=False, nateq_id="", registration=Webhook.Registration.MANUAL)
            return Removed.SWITCHED_OFF
        Webhook.objects.using(alias()).filter(pk=webhook.pk, claim=claim.token).delete()
        return Removed.DELETED


def check_removal(client: "NateqClient", webhook: Webhook, *, is_gone: bool = False) -> None:
    """Raise `RemoteError` for a webhook in use that is not at Nateq as far as the key sees."""
    registration = Webhook.Registration
    if webhook.registration in (registration.REGISTERED, registration.ROTATING):
        # An unfinished rotation says nothing about where the webhook is.
        known(presence(client, webhook), is_gone=is_gone)
        return
    is_in_use = webhook.registration == registration.MANUAL and webhook.is_active
    if is_in_use and not is_gone and not _ids_there(client, webhook):
        raise RemoteError(
            _(
                'Nateq has no webhook with the URL of "%(name)s" that the key sees; it was set up by hand. Nothing '
                "was changed. If Nateq has none: manage.py nateq_webhook delete --name %(name)s --gone."
            )
            % {"name": webhook.name}
        )


def _delete_there(client: "NateqClient", claim: Claim, ids: list[str]) -> None:
    """Switch the webhook off here, so that a run that is killed goes on from there, and delete it at Nateq."""
    webhook = claim.webhook
    before = {"registration": webhook.registration, "is_active": webhook.is_active}
    if ids and webhook.registration in (Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING):
        claim.change(registration=Webhook.Registration.MANUAL, is_active=False)
    for place, nateq_id in enumerate(ids):
        claim.renew()
        try:
            delete_there(client, nateq_id)
        except ApiError as error:
            if place == 0 and not error.is_ambiguous:
                claim.change(**before)
            raise


def _ids_there(client: "NateqClient", webhook: Webhook) -> list[str]:
    url = public_url(webhook)
    found = [each.id for each in client.webhooks.list() if same_url(each.url, url)]
    return list(dict.fromkeys([*([webhook.nateq_id] if webhook.nateq_id else []), *found]))


def _has_deliveries(webhook: Webhook) -> bool:
    return Delivery.objects.using(alias()).filter(webhook=webhook).exists()
