"""The steps of an erasure, one batch at a time."""

import itertools
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from django.db import router, transaction
from django.db.models.functions import Length
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.database.pacing import pause_after
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.erasure.criteria import Criteria
from nateq_webhooks.dispatch.erasure.deliveries import Changed, DeliveryEraser, Finder, Quoted, read_deliveries
from nateq_webhooks.dispatch.erasure.progress import (
    COLLECT,
    COLLECT_OTHERS,
    DELIVERIES,
    ENDED,
    SOURCES,
    Position,
    Progress,
)
from nateq_webhooks.dispatch.erasure.report import Counts, ErasureReport
from nateq_webhooks.dispatch.erasure.tables import TextTable, database_of
from nateq_webhooks.dispatch.erasure.texts import TextEraser, remember_emptied
from nateq_webhooks.dispatch.finalize import finalize
from nateq_webhooks.errors import ErasureError
from nateq_webhooks.models import Delivery, OtherContent
from nateq_webhooks.retention.removal import announce_removals

BATCH_SIZE: Final = 500
"""Rows that are read at a time."""

SPAN: Final = 20_000
"""The range of keys that one query looks through for rows with text."""

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Bytes of bodies that are read at a time; one body may be larger."""

MAX_OTHERS: Final = 10
"""Other contents that are read at a time."""

MAX_CHANGED: Final = 50
"""Deliveries that one transaction changes."""

MAX_SOURCES: Final = 100
"""Rows that may tell something new about the person. More of them are not about one person."""

MAX_PAUSE: Final = 0.5
"""Seconds to wait at most after a batch that changed something, so that live traffic has its turn."""


class Erasure:
    """One erasure; the same criteria continue one that was interrupted. Call it outside of a transaction.

    Raises `ErasureError` while nothing is changed yet, or if another process has ended the same erasure meanwhile, and
    `django.db.Error`; what was committed before stays.
    """

    def __init__(
        self,
        criteria: Criteria,
        *,
        alias: str | None = None,
        is_blank: bool = False,
        is_dry_run: bool = False,
        by: str = "",
    ) -> None:
        self._alias = alias or router.db_for_write(Delivery)
        self._finder = Finder(criteria, self._alias)
        self._progress = Progress(criteria, self._alias, is_blank=is_blank, is_dry_run=is_dry_run, by=by)
        self._is_dry_run = is_dry_run
        self._is_stored = self.is_resumed = self._progress.is_resumed
        self._announced: set[uuid.UUID] = set()
        self._learn_again()

    @property
    def report(self) -> ErasureReport:
        """What was done so far, by earlier calls too."""
        return self._progress.report

    @property
    def share_done(self) -> float:
        """The share of the work that is done, from 0 to 1."""
        return self._progress.share_done

    @property
    def _position(self) -> Position:
        return self._progress.position

    def advance(self) -> bool:
        """Do the next batch; return whether there is more to do."""
        if not self._is_dry_run and not self._is_stored:
            retry_transaction(self._progress.store_first)
            self._is_stored = True
        step = self._position.step
        if step == COLLECT:
            self._collect()
        elif step == COLLECT_OTHERS:
            self._collect_others()
        elif step == DELIVERIES:
            self._deliveries()
        elif step == SOURCES:
            self._sources()
        elif step in self._progress.tables:
            self._texts(self._progress.tables[step])
        return self._position.step != ENDED

    def advance_for(self, seconds: float) -> bool:
        """Do batches for some seconds; return whether there is more to do."""
        ends_at = time.monotonic() + seconds
        while self.advance():
            if time.monotonic() >= ends_at:
                return True
        return False

    # Step 1

    def _collect(self) -> None:
        pks = self._next_deliveries()
        sources = list(self._position.sources)
        for delivery in read_deliveries(self._alias, pks):
            match = self._finder.match(delivery) if self._finder.is_in_question(delivery) else None
            if match is not None and self._finder.learn(match.person):
                sources.append(delivery.pk)
        self._refuse_many(sources)
        self._progress.go_on(self._progress.moved(self._last_of(pks), sources=tuple(sources)), self._progress.counts)

    def _collect_others(self) -> None:
        rows = OtherContent.objects.using(self._alias).filter(pk__gt=self._position.after, pk__lte=self._position.until)
        pks = list(rows.order_by("pk").values_list("pk", flat=True)[:MAX_OTHERS])
        others = list(self._position.others)
        for other in rows.filter(pk__in=pks).select_related("delivery").order_by("pk"):
            match = self._finder.match_body(other.body) if self._finder.is_in_question(other.delivery) else None
            if match is not None and self._finder.learn(match.person):
                others.append(other.pk)
        self._refuse_many(others)
        self._progress.go_on(self._progress.moved(self._last_of(pks), others=tuple(others)), self._progress.counts)

    def _refuse_many(self, sources: Sequence[int]) -> None:
        if len(sources) > MAX_SOURCES:
            self._progress.forget()
            text = _("More than %(count)d different people have these values at these paths. Nothing was changed.")
            raise ErasureError(text % {"count": MAX_SOURCES})

    def _learn_again(self) -> None:
        """Read again what tells who the person is, where an erasure is continued."""
        for delivery in read_deliveries(self._alias, self._position.sources):
            if (match := self._finder.match(delivery)) is not None:
                self._finder.learn(match.person)
        others = OtherContent.objects.using(self._alias).filter(pk__in=self._position.others)
        for body in others.values_list("body", flat=True):
            if (match := self._finder.match_body(body)) is not None:
                self._finder.learn(match.person)

    # Step 2

    def _deliveries(self) -> None:
        started = time.monotonic()
        pks = self._next_deliveries()
        end = self._last_of(pks)
        found: list[Delivery] = []
        left: list[int] = []
        hidden: list[int] = []
        for delivery in filter(self._finder.is_in_question, read_deliveries(self._alias, pks)):
            if self._finder.match(delivery) is not None:
                found.append(delivery)
                continue
            quoted = self._finder.quoted_by(delivery)
            found += [delivery] if quoted is Quoted.PERSON else []
            left += [delivery.pk] if quoted is Quoted.NAME else []
            hidden += [delivery.pk] if self._finder.is_hidden(delivery) else []

        def counted(counts: Counts, until: int) -> Counts:
            """Add those of the batch that the position has not passed yet."""
            looked_at, names_left, unknown = (
                sum(self._position.after < pk <= until for pk in some) for some in (pks, left, hidden)
            )
            counts.add("delivery", looked_at=looked_at, left=names_left)
            counts.add("", names_left=names_left, hidden=unknown)
            return counts

        if self._is_dry_run:
            eraser = self._eraser(self._progress.counts)
            for delivery in found:
                eraser.count(delivery)
        else:
            changed = [one.pk for one in found if one.pk not in self._position.sources]
            for chunk in _chunks(changed, MAX_CHANGED):
                self._change(chunk, counted)
        self._progress.go_on(self._progress.moved(end), counted(self._progress.counts.copy(), end))
        if found:
            self._pause(started)

    def _change(self, pks: Sequence[int], counted: Callable[[Counts, int], Counts]) -> None:
        """Change some deliveries, and store that it was done, in one transaction; then finalize their runs."""
        self._announce(pks)
        position = replace(self._position, after=pks[-1])

        def change() -> tuple[Counts, Changed]:
            counts = counted(self._progress.counts.copy(), pks[-1])
            with transaction.atomic(using=self._alias):
                self._progress.lock()
                changed = self._eraser(counts).change(pks)
                self._progress.save(position, counts, always=True)
            return counts, changed

        counts, changed = retry_transaction(change)
        self._progress.go_to(position, counts)
        self._follow_up(changed)

    def _eraser(self, counts: Counts) -> DeliveryEraser:
        is_blank = self._progress.is_blank
        return DeliveryEraser(self._alias, self._finder, counts, timezone.now(), is_blank=is_blank)

    def _follow_up(self, changed: Changed) -> None:
        """Do what a claim or maintenance would do later, if this process died here."""
        finalize(self._alias, changed.runs)
        order.promote(self._alias, changed.queues)

    def _announce(self, pks: Collection[int]) -> None:
        """Have every process look new deliveries up, before the first identity or content is remembered."""
        rows = Delivery.objects.using(self._alias).filter(pk__in=pks).order_by()
        new = set(rows.values_list("webhook_id", flat=True)) - self._announced
        if new:
            announce_removals(self._alias, new)
            self._announced |= new

    # Step 3

    def _texts(self, table: TextTable) -> None:
        started = time.monotonic()
        spared = () if self._is_dry_run else self._position.others
        eraser = TextEraser(table, self._alias, self._finder, spared)
        read, end = self._next_texts(table)
        quoting = [row["pk"] for row in read if eraser.quotes_person(row)]
        names = [row["pk"] for row in read if row["pk"] not in set(quoting) and eraser.quotes_name(row)]
        if self._is_dry_run:
            quoting, names = ([pk for pk in some if not eraser.goes_with_delivery(pk)] for some in (quoting, names))
        counts, position = self._progress.counts.copy(), self._progress.moved(end)
        counts.add(table.name, looked_at=len(read), blanked=len(quoting), left=len(names))
        if not quoting or self._is_dry_run:
            self._progress.go_on(position, counts)
            return
        if table.body:
            self._announce(table.rows(self._alias).filter(pk__in=quoting).values_list(table.delivery, flat=True))

        def change() -> None:
            alias = database_of(table, self._alias)
            with transaction.atomic(using=alias), transaction.atomic(using=self._alias):
                eraser.blank(quoting)
                self._progress.save(position, counts, always=True)

        retry_transaction(change)
        self._progress.go_to(position, counts)
        self._pause(started)

    def _next_texts(self, table: TextTable) -> tuple[list[dict[str, Any]], int]:
        """Return the next rows of a table, and their last key; without those of deliveries that are erased last."""
        criteria, position = self._progress.criteria, self._position
        end = min(position.after + SPAN, position.until)
        rows = table.rows(database_of(table, self._alias)).filter(pk__gt=position.after, pk__lte=end)
        if table.moment and criteria.since is not None:
            rows = rows.filter(**{f"{table.moment}__gte": criteria.since})
        columns = ["pk", *table.all_columns]
        organization = f"{table.delivery}__organization_id"
        is_in_organization = bool(table.delivery and criteria.organization and criteria.where)
        if is_in_organization:
            rows = rows.filter(criteria.in_organization(organization, self._alias))
            columns.append(organization)
        if table.delivery and position.sources:
            rows = rows.exclude(**{f"{table.delivery}__in": position.sources})
        read = list(rows.order_by("pk").values(*columns)[: table.batch_size])
        last = read[-1]["pk"] if len(read) == table.batch_size else end
        if is_in_organization:
            read = [row for row in read if self._finder.is_of_organization(row[organization])]
        return read, last

    # Step 4

    def _sources(self) -> None:
        """Erase what told who the person is: all at once, as nothing would tell it after that."""
        sources, others = self._position.sources, self._position.others
        if self._is_dry_run:
            self._progress.go_to(Position(ENDED), self._progress.counts)
            return
        contents = OtherContent.objects.using(self._alias).filter(pk__in=others)
        self._announce([*sources, *contents.values_list("delivery_id", flat=True)])

        def change() -> tuple[Counts, Changed]:
            counts = self._progress.counts.copy()
            with transaction.atomic(using=self._alias):
                self._progress.lock()
                changed = self._eraser(counts).change(sources) if sources else Changed()
                rows = OtherContent.objects.using(self._alias).filter(pk__in=others).exclude(body=b"")
                counts.add("othercontent", blanked=rows.update(body=b"") if others else 0)
                remember_emptied(self._alias, others)
                found = counts.report(is_dry_run=False, is_blank=self._progress.is_blank, is_complete=True)
                numbers = {"deliveries": found.deliveries, "quoting": found.quoting, "names_left": found.names_left}
                self._progress.record("done", **numbers, rows=found.found)
                self._progress.save(Position(ENDED), counts, always=True)
            return counts, changed

        counts, changed = retry_transaction(change)
        self._progress.go_to(Position(ENDED), counts)
        self._follow_up(changed)

    # Reading

    def _next_deliveries(self) -> list[int]:
        """Return the keys of the next deliveries: as many as their bodies may be read at a time."""
        rows = self._progress.rows_of(self._position.step)
        if rows is None:
            return []
        rows = rows.filter(pk__gt=self._position.after, pk__lte=self._position.until).order_by("pk")
        sizes = list(rows.annotate(size=Length("body")).values_list("pk", "size")[:BATCH_SIZE])
        sums = itertools.accumulate(size or 0 for _pk, size in sizes)
        fitting = [pk for (pk, _size), total in zip(sizes, sums, strict=True) if total <= MAX_BATCH_BYTES]
        return fitting or [pk for pk, _size in sizes[:1]]

    def _last_of(self, pks: Sequence[int]) -> int:
        return pks[-1] if pks else self._position.until

    def _pause(self, started: float) -> None:
        if not self._is_dry_run:
            pause_after(started, longest=MAX_PAUSE)


def _chunks(pks: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (pks[start : start + size] for start in range(0, len(pks), size))
