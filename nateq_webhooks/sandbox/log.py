"""The delivery log: one entry per attempt, with the receiver's response and when the next attempt is due.

An entry is added when its attempt has ended, and the order is newest first: entries are only added at the front.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.sandbox.clock import iso
from nateq_webhooks.sandbox.database import Database
from nateq_webhooks.sandbox.deliveries import Delivery, State, payload_of
from nateq_webhooks.sandbox.faults import Fault


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


class Log:
    """The log in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, delivery: Delivery, outcome: Outcome) -> None:
        """Log the result of an attempt, and finish or postpone its delivery, in one transaction.

        Nothing is logged if the webhook was deleted meanwhile.
        """
        state, due_at = State.DELIVERED, delivery.due_at
        if outcome.status == LogStatus.FAILED:
            state = State.FAILED if outcome.next_attempt_at is None else State.PENDING
            due_at = outcome.next_attempt_at or due_at
        values = {
            "seq": delivery.seq,
            "webhook_id": delivery.webhook_id,
            "delivery_id": delivery.delivery_id,
            "number": delivery.attempt,
            "status": outcome.status,
            "response_status": outcome.response_status,
            "response_body": outcome.response_body,
            "duration_ms": outcome.duration_ms,
            "attempted_at": outcome.attempted_at,
            "next_attempt_at": outcome.next_attempt_at,
            "faults": " ".join(outcome.faults),
            "state": state,
            "due_at": due_at,
        }
        with self._database.transaction() as connection:
            if connection.execute(_SET_STATE, values).rowcount:
                connection.execute(_INSERT_ENTRY, values)
                connection.execute(_RELEASE, values)

    def page(self, webhook_id: str, limit: int, offset: int) -> list[Attempt]:
        """Return one page of a webhook's log, newest first."""
        query = f"{_ENTRIES} WHERE attempt.webhook_id = ? ORDER BY attempt.seq DESC LIMIT ? OFFSET ?"
        return [_attempt(row) for row in self._database.rows(query, (webhook_id, limit, offset))]

    def count(self, webhook_id: str) -> int:
        """Return how many entries a webhook's log has."""
        query = "SELECT count(*) FROM attempt WHERE webhook_id = ?"
        return int(self._database.rows(query, (webhook_id,))[0][0])

    def of_delivery(self, seq: int) -> list[Attempt]:
        """Return the attempts at one delivery, newest first."""
        query = f"{_ENTRIES} WHERE attempt.delivery_seq = ? ORDER BY attempt.seq DESC"
        return [_attempt(row) for row in self._database.rows(query, (seq,))]

    def all(self) -> list[Attempt]:
        """Return all attempts, newest first."""
        return [_attempt(row) for row in self._database.rows(f"{_ENTRIES} ORDER BY attempt.seq DESC")]


_SET_STATE: Final = "UPDATE delivery SET state = :state, due_at = :due_at WHERE seq = :seq"

_INSERT_ENTRY: Final = """
INSERT INTO attempt (delivery_seq, webhook_id, delivery_id, number, status, response_status, response_body,
                     duration_ms, attempted_at, next_attempt_at, faults)
VALUES (:seq, :webhook_id, :delivery_id, :number, :status, :response_status, :response_body,
        :duration_ms, :attempted_at, :next_attempt_at, :faults)
"""

# A later delivery was sent: those that were held until then are due.
_RELEASE: Final = """
UPDATE delivery SET state = 'pending', due_at = :attempted_at
WHERE state = 'held' AND webhook_id = :webhook_id AND seq < :seq
"""

_ENTRIES: Final = """
SELECT attempt.*, delivery.event, delivery.envelope FROM attempt JOIN delivery ON delivery.seq = attempt.delivery_seq
"""


def _attempt(row: sqlite3.Row) -> Attempt:
    return Attempt(
        webhook_id=row["webhook_id"],
        delivery_seq=row["delivery_seq"],
        delivery_id=row["delivery_id"],
        event=row["event"],
        number=row["number"],
        envelope=row["envelope"],
        status=LogStatus(row["status"]),
        response_status=row["response_status"],
        response_body=row["response_body"],
        duration_ms=row["duration_ms"],
        attempted_at=row["attempted_at"],
        next_attempt_at=row["next_attempt_at"],
        faults=tuple(Fault(name) for name in row["faults"].split()),
    )
