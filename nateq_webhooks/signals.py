"""The signals to connect to: one per event that Nateq publishes, one for every event, six for monitoring.

    from django.dispatch import receiver
    from nateq_webhooks import signals

    @receiver(signals.ticket_created)
    def open_ticket(*, event, delivery, run, **kwargs):
        Ticket.objects.create(number=event.data["id"])

A receiver of an event gets `sender` (the Delivery class), `event` (a frozen `nateq_webhooks.protocol.events.Event`,
its `data` parsed again from the stored bytes for each receiver and try), `delivery` (the stored row) and `run` (this
receiver's, with `tries`, `is_replay` and `idempotency_key`). It may be a function, a class or static method, or an
`async def`; it runs after the delivery has been committed. Its return value is ignored. An exception is recorded on the
run, which is tried again; other receivers run regardless.

Each receiver has a stable name, `module.qualname` or its `dispatch_uid`, under which its runs are stored. So a lambda,
a local function or a method of one object is refused unless it is connected with both a `dispatch_uid` and
`weak=False`. Callables that could not run are refused, too: a generator (a function with a `yield`), a class, a
function without `**kwargs`.
A callable that is connected to two signals of the same delivery (for example `ticket_created` and `event_received`)
runs once for that delivery.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from django.dispatch import Signal

from nateq_webhooks.errors import ReceiverError
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.receivers import ANY_EVENT, registry

__all__ = [
    "EventSignal",
    "broadcast_failed",
    "broadcast_sent",
    "conversation_assigned",
    "conversation_ended",
    "conversation_started",
    "delivery_content_differs",
    "delivery_duplicated",
    "delivery_failed",
    "delivery_processed",
    "delivery_received",
    "delivery_rejected",
    "event_received",
    "lead_created",
    "message_received",
    "message_sent",
    "signal_for",
    "ticket_closed",
    "ticket_created",
    "ticket_updated",
    "user_created",
]


class EventSignal(Signal):
    """A Django signal whose receivers have stable names and are run by `dispatch`, each separately, not by `send`."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self.event: Final = event

    def connect(
        self,
        receiver: Callable[..., Any],
        sender: object = None,
        weak: bool = True,  # noqa: FBT001, FBT002 - Django's signature
        dispatch_uid: str | None = None,
        *,
        atomic: bool = True,
    ) -> None:
        """Connect a receiver.

        Raises `ReceiverError` if it has no stable name, would be garbage-collected, is a class or a generator, or can't
        be called with an event.

        With `atomic=False` it is not wrapped in a transaction: it may take long or call other services without keeping
        one open, but its changes are made at least once instead of exactly once.
        """
        label = getattr(getattr(sender, "_meta", None), "label", None)
        if sender is not None and not (isinstance(sender, type) and label == "nateq_webhooks.Delivery"):
            raise ReceiverError(
                f"sender={sender!r} never sends an event: the sender is always nateq_webhooks.models.Delivery. Leave "
                "it out; to receive the events of one webhook, look at delivery.webhook_id in the receiver."
            )
        checked = registry.checked(receiver, uid=dispatch_uid, weak=weak, atomic=atomic)
        super().connect(receiver, sender=sender, weak=weak, dispatch_uid=dispatch_uid)
        registry.add(self.event, checked)

    def disconnect(
        self,
        receiver: Callable[..., Any] | None = None,
        sender: object = None,
        dispatch_uid: str | None = None,
    ) -> bool:
        """Disconnect a receiver, identified as it was connected; return whether there was one."""
        found = super().disconnect(receiver, sender=sender, dispatch_uid=dispatch_uid)
        if found:
            registry.remove(self.event, receiver, uid=dispatch_uid)
        return found


_by_event: Final[dict[str, EventSignal]] = {}


def signal_for(event: str) -> EventSignal:
    """Return the signal of an event by its name, built in or not: `signal_for("ticket.merged")`.

    The same name always returns the same signal. Raises `ValueError` for an invalid name such as `"ticket.*"`, and for
    a misspelled built-in one such as `"ticket_created"`.
    """
    if not isinstance(event, str) or not event:
        raise ValueError(f'{event!r} is not an event name. Write it as Nateq does, such as "ticket.created".')
    if event not in EVENTS:
        _refuse_misspelled(event)
    return _by_event.setdefault(event, EventSignal(event))


_NOT_IN_NAMES: Final = re.compile(r"[\s*?\[\](){}|^$\\,;\"'`]")
"""Characters that no event's name contains: spaces, and the characters of patterns and lists."""


def _refuse_misspelled(event: str) -> None:
    """Raise `ValueError` for a name that no delivery can have. Names that are not built in are accepted."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", ".", event)
    usual = re.sub(r"[\W_]+", ".", words).strip(".").lower()
    if usual in EVENTS:
        raise ValueError(f"{event!r} is not an event name. Did you mean {usual!r}?")
    if _NOT_IN_NAMES.search(event) or not event.isprintable():
        family = [name for name in EVENTS if name.startswith(f"{usual}.")] or list(EVENTS)
        raise ValueError(
            f"{event!r} is not an event name: there are no patterns, and a name has no spaces. Connect to each of the "
            f"events ({', '.join(family)}), or to event_received and look at event.name."
        )


conversation_started = signal_for("conversation.started")
"""A new conversation begins."""
conversation_ended = signal_for("conversation.ended")
"""A conversation is closed."""
conversation_assigned = signal_for("conversation.assigned")
"""A conversation is assigned."""
message_received = signal_for("message.received")
"""An inbound message arrives."""
message_sent = signal_for("message.sent")
"""An outbound message is sent."""
ticket_created = signal_for("ticket.created")
"""A ticket is created."""
ticket_updated = signal_for("ticket.updated")
"""A ticket is updated."""
ticket_closed = signal_for("ticket.closed")
"""A ticket is closed."""
broadcast_sent = signal_for("broadcast.sent")
"""A broadcast was sent."""
broadcast_failed = signal_for("broadcast.failed")
"""A broadcast failed."""
user_created = signal_for("user.created")
"""A workspace user is created."""
lead_created = signal_for("lead.created")
"""A new lead is captured."""

event_received = EventSignal(ANY_EVENT)
"""Every event that is subscribed to, including those that are not built in."""

# For monitoring. These are plain Django signals, sent after the commit; a receiver that raises is logged.
delivery_received = Signal(use_caching=True)
"""A new delivery has been stored. Gets `sender` (Delivery) and `delivery`."""
delivery_duplicated = Signal(use_caching=True)
"""The sender repeated a stored delivery. Gets `sender` (Delivery) and `delivery`."""
delivery_content_differs = Signal(use_caching=True)
"""The sender used the id of a stored delivery for other content; no receiver runs for it. Sent after
`delivery_duplicated`. Gets `sender` (Delivery), `delivery` (the stored row, which keeps its content) and `event` (the
`Event` of the other content; `delivery.other_contents` has the bytes, within limits)."""
delivery_rejected = Signal(use_caching=True)
"""A request was refused and nothing stored. Gets `sender` (Delivery), `webhook_id`, `reason` (a code) and
`remote_addr` (text or None)."""
delivery_processed = Signal(use_caching=True)
"""Every receiver of a delivery has succeeded, or none is connected. Gets `sender` (Delivery) and `delivery`."""
delivery_failed = Signal(use_caching=True)
"""A receiver of a delivery failed and will not be tried again. Gets `sender` (Delivery) and `delivery`."""
