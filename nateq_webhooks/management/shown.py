"""What the commands write of a webhook: for a person in words, for a program as JSON. Never a secret."""

from typing import Any

from django.utils.translation import gettext as _

from nateq_webhooks import remote
from nateq_webhooks.models import Secret, Webhook


def in_words(state: "remote.State") -> str:
    """Say how the two sides of a webhook stand to each other."""
    return {
        remote.State.IN_STEP: _("the same on both sides"),
        remote.State.DIFFERENT: _("different"),
        remote.State.GONE: _("gone at Nateq"),
        remote.State.UNSEEN: _("not visible to this key"),
        remote.State.ELSEWHERE: _("of another organization than this key"),
        remote.State.UNKNOWN: _("not known"),
        remote.State.UNREGISTERED: _("set up by hand"),
        remote.State.UNFINISHED: _("not finished: run manage.py nateq_webhook sync"),
    }[state]


def row(webhook: Webhook) -> dict[str, Any]:
    """Return the webhook as JSON has it, without its secret."""
    return {
        "name": webhook.name,
        "id": str(webhook.pk),
        "nateq_id": webhook.nateq_id,
        "url": remote.public_url(webhook),
        "events": webhook.events,
        "is_active": webhook.is_active,
        "registration": webhook.registration,
    }


def as_json(drift: "remote.Drift") -> dict[str, Any]:
    """Return the webhook and how Nateq's compares, as JSON has it."""
    return row(drift.webhook) | {
        "state": drift.state.value,
        "differences": [{"name": each.name, "here": each.here, "there": each.there} for each in drift.differences],
        "extra": list(drift.extra),
        "problem": "" if drift.problem is None else remote.told(drift.problem),
    }


def secrets(webhook: Webhook) -> list[dict[str, Any]]:
    """Return the ids of the secrets, never the secrets."""
    current = {"id": str(Secret(secret=webhook.secret)), "expires_at": None, "is_retiring": False}
    older = [
        {
            "id": str(secret),
            "expires_at": secret.expires_at and secret.expires_at.isoformat(timespec="seconds"),
            "is_retiring": secret.is_retiring,
        }
        for secret in webhook.older_secrets.all()
    ]
    return [current, *older]
