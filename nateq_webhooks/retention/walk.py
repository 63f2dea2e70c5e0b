"""One walk over the deliveries, from the oldest on: those of one period and one tier of `RETENTION`.

A batch is one transaction. It locks the row that says how far the walk came, so two processes never work on the same
batch; it removes rows, and writes how far it came. The next walk begins there. Deliveries that could not be removed yet
are remembered by key.
"""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from django.db import connections, transaction

from nateq_webhooks import audit
from nateq_webhooks.conf import settings
from nateq_webhooks.conf.retention import UNFINISHED, RetentionRules, Tier
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.retention_progress import RetentionProgress
from nateq_webhooks.models.run import NOT_HELD
from nateq_webhooks.retention.call import PruneCall
from nateq_webhooks.retention.removal import finished, lock_finished, remove_contents, remove_deliveries
from nateq_webhooks.retention.report import LeftReason

BATCH_SIZE: Final = 500
"""Deliveries that are looked at in one transaction."""

YOUNG_ROWS: Final = 2_000
"""The walk ends after so many deliveries in a row that are too young: keys ascend with the time of receipt."""

MAX_LEFT: Final = 1_000
"""Deliveries that were left and are looked at again by key; with more, the walk begins at the first further one."""

WALK_AGAIN: Final = timedelta(days=28)
"""After so long the walk begins with the oldest delivery again: a replay may have changed the status of some."""


class Row(NamedTuple):
    """What a walk reads of a delivery."""

    pk: int
    status: str
    event: str
    webhook_id: uuid.UUID
    received_at: datetime
    content_change: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """What of a batch the walk is about."""

    due: Sequence[Row]
    "To remove."
    waiting: Sequence[Row]
    "Old enough, but not finished."


@dataclass(frozen=True, slots=True)
class _Done:
    """What was removed, and why others were left: numbers of deliveries."""

    removed: int
    left: Counter[LeftReason]


@dataclass(frozen=True, slots=True)
class _Position:
    """How far a walk came, as `RetentionProgress` has it."""

    after: int
    left: tuple[int, ...]


_TARGETS: Final = {Tier.DELIVERY: "deliveries", Tier.PAYLOAD: "payloads"}
"""The targets of the entries in the audit log."""


class Walk:
    """One walk."""

    def __init__(self, call: PruneCall, rules: RetentionRules, tier: Tier, age: timedelta) -> None:
        self._call = call
        self._rules = rules
        self._tier = tier
        self._age = age
        self._limit = call.now - age
        name = f"{rules.fingerprint(tier)} {age.total_seconds()} {call.now.toordinal() // WALK_AGAIN.days}"
        self._key = hashlib.sha256(name.encode()).hexdigest()
        self._position = _Position(0, ())
        self._is_stored = True
        "Whether the stored position follows: every delivery up to it is done, or remembered."
        self._young = 0

    def run(self) -> None:
        """Walk until the deliveries are too young, the time is over, or another process works on the same."""
        self._position = self._read_position()
        left = self._position.left
        for start in range(0, len(left), BATCH_SIZE):
            again = left[start : start + BATCH_SIZE]
            if self._call.is_over() or not self._work(self._rows(pk__in=again), again=again):
                return
        last = self._position.after
        while self._young < YOUNG_ROWS and not self._call.is_over():
            rows = self._rows(pk__gt=last)
            if not rows or not self._work(rows):
                return
            last = rows[-1].pk

    def _read_position(self) -> _Position:
        rows = RetentionProgress.objects.using(self._call.alias)
        if self._call.report.is_dry_run:
            known = rows.filter(key=self._key).first()
        else:
            known, _is_new = retry_transaction(lambda: rows.get_or_create(key=self._key))
        return _Position(0, ()) if known is None else _Position(known.after, tuple(known.left))

    def _rows(self, **condition: Any) -> list[Row]:
        rows = Delivery.objects.using(self._call.alias).filter(**condition).order_by("pk")
        return [Row(*row) for row in rows.values_list(*Row._fields)[:BATCH_SIZE]]

    def _work(self, rows: Sequence[Row], *, again: Sequence[int] = ()) -> bool:
        """Work on one batch; return whether the walk goes on. `again`: the keys of those that were left before."""
        found = self._classified(rows)
        if found.due and self._tier is Tier.DELIVERY and not self._call.report.is_dry_run:
            self._call.announce({row.webhook_id for row in found.due})
        started = time.monotonic()
        if self._call.report.is_dry_run:
            done = self._would_do(found)
        else:
            committed = retry_transaction(lambda: self._commit(rows, found, again))
            if committed is None:
                self._call.report.is_complete = False
                return False
            self._position, done = committed
        self._call.report.add(self._tier, done.removed, done.left)
        self._young = 0 if again else self._young_at_the_end(rows)
        self._call.batch_done(started, rows[-1].pk if rows else 0)
        return True

    def _classified(self, rows: Sequence[Row]) -> _Found:
        old = [row for row in rows if row.received_at <= self._limit]
        return _Found(
            due=[row for row in old if row.status not in UNFINISHED and self._is_due(row)],
            waiting=[row for row in old if row.status in UNFINISHED and self._would_be_due(row)],
        )

    def _is_due(self, row: Row) -> bool:
        """Return whether this walk is for the delivery: each period has its own."""
        if self._rules.period(self._tier, row.status, row.event) != self._age:
            return False
        if self._tier is Tier.DELIVERY:
            return True
        would_be_gone = self._call.report.is_dry_run and self._counted(row)
        return row.content_change != Delivery.ContentChange.RETENTION and not would_be_gone

    def _would_be_due(self, row: Row) -> bool:
        """Return whether this walk would be for an unfinished delivery once it has finished."""
        periods = [self._rules.period(self._tier, status, row.event) for status in Delivery.FINISHED]
        soonest = min((period for period in periods if period is not None), default=None)
        return soonest == self._age and not self._counted(row)

    def _counted(self, row: Row) -> bool:
        """Return whether a walk of the other tier, which came before, has counted the delivery."""
        if self._tier is Tier.DELIVERY:
            return False
        statuses = Delivery.FINISHED if row.status in UNFINISHED else (row.status,)
        periods = [self._rules.period(Tier.DELIVERY, status, row.event) for status in statuses]
        return any(period is not None and row.received_at <= self._call.now - period for period in periods)

    def _young_at_the_end(self, rows: Sequence[Row]) -> int:
        young = self._young
        for row in rows:
            young = young + 1 if row.received_at > self._limit else 0
        return young

    def _would_do(self, found: _Found) -> _Done:
        due = [row.pk for row in found.due]
        ready = set(finished(self._call.alias, due).values_list("pk", flat=True))
        busy = [pk for pk in due if pk not in ready] + [row.pk for row in found.waiting]
        return _Done(len(ready), self._reasons(busy))

    def _commit(self, rows: Sequence[Row], found: _Found, again: Sequence[int]) -> tuple[_Position, _Done] | None:
        """Remove what is due and store the position, in one transaction; None if another process is at it."""
        alias = self._call.alias
        can_skip = connections[alias].features.has_select_for_update_skip_locked
        progress = RetentionProgress.objects.using(alias).filter(key=self._key)
        with transaction.atomic(using=alias):
            known = progress.select_for_update(skip_locked=can_skip).first()
            if known is None or _Position(known.after, tuple(known.left)) != self._position:
                return None
            removed, referenced = self._remove([row.pk for row in found.due])
            left = [row for row in (*found.due, *found.waiting) if row.pk not in removed]
            reasons = self._reasons([row.pk for row in left if row.pk not in referenced and not self._counted(row)])
            reasons[LeftReason.REFERENCED] += len(referenced)
            position, is_stored = self._next(rows, sorted(row.pk for row in left), again)
            progress.update(after=position.after, left=list(position.left), updated_at=self._call.now)
            if removed:
                audit.record_removed(_TARGETS[self._tier], {"deliveries": len(removed)}, using=alias)
        self._is_stored = is_stored
        return position, _Done(len(removed), +reasons)

    def _remove(self, pks: Sequence[int]) -> tuple[set[int], set[int]]:
        """Remove what has finished; return the keys of what was removed, and of what the project refers to."""
        alias, now = self._call.alias, self._call.now
        ready = lock_finished(alias, pks) if pks else []
        if self._tier is Tier.PAYLOAD:
            remove_contents(alias, [one.pk for one in ready], now)
            return {one.pk for one in ready}, set()
        removed = set(
            remove_deliveries(alias, ready, RemovedDelivery.Reason.RETENTION, now + settings().removed_kept_for)
        )
        return removed, {one.pk for one in ready} - removed

    def _next(self, rows: Sequence[Row], left: Sequence[int], again: Sequence[int]) -> tuple[_Position, bool]:
        """Return the position after a batch, and whether it may still move on after that."""
        known = self._position
        if again:
            return _Position(known.after, tuple(sorted({*known.left} - {*again} | {*left}))), self._is_stored
        if not self._is_stored:
            return known, False
        young = next((row.pk for row in rows if row.received_at > self._limit), None)
        room = MAX_LEFT - len(known.left)
        stop = min((pk for pk in (young, *left[room : room + 1]) if pk is not None), default=None)
        passed = [row.pk for row in rows if stop is None or row.pk < stop]
        after = passed[-1] if passed else known.after
        return _Position(after, (*known.left, *(pk for pk in left if pk <= after))), stop is None

    def _reasons(self, pks: Collection[int]) -> Counter[LeftReason]:
        """Return why deliveries were left, by their runs."""
        if not pks:
            return Counter()
        runs = Run.objects.using(self._call.alias).filter(delivery_id__in=pks, next_try_at__isnull=False).order_by()
        reasons: dict[int, LeftReason] = {}
        for run in runs.only("delivery_id", "held_by", "next_try_at"):
            if reasons.get(run.delivery_id) is not LeftReason.PARKED:
                reasons[run.delivery_id] = _reason_of(run)
        unfinished = Delivery.objects.using(self._call.alias).filter(pk__in=pks, status__in=UNFINISHED)
        for pk in unfinished.values_list("pk", flat=True):
            reasons.setdefault(pk, LeftReason.UNFINISHED)
        return Counter(reasons.get(pk, LeftReason.LOCKED) for pk in pks)


def _reason_of(run: Run) -> LeftReason:
    if run.is_parked:
        return LeftReason.PARKED
    return LeftReason.UNFINISHED if run.held_by == NOT_HELD else LeftReason.HELD
