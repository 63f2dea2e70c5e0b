"""What the demo sends: a round of all published events, with retries and forgeries among them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from uuid import uuid4

from django.utils import timezone

from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.protocol.signatures import sign

from .sender import Attempt

Volley = tuple[Attempt, ...]
"""Attempts that are sent at the same moment."""


class Forgery(Enum):
    """How an attempt fails to prove that it comes from Nateq."""

    UNSIGNED = auto()
    OTHER_SECRET = auto()
    CHANGED_BODY = auto()


@dataclass(frozen=True, kw_only=True)
class Share:
    """How much of a round an event has: `retries` and `twins` are of its first delivery."""

    deliveries: int = 1
    retries: int = 0
    twins: int = 0
    forgeries: tuple[Forgery, ...] = ()


SHARES = {
    "message.received": Share(deliveries=3, twins=1, forgeries=(Forgery.UNSIGNED,)),
    "message.sent": Share(deliveries=2),
    "ticket.created": Share(deliveries=6, retries=2, forgeries=(Forgery.OTHER_SECRET,)),
    "ticket.updated": Share(deliveries=4, retries=1),
    "ticket.closed": Share(deliveries=2, twins=1, forgeries=(Forgery.CHANGED_BODY,)),
    "broadcast.failed": Share(retries=1),
    "lead.created": Share(deliveries=2, retries=1),
}


def one_round(secret: str, *, first_number: int) -> Iterator[Volley]:
    """Make a round's volleys, each at the moment it is asked for, so that its events have just happened."""
    for event in EVENTS:
        share = SHARES.get(event, Share())
        yield from _first_delivery(event, first_number, secret, share)
        for number in range(first_number + 1, first_number + share.deliveries):
            yield (_Delivery(event, number).attempt(1, secret),)
        for forgery in share.forgeries:
            yield (_Delivery(event, first_number).forged(forgery, secret),)


def _first_delivery(event: str, number: int, secret: str, share: Share) -> Iterator[Volley]:
    delivery = _Delivery(event, number)
    together = 1 + share.twins
    yield tuple(delivery.attempt(count, secret) for count in range(1, together + 1))
    for count in range(together + 1, together + share.retries + 1):
        yield (delivery.attempt(count, secret),)


class _Delivery:
    """One event on its way: each attempt has the same id, time and data."""

    def __init__(self, event: str, number: int) -> None:
        self.event = event
        self.number = number
        self.delivery_id = f"dlv_{uuid4().hex}"
        self.timestamp = timezone.now()

    def attempt(self, count: int, secret: str) -> Attempt:
        """The genuine attempt number `count`."""
        body = self._body(count)
        return self._post(count, body, f"sha256={sign(body, secret)}", genuine=True)

    def forged(self, forgery: Forgery, secret: str) -> Attempt:
        """An attempt to be refused."""
        body = self._body(1)
        match forgery:
            case Forgery.UNSIGNED:
                return self._post(1, body, None, genuine=False)
            case Forgery.OTHER_SECRET:
                return self._post(1, body, f"sha256={sign(body, f'not {secret}')}", genuine=False)
            case Forgery.CHANGED_BODY:
                return self._post(1, body + b"\n", f"sha256={sign(body, secret)}", genuine=False)

    def _body(self, count: int) -> bytes:
        envelope = example_envelope(
            self.event,
            number=self.number,
            delivery_id=self.delivery_id,
            attempt=count,
            timestamp=self.timestamp,
        )
        return json.dumps(envelope, ensure_ascii=False).encode()

    def _post(self, count: int, body: bytes, signature: str | None, *, genuine: bool) -> Attempt:
        return Attempt(
            event=self.event,
            delivery_id=self.delivery_id,
            number=count,
            body=body,
            signature=signature,
            genuine=genuine,
        )
