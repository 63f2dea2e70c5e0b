"""An entry of the delivery log, as a value: an attempt, with the receiver's response and when the next one is due."""

from dataclasses import dataclass
from typing import Any

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.faults import Fault
from nateq_webhooks.sandbox.moments import iso


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The result of an attempt. `next_attempt_at` is None after a success and after the last attempt."""

    status: LogStatus
    response_status: int | None
    response_body: str
    duration_ms: int
    attempted_at: float
    next_attempt_at: float | None
    faults: tuple[Fault, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt(Outcome):
    """An entry of the log. If `response_status` is None, `response_body` says why there is no response."""

    webhook_id: str
    delivery_seq: int
    delivery_id: str
    event: str
    number: int
    envelope: str

    @property
    def payload(self) -> dict[str, Any]:
        """What was sent or, for a dropped delivery, would have been."""
        return payload_of(self.envelope, self.delivery_id, self.number)

    def as_json(self) -> dict[str, Any]:
        """Return the entry as the API shows it."""
        return {
            "delivery_id": self.delivery_id,
            "event": self.event,
            "attempt": self.number,
            "status": self.status,
            "response_status": self.response_status,
            "response_body": self.response_body,
            "duration_ms": self.duration_ms,
            "attempted_at": iso(self.attempted_at),
            "next_attempt_at": None if self.next_attempt_at is None else iso(self.next_attempt_at),
            "payload": self.payload,
        }


def payload_of(envelope: str, delivery_id: str, attempt: int) -> dict[str, Any]:
    """Return the payload of an attempt: only the metadata differs between attempts."""
    payload = load_object(envelope.encode())
    payload["metadata"] |= {"delivery_id": delivery_id, "attempt": attempt}
    return payload
