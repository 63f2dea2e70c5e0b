"""Changing a webhook on both sides."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.catalogue import every_event
from nateq_webhooks.remote.claim import claimed
from nateq_webhooks.remote.errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


def change(
    client: "NateqClient",
    webhook: Webhook,
    *,
    events: Sequence[str] | None = None,
    is_active: bool | None = None,
    patience: float = 0.0,
) -> None:
    """Change the events (empty: all) or whether it is active: at Nateq first, which may refuse, and then here.

    Raises `RemoteError` for a webhook whose registration is not finished, and `ApiError`. Killed between the two, it
    leaves a drift that `sync` shows.
    """
    with claimed(webhook, patience=patience) as claim:
        if webhook.registration != Webhook.Registration.REGISTERED:
            raise RemoteError(
                _('Webhook "%(name)s" is not registered. Register it: manage.py nateq_webhook create --name %(name)s')
                % {"name": webhook.name}
            )
        fields: dict[str, object] = {}
        if events is not None:
            fields["events"] = list(dict.fromkeys(events))
        if is_active is not None:
            fields["is_active"] = is_active
        wanted = None if events is None else list(events) or every_event(client)
        client.webhooks.update(webhook.nateq_id, events=wanted, is_active=is_active)
        claim.change(**fields)
