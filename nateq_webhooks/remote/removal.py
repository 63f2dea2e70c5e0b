"""Delete a webhook on both sides."""

from enum import Enum
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.errors import ApiError
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.remote.claim import Claim, alias, claimed
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.drift import check_visible
from nateq_webhooks.remote.public_urls import public_url, same_url
from nateq_webhooks.remote.registration import delete_remote
from nateq_webhooks.remote.remote_errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


class RemovalResult(Enum):
    """What was done to the row here."""

    DELETED = "deleted"
    SWITCHED_OFF = "switched off"
    "It has deliveries, which are kept and belong to it."


def remove(
    client: "NateqClient", webhook: Webhook, *, wait_seconds: float = 0.0, is_gone: bool = False
) -> RemovalResult:
    """Delete a webhook at Nateq, then here; one that has deliveries is deactivated here instead.

    Everything that Nateq has at its URL is deleted, also what an interrupted run left there. A webhook in use that the
    key does not see is refused, unless the caller knows that Nateq has deleted it (`is_gone`). Raises `RemoteError`
    and `ApiError`. If it is killed, call it again: the webhook is deactivated here before it is deleted there.
    """
    with claimed(client, webhook, wait_seconds=wait_seconds) as claim:
        ids = _remote_ids(client, webhook)
        check_removal(client, webhook, is_gone=is_gone)
        _delete_remotes(client, claim, ids)
        if Delivery.objects.using(alias()).filter(webhook=webhook).exists():
            with claim.step():
                claim.update_in_step(is_active=False, nateq_id="", registration=Webhook.Registration.MANUAL)
                _record(webhook, RemovalResult.SWITCHED_OFF)
            return RemovalResult.SWITCHED_OFF
        with claim.step():
            Webhook.objects.using(alias()).filter(pk=webhook.pk, claim=claim.token).delete()
            _record(webhook, RemovalResult.DELETED)
        return RemovalResult.DELETED


def _record(webhook: Webhook, result: RemovalResult) -> None:
    details = {"at": "nateq", "here": result.value}
    audit.record(audit.Action.WEBHOOK_DELETED, **audit.of_webhook(webhook), details=details, using=alias())


def check_removal(client: "NateqClient", webhook: Webhook, *, is_gone: bool = False) -> None:
    """Raise `RemoteError` for a webhook in use that the key does not see at Nateq."""
    registration = Webhook.Registration
    if webhook.registration in (registration.REGISTERED, registration.ROTATING):
        check_visible(client, webhook, is_gone=is_gone)
        return
    is_in_use = webhook.registration == registration.MANUAL and webhook.is_active
    if is_in_use and not is_gone and not _remote_ids(client, webhook):
        raise RemoteError(
            _(
                'Nateq has no webhook with the URL of "%(name)s" that the key sees; it was set up by hand. Nothing '
                "was changed. If Nateq has none: %(command)s"
            )
            % {"name": webhook.name, "command": command("delete", webhook, "--gone")}
        )


def _delete_remotes(client: "NateqClient", claim: Claim, ids: list[str]) -> None:
    """Deactivate the webhook here, so that an interrupted run can be repeated, and delete it at Nateq."""
    webhook = claim.webhook
    before = {"registration": webhook.registration, "is_active": webhook.is_active}
    if ids and webhook.registration in (Webhook.Registration.REGISTERED, Webhook.Registration.ROTATING):
        claim.update(registration=Webhook.Registration.MANUAL, is_active=False)
    for index, nateq_id in enumerate(ids):
        try:
            delete_remote(client, claim, nateq_id)
        except ApiError as error:
            if index == 0 and not error.is_ambiguous:
                claim.update(**before)
            raise


def _remote_ids(client: "NateqClient", webhook: Webhook) -> list[str]:
    url = public_url(webhook)
    found = [each.id for each in client.webhooks.list() if same_url(each.url, url)]
    return list(dict.fromkeys([*([webhook.nateq_id] if webhook.nateq_id else []), *found]))
