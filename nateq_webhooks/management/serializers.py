"""What the commands print, of a webhook or by tenant: text for a person, JSON for a program. Never a secret."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _

from nateq_webhooks import remote, tenants
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.remote.error_text import localized
from nateq_webhooks.remote.public_urls import public_url


def by_tenant(documents: Mapping[str, Any]) -> Any:
    """Return what a command prints as JSON: an object for each tenant, or on a site without tenants the only one."""
    return documents[tenants.NO_TENANT] if set(documents) == {tenants.NO_TENANT} else documents


def state_text(state: "remote.DriftState") -> str:
    """Return how a webhook compares with Nateq's, as text."""
    return {
        remote.DriftState.IN_SYNC: _("the same on both sides"),
        remote.DriftState.DIFFERENT: _("differs from Nateq"),
        remote.DriftState.GONE: _("gone at Nateq"),
        remote.DriftState.NOT_VISIBLE: _("not visible to this key"),
        remote.DriftState.OTHER_ORGANIZATION: _("of another organization than this key"),
        remote.DriftState.UNKNOWN: _("unknown"),
        remote.DriftState.UNREGISTERED: _("set up by hand"),
        remote.DriftState.UNFINISHED: _("not finished: run manage.py nateq_webhook sync"),
    }[state]


def webhook_json(webhook: Webhook) -> dict[str, Any]:
    """Return a webhook for JSON, without its secret."""
    return {
        "name": webhook.name,
        "id": str(webhook.pk),
        "nateq_id": webhook.nateq_id,
        "url": public_url(webhook),
        "events": webhook.events,
        "is_active": webhook.is_active,
        "registration": webhook.registration,
    }


def drift_json(drift: "remote.Drift") -> dict[str, Any]:
    """Return a webhook and how it compares with Nateq's, for JSON."""
    return webhook_json(drift.webhook) | {
        "state": drift.state.value,
        "differences": [{"name": each.name, "here": each.here, "there": each.there} for each in drift.differences],
        "extra": list(drift.extra),
        "problem": "" if drift.problem is None else localized(drift.problem),
    }


def secrets_json(webhook: Webhook) -> list[dict[str, Any]]:
    """Return the ids of a webhook's secrets and when they expire; never the secrets."""
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
