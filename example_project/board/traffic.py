"""What the demo has Nateq send: a round of all published events, some repeated or with a bad signature."""

from collections.abc import Iterator
from dataclasses import dataclass

from nateq_webhooks.protocol import EVENTS
from nateq_webhooks.sandbox import Fault


@dataclass(frozen=True, kw_only=True)
class Sending:
    """An event to be sent, with the example data of a number, and perhaps a fault."""

    event: str
    number: int
    fault: Fault | None = None


@dataclass(frozen=True, kw_only=True)
class Share:
    """How many deliveries of an event a round has, and the faults of the first ones, one each.

    A bad signature is given to the next attempt, which may be one of another delivery.
    """

    deliveries: int = 1
    faults: tuple[Fault, ...] = ()


TWICE = Fault.DUPLICATE
FORGED = Fault.CORRUPT_SIGNATURE

SHARES = {
    "message.received": Share(deliveries=3, faults=(TWICE, FORGED)),
    "message.sent": Share(deliveries=2),
    "ticket.created": Share(deliveries=6, faults=(TWICE, FORGED)),
    "ticket.updated": Share(deliveries=4, faults=(TWICE,)),
    "ticket.closed": Share(deliveries=2, faults=(TWICE, FORGED)),
    "broadcast.failed": Share(faults=(TWICE,)),
    "lead.created": Share(deliveries=2, faults=(TWICE,)),
}

EARLY_EVENTS = ("user.created", "lead.created")
"""Events that happen while the webhook is being registered: they get 503 and are retried."""


def early_events(first_number: int) -> list[Sending]:
    """Return what is sent before the webhook is registered."""
    return [Sending(event=event, number=first_number + SHARES.get(event, Share()).deliveries) for event in EARLY_EVENTS]


def one_round(first_number: int) -> Iterator[Sending]:
    """Yield the sendings of a round."""
    for event in EVENTS:
        share = SHARES.get(event, Share())
        for place in range(share.deliveries):
            fault = share.faults[place] if place < len(share.faults) else None
            yield Sending(event=event, number=first_number + place, fault=fault)
