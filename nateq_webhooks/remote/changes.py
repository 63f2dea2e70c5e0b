"""Change a webhook on both sides."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nateq_webhooks import audit
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote.catalogue import every_event
from nateq_webhooks.remote.claim import alias, claimed
from nateq_webhooks.remote.secret_rotation import require_state

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient


def change(
    client: "NateqClient",
    webhook: Webhook,
    *,
    events: Sequence[str] | None = None,
    is_active: bool | None = None,
    wait_seconds: float = 0.0,
) -> None:
    """Change the events (empty: all) or whether the webhook is active: first at Nateq, which may refuse, then here.

    Raises `RemoteError` for a webhook that is not registered or whose rotation was interrupted, and `ApiError`. If it
    is killed between the two, `sync` shows the difference.
    """
    with claimed(client, webhook, wait_seconds=wait_seconds) as claim:
        require_state(webhook, Webhook.Registration.REGISTERED)
        fields: dict[str, object] = {}
        if events is not None:
            fields["events"] = list(dict.fromkeys(events))
        if is_active is not None:
            fields["is_active"] = is_active
        wanted = None if events is None else list(events) or every_event(client)
        client.webhooks.update(webhook.nateq_id, events=wanted, is_active=is_active)
        with claim.step():
            claim.update_in_step(**fields)
            details = {"fields": list(fields), "at": "nateq"}
            audit.record(audit.Action.WEBHOOK_CHANGED, **audit.of_webhook(webhook), details=details, using=alias())
