"""The site's webhooks at Nateq: registration, rotation, comparison, events. Needs the extra `client`.

Only this package uses both the client and the models. A command or an admin page calls one function of it; each may
be killed at any point and called again. Call them outside of a transaction: each step must be committed.

::

    with remote.connect() as client:
        registered = remote.register(client, "shop", ["ticket.created"])
"""

from nateq_webhooks.remote.attempt_log import SentAttempt, SentPage, sent_log
from nateq_webhooks.remote.catalogue import Catalogue, Coverage, catalogue, coverage
from nateq_webhooks.remote.changes import change
from nateq_webhooks.remote.connection import connect
from nateq_webhooks.remote.drift import (
    Difference,
    Direction,
    Drift,
    DriftState,
    compare,
    compare_each,
    compare_one,
    reconcile,
)
from nateq_webhooks.remote.registration import Registered, RegistrationResult, register, register_existing
from nateq_webhooks.remote.remote_errors import BusyError, RemoteError
from nateq_webhooks.remote.removal import RemovalResult, check_removal, remove
from nateq_webhooks.remote.secret_rotation import retire_secrets, rotate

__all__ = [
    "BusyError",
    "Catalogue",
    "Coverage",
    "Difference",
    "Direction",
    "Drift",
    "DriftState",
    "Registered",
    "RegistrationResult",
    "RemoteError",
    "RemovalResult",
    "SentAttempt",
    "SentPage",
    "catalogue",
    "change",
    "check_removal",
    "compare",
    "compare_each",
    "compare_one",
    "connect",
    "coverage",
    "reconcile",
    "register",
    "register_existing",
    "remove",
    "retire_secrets",
    "rotate",
    "sent_log",
]
