"""The site's webhooks as Nateq has them: registration, rotation, drift, coverage. Needs the extra `client`.

The only room that knows the client and the models. A command or an admin page calls one function of it; each may be
killed at any point and called again. Call none of them inside a transaction: what they write must outlast them.

::

    with remote.connect() as client:
        done = remote.register(client, "shop", ["ticket.created"])
"""

from nateq_webhooks.remote.catalogue import Catalogue, Coverage, catalogue, coverage
from nateq_webhooks.remote.changes import change
from nateq_webhooks.remote.connection import connect, each_warning, warnings
from nateq_webhooks.remote.drift import (
    Difference,
    Drift,
    Side,
    State,
    compare,
    compare_each,
    drift_of,
    known,
    settle,
    unseen_text,
)
from nateq_webhooks.remote.errors import BusyError, RemoteError
from nateq_webhooks.remote.keys import entry_of, organization_of
from nateq_webhooks.remote.registration import How, Registered, public_url, register, register_row
from nateq_webhooks.remote.removal import Removed, check_removal, remove
from nateq_webhooks.remote.rotation import retire_secrets, rotate
from nateq_webhooks.remote.telling import told

__all__ = [
    "BusyError",
    "Catalogue",
    "Coverage",
    "Difference",
    "Drift",
    "How",
    "Registered",
    "RemoteError",
    "Removed",
    "Side",
    "State",
    "catalogue",
    "change",
    "check_removal",
    "compare",
    "compare_each",
    "connect",
    "coverage",
    "drift_of",
    "each_warning",
    "entry_of",
    "known",
    "organization_of",
    "public_url",
    "register",
    "register_row",
    "remove",
    "retire_secrets",
    "rotate",
    "settle",
    "told",
    "unseen_text",
    "warnings",
]
