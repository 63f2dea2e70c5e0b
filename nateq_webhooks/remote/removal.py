"""Deleting a webhook on both sides."""

from enum import Enum
from typing import TYPE_CHECKING

from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.remote.claim import alias, claimed
from nateq_webhooks.remote.drift import delete_there
from nateq_webhooks.remote.registration import public_url, same_url

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


class Removed(Enum):
    """What became of the row here."""

    DELETED = "deleted"
    SWITCHED_OFF = "switched off"
    "It has deliveries, which are kept and belong to it."


def remove(client: "NateqClient", webhook: Webhook, *, patience: float = 0.0) -> Removed:
    """Delete a webhook at Nateq, then here; one that has deliveries is switched off here instead.

    Whatever Nateq has at its URL goes, what a run that died left there included. Raises `ApiError`. Killed in
    between, it is called again.
    """
    with claimed(webhook, patience=patience) as claim:
        for nateq_id in _ids_there(client, webhook):
            claim.renew()
            delete_there(client, nateq_id)
        if _has_deliveries(webhook):
            claim.change(is_active=False, nateq_id="", registration=Webhook.Registration.MANUAL)
            return Removed.SWITCHED_OFF
        Webhook.objects.using(alias()).filter(pk=webhook.pk, claim=claim.token).delete()
        return Removed.DELETED


def _ids_there(client: "NateqClient", webhook: Webhook) -> list[str]:
    if webhook.registration == Webhook.Registration.REGISTERED:
        return [webhook.nateq_id]
    url = public_url(webhook)
    found = [each.id for each in client.webhooks.list() if same_url(each.url, url)]
    return list(dict.fromkeys([*([webhook.nateq_id] if webhook.nateq_id else []), *found]))


def _has_deliveries(webhook: Webhook) -> bool:
    return Delivery.objects.using(alias()).filter(webhook=webhook).exists()
