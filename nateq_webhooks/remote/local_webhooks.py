"""Webhooks that are not registered through Nateq's API: the admin and the site's own API change them here alone.

A webhook that is registered has a secret and a state at Nateq, too. Each function here checks that under a lock of
the row, so none changes one side only.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction
from django.db.models import ProtectedError
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks import audit
from nateq_webhooks.inbox.former_secrets import keep_former
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import generate_secret
from nateq_webhooks.remote.claim import alias
from nateq_webhooks.remote.commands import command
from nateq_webhooks.remote.remote_errors import RemoteError
from nateq_webhooks.remote.secret_rotation import require_stored_secret


@dataclass(frozen=True, kw_only=True, slots=True)
class RotatedSecret:
    """A new secret, and the former one as it is kept; None if that one could verify nothing."""

    secret: str = field(repr=False)
    former: Secret | None


def is_local(webhook: Webhook) -> bool:
    """Return whether a webhook changes here alone: it was never registered, or is not any more.

    One with an id at Nateq is not local: its deletion was interrupted, and Nateq may have it still.
    """
    return webhook.registration == Webhook.Registration.MANUAL and not webhook.nateq_id


def secret_id(webhook: Webhook) -> str:
    """Return the id of a webhook's current secret, which may be shown."""
    return str(Secret(secret=webhook.secret))


def unknown_at_nateq(webhook: Webhook) -> str:
    """Return what is left to do so that Nateq posts to a webhook that is not registered; empty for others."""
    if not is_local(webhook):
        return ""
    text = _(
        "This site has not registered it at Nateq, and Nateq signs with a secret of its own. Register it on its page "
        "in the admin, or with %(command)s. Or set it up at Nateq by hand, and paste Nateq's secret into that page."
    )
    return text % {"command": command("create", webhook)}


def left_at_nateq(webhook: Webhook) -> str:
    """Return what stays at Nateq if a webhook is deleted here alone, and how it is deleted there."""
    if is_local(webhook):
        return _(
            "If it was set up at Nateq by hand, delete it there, too. Until then Nateq goes on posting to it, and is "
            "answered with 404."
        )
    words = {"id": webhook.nateq_id or _("unknown"), "command": command("delete", webhook)}
    text = _(
        "It is registered at Nateq (id: %(id)s) and stays there: Nateq goes on posting to it, and is answered with "
        "404. To delete it on both sides, run this command instead: %(command)s"
    )
    return text % words


def why_not_deleted() -> str:
    """Return why a webhook that has deliveries is not deleted."""
    return _("It has deliveries, so it can't be deleted. Deactivate it instead.")


@contextmanager
def locked(webhook: Webhook) -> Iterator[Webhook]:
    """Lock the row of a webhook that is changed here alone, in a transaction; yields it as it is now.

    Raises `RemoteError` if it is registered, or has been deleted.
    """
    with transaction.atomic(using=alias()):
        current = Webhook.objects.using(alias()).select_for_update().filter(pk=webhook.pk).first()
        if current is None:
            raise RemoteError(_('Webhook "%(name)s" has been deleted.') % {"name": webhook.name})
        if not is_local(current):
            text = _('Webhook "%(name)s" is registered at Nateq, so it can\'t be changed on this side only.')
            raise RemoteError(text % {"name": webhook.name})
        yield current


@sensitive_variables()
def rotate_here(webhook: Webhook, *, known_id: str | None = None) -> RotatedSecret | None:
    """Give the webhook a new secret, and keep the former one for late retries.

    Returns None if its current secret is not the one of `known_id` any more. Raises `RemoteError` as `locked` does, and
    for a secret in the environment.
    """
    with locked(webhook) as current:
        if known_id is not None and secret_id(current) != known_id:
            return None
        require_stored_secret(current)
        former, current.secret = current.secret, generate_secret()
        current.save(using=alias(), update_fields=["secret"])
        audit.record(audit.Action.SECRET_CHANGED, **audit.of_webhook(current), using=alias())
        return RotatedSecret(secret=current.secret, former=keep_former(current, former))


def change_here(webhook: Webhook, fields: dict[str, Any]) -> Webhook:
    """Change columns of the webhook, and return it. Raises `RemoteError` as `locked` does."""
    with locked(webhook) as current:
        for name, value in fields.items():
            setattr(current, name, value)
        current.save(using=alias(), update_fields=list(fields))
        details = {"fields": list(fields)}
        audit.record(audit.Action.WEBHOOK_CHANGED, **audit.of_webhook(current), details=details, using=alias())
        return current


def delete_here(webhook: Webhook) -> None:
    """Delete the webhook. Raises `RemoteError` as `locked` does, and if it has deliveries, which are kept."""
    with locked(webhook) as current:
        if current.deliveries.exists():
            raise RemoteError(why_not_deleted())
        try:
            audit.record(audit.Action.WEBHOOK_DELETED, **audit.of_webhook(current), using=alias())
            current.delete(using=alias())
        except ProtectedError:  # a delivery that came at this moment
            raise RemoteError(why_not_deleted()) from None
