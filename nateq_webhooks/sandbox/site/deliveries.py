"""The deliveries, one for each accepted event and webhook, stored until it is delivered, and the log of attempts."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from django.db import transaction
from django.db.models import Count, F, Max, QuerySet

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.examples import example_envelope
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Outcome, payload_of
from nateq_webhooks.sandbox.moments import now
from nateq_webhooks.sandbox.sandbox_errors import InvalidError
from nateq_webhooks.sandbox.site.models import Attempt, Delivery, Webhook, new_delivery_id
from nateq_webhooks.sandbox.site.webhooks import Webhooks

State = Delivery.State

UNFINISHED: Final = (State.PENDING, State.HELD, State.SENDING)

MAX_COUNT: Final = 10_000
"""How many events one request may send; building and storing them takes about a second."""

_ON_DELIVERY: Final = (Fault.DROP, Fault.DUPLICATE, Fault.REORDER, Fault.DELAY, Fault.NEW_ID)
"""The faults of a whole delivery, which are decided when it is accepted."""


class Deliveries:
    """Accepts events, claims what the sender posts, and records the results."""

    def __init__(self, webhooks: Webhooks, faults: Faults, catalogue: Mapping[str, str]) -> None:
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
        with transaction.atomic():
            first = (Delivery.objects.aggregate(last=Max("seq"))["last"] or 0) + 1  # examples differ by their number
            rows = Delivery.objects.bulk_create(
                row
                for offset in range(number)
                for webhook in receivers
                for row in self._rows(webhook, name, data, first + offset, moment)
            )
            dropped = [row for row in rows if row.state == State.DROPPED]
            Attempt.objects.bulk_create(_entry(row, LogStatus.DROPPED, attempted_at=moment) for row in dropped)
        return list(dict.fromkeys(row.public_id for row in rows))

    def _rows(self, webhook: Webhook, event: str, data: object, number: int, moment: float) -> Iterator[Delivery]:
        """Build the rows of an event for a webhook, and decide which faults happen to it."""
        faults = tuple(fault for fault in _ON_DELIVERY if self._faults.happens(fault))
        public_id = new_delivery_id()
        envelope = example_envelope(
            event,
            number=number,
            delivery_id=public_id,
            organization_id=webhook.organization,
            timestamp=datetime.fromtimestamp(moment, UTC),
        )
        if data is not None:
            envelope["data"] = data
        state, due_at, attempt = State.PENDING, moment, 0
        if Fault.DELAY in faults:
            due_at += self._faults.seconds(Fault.DELAY)
        if Fault.DROP in faults:
            state, attempt = State.DROPPED, 1
        elif Fault.REORDER in faults:
            state, due_at = State.HELD, due_at + self._faults.seconds(Fault.REORDER)
        text = json.dumps(envelope)
        for _ in range(2 if Fault.DUPLICATE in faults and state != State.DROPPED else 1):
            yield Delivery(
                webhook=webhook,
                public_id=public_id,
                event=event,
                envelope=text,
                faults=faults,
                state=state,
                attempt=attempt,
                due_at=due_at,
            )

    def _receivers(self, event: str, webhook_id: object, among: Webhooks) -> list[Webhook]:
        if webhook_id is None:
            return [webhook for webhook in among.rows().filter(is_active=True) if event in webhook.events]
        webhook = among.get(webhook_id) if isinstance(webhook_id, str) else None
        if webhook is None:
            raise InvalidError({"webhook_id": "is not a webhook of this sandbox."})
        return [webhook]

    def _validated(self, event: object, data: object, count: object) -> tuple[str, int]:
        problems = {}
        if not isinstance(event, str) or event not in self._catalogue:
            what = "is missing" if event is None else f"{event!a} is unknown"
            problems["event"] = f"{what}. The events are {', '.join(self._catalogue)}."
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MAX_COUNT:
            problems["count"] = f"must be a whole number from 1 to {MAX_COUNT}."
        try:
            json.dumps(data, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            problems["data"] = "must be JSON: no NaN, no infinity, not nested too deep."
        if problems or not isinstance(event, str) or not isinstance(count, int):
            raise InvalidError(problems)
        return event, count


def claim(webhook: Webhook, most: int) -> tuple[list[Delivery], float | None]:
    """Claim up to `most` due deliveries of a webhook and count their attempt. The caller commits.

    Also returns when the next delivery is due, or None.
    """
    moment = now()
    waiting: list[Delivery] = []
    for state in (State.PENDING, State.HELD):  # each reads its part of one index, limited: no matter how many wait
        rows = Delivery.objects.filter(state=state, webhook=webhook).order_by("due_at", "seq")
        waiting += rows[: most + 1]
    waiting.sort(key=lambda delivery: (delivery.due_at, delivery.seq))
    due = [delivery for delivery in waiting if delivery.due_at <= moment][:most]
    for delivery in due:
        delivery.attempt += 1
        if delivery.attempt > 1 and delivery.has_new_ids:
            delivery.public_id = new_delivery_id()
            Delivery.objects.filter(pk=delivery.pk).update(public_id=delivery.public_id)
    claimed = Delivery.objects.filter(pk__in=[delivery.pk for delivery in due])
    claimed.update(state=State.SENDING, attempt=F("attempt") + 1)
    return due, next((delivery.due_at for delivery in waiting if delivery.due_at > moment), None)


def record(finished: Sequence[tuple[Delivery, Outcome]]) -> None:
    """Log the results of attempts, and finish or postpone their deliveries. The caller commits.

    Nothing is logged for a webhook that was deleted meanwhile.
    """
    if not finished:
        return
    rows = Delivery.objects.filter(pk__in=[delivery.pk for delivery, _ in finished])
    known = set(rows.values_list("pk", "public_id"))  # by the id, too: numbers begin again after a reset
    results = [(delivery, outcome) for delivery, outcome in finished if (delivery.pk, delivery.public_id) in known]
    Attempt.objects.bulk_create(_entry(delivery, **_values(outcome)) for delivery, outcome in results)
    delivered = [delivery.pk for delivery, outcome in results if outcome.status == LogStatus.DELIVERED]
    Delivery.objects.filter(pk__in=delivered).update(state=State.DELIVERED)
    for delivery, outcome in results:
        if outcome.status == LogStatus.FAILED:
            due_at = outcome.next_attempt_at
            state = State.FAILED if due_at is None else State.PENDING
            due = {} if due_at is None else {"due_at": due_at}
            Delivery.objects.filter(pk=delivery.pk).update(state=state, **due)
    if Delivery.objects.filter(state=State.HELD).exists():
        for delivery, outcome in results:
            _release(delivery, outcome.attempted_at)


def _release(sent: Delivery, moment: float) -> None:
    """Make the deliveries due that were held until this later one was sent."""
    held = Delivery.objects.filter(state=State.HELD, webhook_id=sent.webhook_id, seq__lt=sent.seq)
    held.update(state=State.PENDING, due_at=moment)


def _values(outcome: Outcome) -> dict[str, Any]:
    return {each.name: getattr(outcome, each.name) for each in fields(outcome)}


def recover() -> None:
    """Log the attempts that the end of the last process interrupted, and make them due again."""
    moment = now()
    with transaction.atomic():
        interrupted = Delivery.objects.filter(state=State.SENDING)
        body = "The sandbox ended during this attempt."
        values: dict[str, Any] = {"response_body": body, "attempted_at": moment, "next_attempt_at": moment}
        Attempt.objects.bulk_create(_entry(delivery, LogStatus.FAILED, **values) for delivery in interrupted)
        interrupted.update(state=State.PENDING, due_at=moment)


def resend(seq: int) -> bool:
    """Send a delivery again now, with the same id; False if it is being sent or does not exist."""
    rows = Delivery.objects.filter(pk=seq).exclude(state=State.SENDING)
    return rows.update(state=State.PENDING, due_at=now()) > 0


def counts(webhook: Webhook | None = None) -> dict[State, int]:
    """Count the deliveries by state, of one webhook or of all."""
    rows = Delivery.objects.all() if webhook is None else Delivery.objects.filter(webhook=webhook)
    found = dict(rows.order_by().values_list("state").annotate(Count("pk")))
    return {state: found.get(state, 0) for state in State}


def has(*states: State) -> bool:
    """Whether any delivery is in one of `states`, by one query: between two it could change from one to another."""
    return Delivery.objects.filter(state__in=states).exists()


def entries() -> QuerySet[Attempt]:
    """Return the log, newest first, with what an entry shows of its delivery."""
    return Attempt.objects.select_related("delivery")


def body_of(delivery: Delivery) -> bytes:
    """Return the body of the next attempt."""
    payload = payload_of(delivery.envelope, delivery.public_id, delivery.attempt)
    try:
        return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:  # a lone surrogate is sent as an escape
        return json.dumps(payload, separators=(",", ":")).encode()


def _entry(delivery: Delivery, status: LogStatus, **values: Any) -> Attempt:
    return Attempt(
        **{"faults": delivery.faults}
        | values
        | {
            "delivery": delivery,
            "webhook_id": delivery.webhook_id,
            "public_id": delivery.public_id,
            "number": delivery.attempt,
            "status": status,
        }
    )
