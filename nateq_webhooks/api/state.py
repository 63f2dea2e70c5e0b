"""`/receivers` and `/status`: what runs, waits, fails and is paused, over all deliveries."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from django.db import router
from rest_framework.response import Response

from nateq_webhooks.api import access
from nateq_webhooks.api.base import ApiView
from nateq_webhooks.api.documents import moment
from nateq_webhooks.dispatch.status import ReceiverStatus, Status, status
from nateq_webhooks.dispatch.status_document import UNREADABLE_SECRET, document
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import scope_parts
from nateq_webhooks.receivers import ANY_EVENT, registry
from nateq_webhooks.rest.parameters import Parameters
from nateq_webhooks.stored_secrets import unreadable

MAX_LAG: Final = timedelta(seconds=300)
"""How long work may be overdue: the default of `nateq_status --max-lag`."""


class ReceiversView(ApiView):
    """The receivers: those that are connected in this process, and those of unfinished runs."""

    access = {"GET": access.STATE}

    def get(self, request: Any) -> Response:
        """List all; they are as many as the code has."""
        Parameters.read(request)
        data = list(_receivers(status(router.db_for_read(Run))))
        return self.answer(data, {"total": len(data)})


class StatusView(ApiView):
    """The state of dispatch, for monitoring."""

    access = {"GET": access.STATE}

    def get(self, request: Any) -> Response:
        """Show it as `nateq_status --json` does, without the names of webhooks."""
        Parameters.read(request)
        found = status(router.db_for_read(Run))
        troubles = found.troubles(max_lag=MAX_LAG, max_dead=0)
        troubles += [UNREADABLE_SECRET] if unreadable(router.db_for_read(Webhook)) else []
        return self.answer(document(found, troubles))


def _receivers(found: Status) -> Iterator[dict[str, Any]]:
    connected = {receiver.name for receiver in registry}
    for name in sorted(connected | found.receivers.keys()):
        yield _document(found, name)


def receiver_document(name: str) -> dict[str, Any]:
    """Return one receiver, as it is now in the database that is written to."""
    return _document(status(router.db_for_write(Run)), name)


def _document(found: Status, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "is_connected": registry.get(name) is not None,
        "events": sorted(event if event != ANY_EVENT else "*" for event in registry.events_of(name)),
        "pauses": list(_pauses(found, name)),
        **asdict(found.receivers.get(name, ReceiverStatus())),
    }


def _pauses(found: Status, name: str) -> Iterator[dict[str, Any]]:
    """Yield the pauses that hold a receiver back: its own, that of everything, or for one webhook."""
    for hold in found.paused:
        webhook, receiver = scope_parts(hold.scope)
        if receiver in ("", name):
            yield {
                "webhook_id": webhook or None,
                "of_receiver": bool(receiver),
                "since": moment(hold.paused_at),
                "by": hold.paused_by,
                "reason": hold.reason,
                "is_automatic": hold.is_automatic,
            }
