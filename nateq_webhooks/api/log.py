"""The log of a webhook: one entry per attempt of the sender, the newest first.

The first attempt of a delivery is its row; further ones are rows of their own. Both are read in the order of their keys
and merged by time. A page ends where one of them was not read further; its cursor has the positions in both.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, OuterRef, QuerySet
from rest_framework import serializers

from nateq_webhooks.api.callers import Caller
from nateq_webhooks.api.delivery_list import time_limit
from nateq_webhooks.api.documents import moment, runs_by_delivery
from nateq_webhooks.conf import settings
from nateq_webhooks.database.keyset.bounded_scan import BoundedScan
from nateq_webhooks.database.keyset.cursor import MAX_KEY
from nateq_webhooks.database.keyset.key_queries import IndexScan, Union
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import key_query
from nateq_webhooks.models import Attempt, Delivery, Run, Webhook
from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.rest.parameters import LimitParameters, WholeNumberField

MAX_OFFSET: Final = 300
"""Entries that may be skipped by `offset`; the cursor has no limit."""

_POSITION: Final = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)

_COLUMNS: Final = ("delivery_id", "event", "status", "received_at", "attempt", "remote_addr")

_OF_DELIVERY: Final = ("delivery__delivery_id", "delivery__event", "delivery__status")

_OF_RUN: Final = ("delivery_id", "receiver", "round", "status", "tries")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins: after a delivery and after a further attempt, by their keys; None: at the newest."""

    delivery: int | None = None
    attempt: int | None = None


class PositionField(serializers.Field):
    """The `next_cursor` of the page before."""

    def __init__(self, **options: Any) -> None:
        super().__init__(required=False, default=Position(), **options)

    def to_internal_value(self, data: Any) -> Position:
        """Return the position."""
        found = _POSITION.fullmatch(str(data))
        if found is None or max(int(found[1]), int(found[2])) > MAX_KEY:
            raise serializers.ValidationError("is not a cursor: use meta.next_cursor of the page before.")
        return Position(int(found[1]), int(found[2]))

    def to_representation(self, value: Any) -> Any:
        """Return the position."""
        return value


class LogParameters(LimitParameters):
    """The parameters of the log."""

    cursor = PositionField(help_text="`meta.next_cursor` of the page before.")
    offset = WholeNumberField(0, MAX_OFFSET, default=0, help_text="How many to skip; the cursor has no limit.")


@dataclass(frozen=True, slots=True)
class LogPage:
    """A page of the log."""

    entries: list[dict[str, Any]]
    next: str | None


@dataclass(frozen=True, slots=True)
class _Stream:
    """Rows of one kind, the newest first, and how far they were read."""

    rows: Sequence[Any]
    stopped_at: int | None
    "The last key that was looked at; None if there is nothing beyond it."
    horizon: datetime | None = None
    "The time of that row: older rows of this kind are not known."

    def row(self, number: int) -> Any:
        """Return a row by its number; None if there are no more."""
        return self.rows[number] if number < len(self.rows) else None

    def is_known_until(self, time: datetime) -> bool:
        """Return whether no row that was not read can be newer."""
        return self.horizon is None or time >= self.horizon

    def position(self, taken: int, start: int | None) -> int | None:
        """Return the key after which the next page reads, if the first `taken` rows are on this one."""
        if taken == len(self.rows) and self.stopped_at is not None:
            return self.stopped_at
        return int(self.rows[taken - 1].pk) if taken else start


def read_log(caller: Caller, webhook: Webhook, parameters: Mapping[str, Any]) -> LogPage:
    """Return a page of the log of a webhook that the caller sees."""
    start: Position = parameters["cursor"]
    offset, count = parameters["offset"], parameters["offset"] + parameters["limit"]
    seen = caller.rows(Delivery)
    with time_limit(caller, seen):
        firsts = _firsts(seen, webhook, count, start.delivery)
        repeats = _repeats(seen, webhook, count, start.attempt)
        chosen, taken = _merge(firsts, repeats, count)
        entries = _documents(chosen[offset:], caller)
    is_end = firsts.stopped_at is repeats.stopped_at is None and sum(taken) == len(firsts.rows) + len(repeats.rows)
    if is_end:
        return LogPage(entries, None)
    after = (firsts.position(taken[0], start.delivery), repeats.position(taken[1], start.attempt))
    return LogPage(entries, "-".join(str(MAX_KEY if key is None else key) for key in after))


def _firsts(seen: QuerySet[Delivery], webhook: Webhook, count: int, beyond: int | None) -> _Stream:
    """Read the first attempts: the deliveries of the webhook, through the index of their list."""
    scan = IndexScan(key_query(Selection(webhook=str(webhook.pk)), seen))
    found = scan.find(count, descending=True, beyond=beyond)
    rows = Delivery.objects.only(*_COLUMNS).order_by("-pk").filter(pk__in=found.pks)
    return _Stream(list(rows), found.stopped_at)


def _repeats(seen: QuerySet[Delivery], webhook: Webhook, count: int, beyond: int | None) -> _Stream:
    """Read the further attempts. No index has their webhook, so a bounded number of them is looked at."""
    attempts = Attempt.objects.all()
    of_webhook = Exists(seen.filter(pk=OuterRef("delivery_id"), webhook=webhook.pk).order_by())
    scan = BoundedScan(Union([attempts]), attempts, lambda rows: rows.filter(of_webhook))
    found = scan.find(count, descending=True, beyond=beyond)
    rows = attempts.select_related("delivery").only("number", "received_at", "remote_addr", *_OF_DELIVERY)
    horizon = None
    if found.stopped_at is not None:
        horizon = attempts.filter(pk=found.stopped_at).values_list("received_at", flat=True).first()
    return _Stream(list(rows.order_by("-pk").filter(pk__in=found.pks)), found.stopped_at, horizon)


def _merge(firsts: _Stream, repeats: _Stream, count: int) -> tuple[list[Delivery | Attempt], tuple[int, int]]:
    """Return the newest rows of both, and how many of each. Each kind stays in the order of its keys."""
    chosen: list[Delivery | Attempt] = []
    first = repeat = 0
    while len(chosen) < count:
        delivery, attempt = firsts.row(first), repeats.row(repeat)
        if attempt is not None and (delivery is None or attempt.received_at >= delivery.received_at):
            chosen.append(attempt)
            repeat += 1
        elif delivery is not None and (attempt is not None or repeats.is_known_until(delivery.received_at)):
            chosen.append(delivery)
            first += 1
        else:
            break
    return chosen, (first, repeat)


def _documents(rows: Sequence[Delivery | Attempt], caller: Caller) -> list[dict[str, Any]]:
    """Return the entries. What the receivers did is in that of the first attempt: no other makes them run."""
    keys = [row.pk for row in rows if isinstance(row, Delivery)]
    found = list(Run.objects.filter(delivery__in=keys).only(*_OF_RUN).order_by()) if keys else []
    runs = runs_by_delivery(found, caller)
    return [
        _entry(row, row, str(row.pk), row.attempt, runs.get(row.pk, []))
        if isinstance(row, Delivery)
        else _entry(row, row.delivery, f"{row.delivery_id}.{row.pk}", row.number, [])
        for row in rows
    ]


def _entry(
    row: Delivery | Attempt, delivery: Delivery, identity: str, number: int | None, runs: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return an entry: Nateq's fields first, then ours. The answer is not stored, but follows from what is."""
    answer = (400 if delivery.status == Delivery.Status.INVALID else 200) if settings().ack == "stored" else None
    return {
        "id": identity,
        "delivery_id": delivery.delivery_id,
        "event": delivery.event,
        "attempt": number,
        "status": None if answer is None else LogStatus.DELIVERED if answer == 200 else LogStatus.FAILED,
        "response_status": answer,
        "response_body": None,
        "duration_ms": None,
        "attempted_at": moment(row.received_at),
        "next_attempt_at": None,
        "payload": None,
        "delivery": delivery.pk,
        "remote_addr": row.remote_addr,
        "receivers": runs,
    }
