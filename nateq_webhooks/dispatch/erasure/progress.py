"""How far an erasure got: its steps in their order, and where it continues after its process was killed."""

import time
from dataclasses import dataclass, replace
from typing import Any, Final

from django.db import connections, transaction
from django.db.models import Max, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.database.keyset.date_ranges import SLACK, first_keys, key_range_of
from nateq_webhooks.dispatch.erasure.criteria import Criteria
from nateq_webhooks.dispatch.erasure.report import Counts, ErasureReport
from nateq_webhooks.dispatch.erasure.tables import database_of, text_tables
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models import Delivery, OtherContent
from nateq_webhooks.models.erasure_progress import ErasureProgress

SAVED_EVERY: Final = 1.0
"""Seconds between two batches that change nothing and whose position is stored."""

COLLECT: Final = "collect"
COLLECT_OTHERS: Final = "collect_others"
DELIVERIES: Final = "deliveries"
SOURCES: Final = "sources"
ENDED: Final = "ended"


@dataclass(frozen=True, slots=True)
class Position:
    """How far an erasure got: the step, the key of the last row that was looked at, and where the step ends."""

    step: str
    after: int = 0
    until: int = 0
    sources: tuple[int, ...] = ()
    "Deliveries that told something new about the person."
    others: tuple[int, ...] = ()
    "Other contents that did."

    def as_json(self) -> dict[str, Any]:
        """Return it for `ErasureProgress.position`."""
        return {
            "step": self.step,
            "after": self.after,
            "until": self.until,
            "sources": list(self.sources),
            "others": list(self.others),
        }

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> "Position":
        """Return the position that was stored."""
        return cls(stored["step"], stored["after"], stored["until"], tuple(stored["sources"]), tuple(stored["others"]))


class Progress:
    """The position and the numbers of an erasure, in memory and stored; a dry run stores nothing."""

    def __init__(self, criteria: Criteria, alias: str, *, is_blank: bool, is_dry_run: bool, by: str) -> None:
        self.criteria = criteria
        self.alias = alias
        self.is_blank = is_blank
        self.is_dry_run = is_dry_run
        self.tables = {table.name: table for table in text_tables()}
        self.counts = Counts()
        self._by = by
        self._steps = [*([COLLECT, COLLECT_OTHERS] if criteria.where else []), DELIVERIES, *self.tables, SOURCES]
        self._key = criteria.key(blank=is_blank)
        self._saved_at = float("-inf")
        self.position = self._started(Position(self._steps[0]))
        stored = None if is_dry_run else self._stored().first()
        self.is_resumed = stored is not None
        if stored is not None:
            self.position, self.counts = Position.from_json(stored.position), Counts(stored.counts)

    @property
    def report(self) -> ErasureReport:
        """What was done so far, by earlier calls too."""
        is_complete = self.position.step == ENDED
        return self.counts.report(is_dry_run=self.is_dry_run, is_blank=self.is_blank, is_complete=is_complete)

    @property
    def share_done(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        if self.position.step == ENDED:
            return 1.0
        within = min(1.0, self.position.after / max(1, self.position.until))
        return (self._steps.index(self.position.step) + within) / len(self._steps)

    def store_first(self) -> None:
        """Store that the erasure has begun, with the entry in the audit log if it changes rows at once."""
        with transaction.atomic(using=self.alias):
            defaults = {"position": self.position.as_json()}
            rows = ErasureProgress.objects.using(self.alias)
            _progress, is_new = rows.get_or_create(key=self._key, defaults=defaults)
            if is_new and self.position.step == DELIVERIES:
                self.record("begun")

    def record(self, state: str, **numbers: int) -> None:
        """Record the erasure in the audit log: the paths and numbers, never the values."""
        criteria = self.criteria
        paths = sorted({path for path, _value in criteria.where})
        details = {"state": state, "how": "blank" if self.is_blank else "delete", "paths": paths, **numbers}
        if criteria.names_everywhere:
            details["names_everywhere"] = True
        target = "organization" if not paths else "person in an organization" if criteria.organization else "person"
        audit.record(audit.Action.ERASED, actor=self._by, target=target, details=details, using=self.alias)

    def lock(self) -> None:
        """Lock the progress. Raises `ErasureError` if another process has carried out the same erasure meanwhile."""
        rows = self._stored()
        if connections[self.alias].features.has_select_for_update:
            rows = rows.select_for_update()
        if rows.first() is None:
            raise ErasureError(_("Another process carries out the same erasure."))

    def save(self, position: Position, counts: Counts, *, always: bool = False) -> None:
        """Store a position and numbers. Inside the transaction that changed something."""
        is_due = always or position.step != self.position.step or time.monotonic() - self._saved_at >= SAVED_EVERY
        if not self.is_dry_run and is_due:
            if position.step == ENDED:
                self._stored().delete()
            else:
                self._stored().update(position=position.as_json(), counts=counts.as_json(), updated_at=timezone.now())
            self._saved_at = time.monotonic()

    def go_to(self, position: Position, counts: Counts) -> None:
        """Go on from a position that was saved."""
        self.position, self.counts = position, counts

    def go_on(self, position: Position, counts: Counts) -> None:
        """Go on from a position without a change of other rows; record it in the audit log before the first change."""
        if position.step == DELIVERIES != self.position.step and not self.is_dry_run:
            with transaction.atomic(using=self.alias):
                self.record("begun")
                self.save(position, counts)
        else:
            self.save(position, counts)
        self.go_to(position, counts)

    def forget(self) -> None:
        """Delete what is stored: the erasure was refused before it changed anything."""
        if not self.is_dry_run:
            self._stored().delete()

    def rows_of(self, step: str) -> QuerySet[Any] | None:
        """Return all rows of the table that a step looks through."""
        if step in (COLLECT, DELIVERIES):
            rows: QuerySet[Any] = Delivery.objects.using(self.alias)
            return rows.filter(self.criteria.in_organization("organization_id", self.alias))
        if step == COLLECT_OTHERS:
            return OtherContent.objects.using(self.alias)
        if step not in self.tables:
            return None
        table = self.tables[step]
        return table.model._meta.base_manager.using(database_of(table, self.alias))

    def moved(self, after: int, **over: tuple[int, ...]) -> Position:
        """Return the position after a row, in the next step if there is nothing after it."""
        now = replace(self.position, **over)  # type: ignore[arg-type]
        if after < now.until:
            return replace(now, after=after)
        place = self._steps.index(now.step) + 1
        if place == len(self._steps):
            return Position(ENDED)
        return self._started(replace(now, step=self._steps[place]))

    def _stored(self) -> QuerySet[ErasureProgress]:
        return ErasureProgress.objects.using(self.alias).filter(key=self._key)

    def _started(self, position: Position) -> Position:
        """Return the position at the beginning of its step: after what it begins, and up to where it goes."""
        rows = self.rows_of(position.step)
        if rows is None:
            return replace(position, after=0, until=0)
        until = rows.order_by().aggregate(until=Max("pk"))["until"] or 0
        return replace(position, after=self._first_key(position.step), until=until)

    def _first_key(self, step: str) -> int:
        """Return the key after which a step begins: keys of deliveries ascend with the time of receipt."""
        since = self.criteria.since
        keys = key_range_of(Delivery.objects.using(self.alias)) if since and step in (COLLECT, DELIVERIES) else None
        if since is None or keys is None or keys.is_small:
            return 0
        return first_keys(Delivery, self.alias, "received_at", [since - SLACK], keys)[0] - 1
