"""A webhook of the sandbox, as a value."""

from dataclasses import dataclass, field
from typing import Any, Final

from nateq_webhooks.sandbox.moments import iso

ORGANIZATION_ID: Final = "org_sandbox"
"""The organization of keys and webhooks that name none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxWebhook:
    """A webhook as Nateq stores it. Its repr does not show the secret."""

    id: str
    url: str
    events: tuple[str, ...]
    secret: str = field(repr=False)
    is_active: bool
    created_at: float
    organization: str

    def as_json(self) -> dict[str, Any]:
        """Return the webhook for the API, without the secret."""
        return {
            "id": self.id,
            "url": self.url,
            "events": list(self.events),
            "is_active": self.is_active,
            "created_at": iso(self.created_at),
        }
