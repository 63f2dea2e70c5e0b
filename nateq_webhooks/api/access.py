"""What an operation needs of its caller: scopes of a key, or permissions of a staff user."""

from dataclasses import dataclass
from typing import Final

from nateq_webhooks.protocol.api import Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """Who may do an operation."""

    scopes: tuple[Scope, ...]
    "A key needs all of them."
    permissions: tuple[tuple[str, ...], ...]
    "A staff user needs one of each group (code names of this app's permissions)."
    needs_all_rows: bool = False
    "Whether the caller must see the rows of every organization: the operation shows figures over all of them."


WEBHOOKS: Final = Access(scopes=(Scope.WEBHOOKS_READ,), permissions=(("view_webhook", "change_webhook"),))

CREATE: Final = Access(scopes=(Scope.WEBHOOKS_MANAGE,), permissions=(("add_webhook",),))

CHANGE: Final = Access(scopes=(Scope.WEBHOOKS_MANAGE,), permissions=(("change_webhook",),))

DELETE: Final = Access(scopes=(Scope.WEBHOOKS_MANAGE,), permissions=(("delete_webhook",),))

ROTATE: Final = Access(scopes=(Scope.WEBHOOKS_MANAGE,), permissions=(("change_webhook",), ("reveal_secret",)))

LOGS: Final = Access(
    scopes=(Scope.WEBHOOKS_READ,), permissions=(("view_webhook", "change_webhook"), ("view_delivery",))
)

DELIVERIES: Final = Access(scopes=(Scope.DELIVERIES_READ,), permissions=(("view_delivery",),))

BODIES: Final = Access(
    scopes=(Scope.DELIVERIES_READ, Scope.PAYLOADS_READ), permissions=(("view_delivery",), ("view_payload",))
)

RUNS: Final = Access(scopes=(Scope.DELIVERIES_READ,), permissions=(("view_delivery",), ("view_run",)))

REJECTIONS: Final = Access(scopes=(Scope.DELIVERIES_READ,), permissions=(("view_rejection",),))

REPLAY: Final = Access(scopes=(Scope.DELIVERIES_REPLAY,), permissions=(("view_delivery",), ("replay_delivery",)))

REPLAYS: Final = Access(scopes=(Scope.DELIVERIES_REPLAY,), permissions=(("view_replay",),))

CANCEL: Final = Access(scopes=(Scope.DELIVERIES_REPLAY,), permissions=(("view_replay",), ("replay_delivery",)))

CONTROL: Final = Access(
    scopes=(Scope.DELIVERIES_REPLAY,), permissions=(("view_run",), ("replay_delivery",)), needs_all_rows=True
)

STATE: Final = Access(scopes=(Scope.DELIVERIES_READ,), permissions=(("view_run",),), needs_all_rows=True)

DESCRIPTION: Final = Access(scopes=(), permissions=())
"""Every key, and every staff user."""
