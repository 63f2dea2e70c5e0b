"""Entries in the audit log for Django's own pages of the admin; `AdminPage` names the user for the package's pages."""

from typing import Any
from uuid import UUID

from django.http import HttpRequest

from nateq_webhooks import audit


def record(
    request: HttpRequest,
    action: audit.Action,
    *,
    target: str,
    alias: str,
    webhook_id: UUID | None = None,
    **details: Any,
) -> None:
    """Record what the user of a request does through the admin. Raises `django.db.Error` as `audit.record` does."""
    actor = request.user.get_username()
    audit.record(
        action,
        source=audit.Source.ADMIN,
        actor=actor,
        target=target,
        webhook_id=webhook_id,
        details=details,
        using=alias,
    )
