"""The deliveries: one for each accepted event and webhook, stored until it is delivered."""

import json
import secrets
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.sandbox.clock import now
from nateq_webhooks.sandbox.database import Database
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.webhooks import SandboxWebhook, Webhooks

MAX_COUNT: Final = 10_000
"""How many events one request may send; building and storing them takes about a second."""


class State(StrEnum):
    """The states of a delivery."""

    PENDING = "pending"
    """Waits for its first attempt or the next one."""
    HELD = "held"
    """Waits for a later delivery to be sent first (`Fault.REORDER`), or for its time."""
    SENDING = "sending"
    """An attempt is being made."""
    DELIVERED = "delivered"
    """The receiver answered 2xx."""
    FAILED = "failed"
    """All attempts are used up."""
    DROPPED = "dropped"
    """Never sent (`Fault.DROP`)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Delivery:
    """One event for one webhook. `seq` numbers the deliveries in the order of acceptance."""

    seq: int
    webhook_id: str
    delivery_id: str
    event: str
    envelope: str
    faults: tuple[Fault, ...]
    state: State
    attempt: int
    due_at: float

    def body(self) -> bytes:
        """Return the body of the next attempt."""
        payload = payload_of(self.envelope, self.delivery_id, self.attempt)
        try:
            return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError:  # a lone surrogate is sent as an escape
            return json.dumps(payload, separators=(",", ":")).encode()


def payload_of(envelope: str, delivery_id: str, attempt: int) -> dict[str, Any]:
    """Return the payload of an attempt: only the metadata differs between attempts."""
    payload = load_object(envelope.encode())
    payload["metadata"] |= {"delivery_id": delivery_id, "attempt": attempt}
    return payload


class Deliveries:
    """The deliveries in the database: accepted, claimed by the sender, and finished after an attempt."""

    def __init__(self, database: Database, webhooks: Webhooks, faults: Faults, catalogue: Mapping[str, str]) -> None:
        self._database = database
        self._webhooks = webhooks
        self._faults = faults
        self._catalogue = catalogue

    def accept(
        self,
        event: object,
        data: object = None,
        count: object = 1,
        webhook_id: object = None,
        *,
        among: Webhooks | None = None,
    ) -> list[str]:
        """Store an event, `count` times, for every active webhook that subscribes to it; return the delivery ids.

        Without `data` each event gets a different example. With `webhook_id` the event is sent only to that webhook,
        also if it does not subscribe to it. `among` restricts the webhooks. The events are committed when this
        returns. Raises `InvalidError`.
        """
        name, number = self._validated(event, data, count)
        receivers = self._receivers(name, webhook_id, among or self._webhooks)
        moment = now()
        first = self._next_number()
        rows = [
            row
            for offset in range(number)
            for webhook in receivers
            for row in self._rows(webhook, name, data, first + offset, moment)
        ]
        with self._database.transaction() as connection:
            for row in rows:
                seq = connection.execute(_INSERT, row).lastrowid
                if row["state"] == State.DROPPED:
                    connection.execute(_LOG_DROPPED, {"seq": seq, "now": moment, "status": LogStatus.DROPPED})
        return list(dict.fromkeys(row["delivery_id"] for row in rows))

    def claim(self, webhook_id: str, most: int) -> tuple[list[Delivery], float | None]:
        """Claim up to `most` due deliveries of a webhook and count their attempt.

        Also returns when the next delivery is due, or None.
        """
        moment = now()
        with self._database.transaction() as connection:
            waiting = connection.execute(_WAITING, {"webhook_id": webhook_id, "most": most + 1})
            found = [_delivery(row) for row in waiting]
            due = [_next_attempt(delivery) for delivery in found if delivery.due_at <= moment][:most]
            connection.executemany(
                "UPDATE delivery SET state = ?, attempt = ?, delivery_id = ? WHERE seq = ?",
                [(State.SENDING, delivery.attempt, delivery.delivery_id, delivery.seq) for delivery in due],
            )
        return due, next((delivery.due_at for delivery in found if delivery.due_at > moment), None)

    def resend(self, seq: int) -> bool:
        """Send a delivery again now, with the same id; False if it is being sent or does not exist."""
        with self._database.transaction() as connection:
            return connection.execute(_RESEND, {"seq": seq, "now": now()}).rowcount > 0

    def get(self, seq: int) -> Delivery | None:
        """Return the delivery with this number, or None."""
        rows = self._database.rows("SELECT * FROM delivery WHERE seq = ?", (seq,))
        return _delivery(rows[0]) if rows else None

    def counts(self, webhook_id: str | None = None) -> dict[State, int]:
        """Count the deliveries by state, of one webhook or of all."""
        query = "SELECT state, count(*) FROM delivery WHERE ? IS NULL OR webhook_id = ? GROUP BY state"
        counts = dict.fromkeys(State, 0)
        for state, count in self._database.rows(query, (webhook_id, webhook_id)):
            counts[State(state)] = count
        return counts

    def has(self, *states: State) -> bool:
        """Whether any delivery is in one of `states`."""
        query = "SELECT 1 FROM delivery WHERE state = ? LIMIT 1"
        return any(self._database.rows(query, (state,)) for state in states)

    def recover(self) -> None:
        """Log the attempts that the end of the last process interrupted, and make them due again."""
        with self._database.transaction() as connection:
            connection.execute(_LOG_CUT_SHORT, {"now": now(), "status": LogStatus.FAILED})
            connection.execute("UPDATE delivery SET state = 'pending', due_at = ? WHERE state = 'sending'", (now(),))

    def _rows(
        self, webhook: SandboxWebhook, event: str, data: object, number: int, moment: float
    ) -> Iterable[dict[str, Any]]:
        """Build the rows of an event for a webhook, and decide which faults happen to it."""
        faults = [fault for fault in _ON_DELIVERY if self._faults.happens(fault)]
        delivery_id = "dlv_" + secrets.token_hex(12)
        envelope = example_envelope(
            event,
            number=number,
            delivery_id=delivery_id,
            organization_id=webhook.organization,
            timestamp=datetime.fromtimestamp(moment, UTC),
        )
        if data is not None:
            envelope["data"] = data
        delay = self._faults.seconds(Fault.DELAY) if Fault.DELAY in faults else 0.0
        state, due_at, attempt = State.PENDING, moment + delay, 0
        if Fault.DROP in faults:
            state, attempt = State.DROPPED, 1
        elif Fault.REORDER in faults:
            state, due_at = State.HELD, due_at + self._faults.seconds(Fault.REORDER)
        row = {
            "webhook_id": webhook.id,
            "delivery_id": delivery_id,
            "event": event,
            "envelope": json.dumps(envelope),
            "faults": " ".join(faults),
            "state": state,
            "attempt": attempt,
            "due_at": due_at,
        }
        return [row, row] if Fault.DUPLICATE in faults and state != State.DROPPED else [row]

    def _receivers(self, event: str, webhook_id: object, among: Webhooks) -> Sequence[SandboxWebhook]:
        if webhook_id is None:
            return [webhook for webhook in among.all() if webhook.is_active and event in webhook.events]
        webhook = among.get(webhook_id) if isinstance(webhook_id, str) else None
        if webhook is None:
            raise InvalidError({"webhook_id": "is not a webhook of this sandbox."})
        return [webhook]

    def _validated(self, event: object, data: object, count: object) -> tuple[str, int]:
        problems = {}
        if not isinstance(event, str) or event not in self._catalogue:
            problems["event"] = f"{event!a} is unknown. The events are {', '.join(self._catalogue)}."
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
            problems["count"] = f"must be a whole number from 1 to {MAX_COUNT}."
        try:
            json.dumps(data, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            problems["data"] = "must be JSON: no NaN, no infinity, not nested too deep."
        if problems or not isinstance(event, str) or not isinstance(count, int):
            raise InvalidError(problems)
        return event, count

    def _next_number(self) -> int:
        """Return the number of the next example, so that examples differ."""
        return int(self._database.rows("SELECT coalesce(max(seq), 0) + 1 FROM delivery")[0][0])


_ON_DELIVERY: Final = (Fault.DROP, Fault.DUPLICATE, Fault.REORDER, Fault.DELAY, Fault.NEW_ID)
"""The faults of a whole delivery, which are decided when it is accepted."""

_INSERT: Final = """
INSERT INTO delivery (webhook_id, delivery_id, event, envelope, faults, state, attempt, due_at)
VALUES (:webhook_id, :delivery_id, :event, :envelope, :faults, :state, :attempt, :due_at)
"""

_LOG_DROPPED: Final = """
INSERT INTO attempt (delivery_seq, webhook_id, delivery_id, number, status, response_body, duration_ms,
                     attempted_at, faults)
SELECT seq, webhook_id, delivery_id, 1, :status, '', 0, :now, faults FROM delivery WHERE seq = :seq
"""

_LOG_CUT_SHORT: Final = """
INSERT INTO attempt (delivery_seq, webhook_id, delivery_id, number, status, response_body, duration_ms,
                     attempted_at, next_attempt_at, faults)
SELECT seq, webhook_id, delivery_id, attempt, :status, 'The sandbox ended during this attempt.', 0, :now, :now, faults
FROM delivery WHERE state = 'sending'
"""

# Two reads of one index, each limited: the cost does not depend on the size of the backlog.
_WAITING: Final = """
SELECT * FROM (SELECT * FROM delivery WHERE state = 'pending' AND webhook_id = :webhook_id
               ORDER BY due_at, seq LIMIT :most)
UNION ALL
SELECT * FROM (SELECT * FROM delivery WHERE state = 'held' AND webhook_id = :webhook_id
               ORDER BY due_at, seq LIMIT :most)
ORDER BY due_at, seq LIMIT :most
"""

_RESEND: Final = """
UPDATE delivery SET state = 'pending', due_at = :now WHERE seq = :seq AND state <> 'sending'
"""


def _next_attempt(delivery: Delivery) -> Delivery:
    """Return the delivery for its next attempt."""
    attempt = delivery.attempt + 1
    renewed = attempt > 1 and Fault.NEW_ID in delivery.faults
    delivery_id = "dlv_" + secrets.token_hex(12) if renewed else delivery.delivery_id
    return replace(delivery, attempt=attempt, delivery_id=delivery_id, state=State.SENDING)


def _delivery(row: sqlite3.Row) -> Delivery:
    return Delivery(
        seq=row["seq"],
        webhook_id=row["webhook_id"],
        delivery_id=row["delivery_id"],
        event=row["event"],
        envelope=row["envelope"],
        faults=tuple(Fault(name) for name in row["faults"].split()),
        state=State(row["state"]),
        attempt=row["attempt"],
        due_at=row["due_at"],
    )
