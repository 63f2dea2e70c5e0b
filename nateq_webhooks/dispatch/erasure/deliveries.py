"""Deliveries: which concern the person, which quote the person, and both deleted or without what they said."""

import contextlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any, Final

from django.db import connections, models
from django.db.models import ExpressionWrapper, Q, QuerySet

from nateq_webhooks.database.encryption import decrypt
from nateq_webhooks.dispatch.erasure.criteria import Criteria
from nateq_webhooks.dispatch.erasure.report import Counts
from nateq_webhooks.dispatch.erasure.tables import TEXT_TABLES
from nateq_webhooks.errors import DecryptionError
from nateq_webhooks.models import Delivery, OtherContent, Run
from nateq_webhooks.models.delivery_texts import LIMITS, stored_text
from nateq_webhooks.models.hold import OrderLock
from nateq_webhooks.models.removed_delivery import RemovedDelivery
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.protocol import erasing
from nateq_webhooks.protocol.envelope import content_hash, load_document
from nateq_webhooks.protocol.erasing import Match, Person
from nateq_webhooks.protocol.quoted_text import canonical
from nateq_webhooks.protocol.quotes import ERASED, Quotes, equivalents
from nateq_webhooks.protocol.redaction import MASK
from nateq_webhooks.retention.removal import (
    OF_DELIVERIES,
    OF_RUNS,
    Identity,
    release_order,
    remember_contents,
    remove_deliveries,
)

READ: Final = ("pk", "webhook_id", "received_at", "content_change", "headers", "body", *LIMITS)
"""What is read of a delivery to decide whether it concerns the person."""


class Quoted(Enum):
    """What a row that is not about the person quotes of the person."""

    NOTHING = auto()
    NAME = auto()
    "A name only, which may be another person's: the row is left alone."
    PERSON = auto()
    "What nobody else has."


class Finder:
    """Decides what a delivery or a body has to do with the person. The person may be learned as deliveries are read."""

    def __init__(self, criteria: Criteria, alias: str) -> None:
        self.criteria = criteria
        self.person = Person()
        self.quotes = self.own_quotes = Quotes(())
        self.learn(criteria.person)
        self._searched = self.quotes
        self._organization_ids = criteria.organization_ids(alias)
        self._wanted = criteria.wanted
        self._values = {value for _path, value in criteria.where}
        self._resource_ids = frozenset(map(canonical, self._wanted.get(("data", "id"), ())))

    def learn(self, person: Person) -> bool:
        """Remember what identifies the person; return whether anything of it is new.

        `quotes` are searched for everywhere. `own_quotes` have the names, too: for what is about the person.
        """
        known, self.person = self.person, self.person | person
        if self.person == known:
            return False
        self.own_quotes = Quotes(self.person.distinct | self.person.names)
        self.quotes = self.own_quotes if self.criteria.names_everywhere else Quotes(self.person.distinct)
        return True

    def is_in_question(self, delivery: Delivery) -> bool:
        """Return whether the delivery is of the time, and of the organization if a person is searched for in one."""
        criteria = self.criteria
        if criteria.since is not None and delivery.received_at < criteria.since:
            return False
        return not (criteria.where and criteria.organization) or self.is_of_organization(delivery.organization_id)

    def is_of_organization(self, stored: str) -> bool:
        """Return whether the organization in the column of a delivery is the one that is searched for."""
        return canonical(stored) in self._organization_ids

    def match(self, delivery: Delivery) -> Match | None:
        """Return what the delivery says of the person; None if it does not meet the criteria."""
        if not self.criteria.where:
            if not self.is_of_organization(delivery.organization_id):
                return None
            return Match(load_document(delivery.body) or {}, ())
        found = self.match_body(delivery.body)
        if found is None and self._is_resource(delivery.resource_id):
            found = Match(load_document(delivery.body) or {}, ())  # the body is gone, or another one
        whole = self.match_body(unredacted_of(delivery))
        if whole is None:
            return found
        if found is None:
            document = load_document(delivery.body) or {}
            return Match(document, (), whole.person, said=whole.own_values, is_hidden=True)
        return replace(found, person=found.person | whole.person, said=whole.own_values)

    def _is_resource(self, stored: str) -> bool:
        return bool(stored) and canonical(stored) in self._resource_ids

    def match_body(self, body: bytes) -> Match | None:
        """Return what a body says of the person; None if it does not have the values at the paths.

        A body that can't be parsed has no paths: it is the values themselves that count.
        """
        if not body or not self._wanted or not erasing.may_have(body, self._values):
            return None
        document = load_document(body)
        if document is None:
            return Match({}, ()) if self._searched.are_in(erasing.text_of(body)) else None
        return erasing.find(document, self._wanted)

    def concerns(self, body: bytes) -> bool:
        """Return whether a body meets the criteria or quotes the person."""
        return self.match_body(body) is not None or self.quoted_in_body(body) is Quoted.PERSON

    def quoted_by(self, delivery: Delivery) -> Quoted:
        """Return what a delivery that does not meet the criteria quotes of the person."""
        if not self._are_in(delivery, self.own_quotes):
            return Quoted.NOTHING
        return Quoted.PERSON if self._are_in(delivery, self.quotes) else Quoted.NAME

    def quoted_in_body(self, body: bytes) -> Quoted:
        """Return what a body quotes of the person."""
        if not erasing.quotes_in(body, self.own_quotes):
            return Quoted.NOTHING
        return Quoted.PERSON if erasing.quotes_in(body, self.quotes) else Quoted.NAME

    def is_hidden(self, delivery: Delivery) -> bool:
        """Return whether it can't be told if a delivery meets the criteria: a value that they ask for is not stored.

        Retention has removed the content, or the value was masked before it was stored.
        """
        if not self._wanted or unredacted_of(delivery):
            return False
        if delivery.content_change == Delivery.ContentChange.RETENTION:
            return True
        if delivery.content_change != Delivery.ContentChange.REDACTION or MASK.encode() not in delivery.body:
            return False
        document = load_document(delivery.body)
        masked = {path[:depth]: {MASK} for path in self._wanted for depth in range(1, len(path) + 1)}
        return document is not None and erasing.find(document, masked) is not None

    @staticmethod
    def _are_in(delivery: Delivery, quotes: Quotes) -> bool:
        headers = (str(text) for pair in delivery.headers.items() for text in pair)
        if quotes.are_in("\n".join([*(getattr(delivery, name) for name in LIMITS), *headers])):
            return True
        return any(erasing.quotes_in(body, quotes) for body in (delivery.body, unredacted_of(delivery)) if body)


@dataclass(frozen=True, slots=True)
class Changed:
    """What a transaction has changed, for what follows its commit."""

    runs: Sequence[Run] = ()
    "Runs that were dropped and are still there."
    queues: frozenset[str] = frozenset()
    "Keys of the queues that nothing holds up any more: their runs were deleted, or can't be replayed."


class DeliveryEraser:
    """Changes deliveries inside the caller's transaction."""

    def __init__(self, alias: str, finder: Finder, counts: Counts, now: datetime, *, is_blank: bool) -> None:
        self._alias = alias
        self._finder = finder
        self._counts = counts
        self._now = now
        self._is_blank = is_blank

    def count(self, delivery: Delivery) -> None:
        """Count what `change` would do to a delivery."""
        match = self._finder.match(delivery)
        if match is None:
            self._count_blanked([], 1)
            self._blank_texts(delivery.pk, frozenset(), is_dry_run=True)
        elif self._is_blank:
            self._count_blanked([delivery.pk], 0)
            self._blank_texts(delivery.pk, self._said_by(match), is_dry_run=True)
        else:
            self._count_deleted([delivery.pk])
        unfinished = Run.objects.using(self._alias).filter(delivery=delivery.pk).unfinished()
        self._counts.add("", runs_dropped=unfinished.count())

    def change(self, pks: Collection[int]) -> Changed:
        """Delete or blank those of the deliveries that still concern or quote the person.

        Their unfinished runs are dropped, running ones too: the lease is taken away, so that what the receiver did in
        its transaction is undone, and no error of it is recorded.
        """
        matched: list[tuple[Delivery, Match]] = []
        quoting: list[Delivery] = []
        for delivery in self._locked(pks):
            match = self._finder.match(delivery)
            if match is not None:
                matched.append((delivery, match))
            elif self._finder.quoted_by(delivery) is Quoted.PERSON:
                quoting.append(delivery)
        self._remember([*(delivery for delivery, _match in matched), *quoting])
        affected = [*(delivery.pk for delivery, _match in matched), *(delivery.pk for delivery in quoting)]
        dropped = self._drop_runs(affected)
        queues: frozenset[str] = frozenset()
        if not self._is_blank:
            deletable = [delivery for delivery, _match in matched]
            queues, deleted = self._delete(deletable)
            dropped = [run for run in dropped if run.delivery_id not in deleted]
            matched = [(delivery, match) for delivery, match in matched if delivery.pk not in deleted]
            self._counts.add("", protected=len(matched))
        for delivery, match in matched:
            said = self._said_by(match)  # blanking the delivery changes the document that says it
            self._blank(delivery, match)
            self._blank_texts(delivery.pk, said)
        for delivery in quoting:
            self._blank(delivery, None)
            self._blank_texts(delivery.pk, frozenset())
        self._count_blanked([delivery.pk for delivery, _match in matched], len(quoting))
        blanked = [delivery.pk for delivery, _match in matched]
        OtherContent.objects.using(self._alias).filter(delivery__in=blanked).update(body=b"")
        queues |= release_order(self._alias, [*blanked, *(delivery.pk for delivery in quoting)])
        return Changed(dropped, queues)

    def _locked(self, pks: Collection[int]) -> list[Delivery]:
        rows = Delivery.objects.using(self._alias).filter(pk__in=pks).order_by("pk")
        if connections[self._alias].features.has_select_for_update:
            rows = rows.select_for_update()
        else:
            # SQLite: any write takes the one lock there is.
            Delivery.objects.using(self._alias).filter(pk__in=list(pks)[:1]).update(status=models.F("status"))
        is_stored = ExpressionWrapper(Q(payload__isnull=False), output_field=models.BooleanField())
        rows = rows.only("identity", "content_hash", *READ).annotate(has_payload=is_stored)
        return _with_unredacted(self._alias, list(rows))

    def _drop_runs(self, pks: Sequence[int]) -> list[Run]:
        runs = Run.objects.using(self._alias).filter(delivery_id__in=pks).unfinished().order_by("pk")
        if connections[self._alias].features.has_select_for_update:
            runs = runs.select_for_update()
        dropped = list(runs.only("pk", "delivery_id"))
        if dropped:
            Run.objects.using(self._alias).filter(pk__in=[run.pk for run in dropped]).fence(_DROPPED, now=self._now)
        self._counts.add("", runs_dropped=len(dropped))
        undispatched = Delivery.objects.using(self._alias).filter(pk__in=pks, dispatch_at__isnull=False)
        undispatched.update(dispatch_at=None, status=Delivery.Status.PROCESSED)
        return dropped

    def _delete(self, deliveries: Sequence[Delivery]) -> tuple[frozenset[str], set[int]]:
        if not deliveries:
            return frozenset(), set()
        pks = [delivery.pk for delivery in deliveries]
        locks = OrderLock.objects.using(self._alias).filter(run__delivery__in=pks)
        queues = frozenset(locks.values_list("key", flat=True))
        before = dependents(self._alias, pks)
        deleted = set(
            remove_deliveries(self._alias, identities(deliveries), RemovedDelivery.Reason.ERASURE, expires_at=None)
        )
        after = dependents(self._alias, pks) if len(deleted) < len(pks) else {}
        for name, number in before.items():
            self._counts.add(name, deleted=number - after.get(name, 0))
        self._counts.add("delivery", deleted=len(deleted))
        self._counts.add("", deliveries=len(deleted))
        return queues, deleted

    def _remember(self, deliveries: Collection[Delivery]) -> None:
        """Remember the contents, and other contents about the person, so that no new delivery id brings them back."""
        known = [(one.webhook_id, one.content_hash or content_hash(one.body)) for one in deliveries if one.body]
        others = OtherContent.objects.using(self._alias)
        for delivery in deliveries:
            for digest, body in others.filter(delivery=delivery.pk).values_list("content_hash", "body"):
                if self._finder.concerns(body):
                    known.append((delivery.webhook_id, digest))
        remember_contents(self._alias, known)

    def _count_deleted(self, pks: Sequence[int]) -> None:
        for name, number in dependents(self._alias, pks).items():
            self._counts.add(name, deleted=number)
        self._counts.add("delivery", deleted=len(pks))
        self._counts.add("", deliveries=len(pks))

    def _count_blanked(self, matched: Sequence[int], quoting: int) -> None:
        self._counts.add("", deliveries=len(matched), quoting=quoting)
        self._counts.add("delivery", blanked=len(matched) + quoting)
        others = OtherContent.objects.using(self._alias).filter(delivery__in=matched).exclude(body=b"")
        self._counts.add("othercontent", blanked=others.count() if matched else 0)

    def _blank(self, delivery: Delivery, match: Match | None) -> None:
        """Blank what a delivery says of the person, or what it quotes."""
        quotes = self._finder.own_quotes
        others = match.person.others | self._finder.person.others if match is not None else frozenset()
        document = match.document if match is not None and match.document else load_document(delivery.body)
        changes = self._blanked_columns(delivery, quotes, {*others, *quotes.values})
        if document is None:
            is_kept = match is None and erasing.is_utf8(delivery.body)
            changes["body"] = quotes.blanked(delivery.body.decode("utf-8", "replace")).encode() if is_kept else b""
        else:
            self._blank_document(document, match, quotes, others)
            changes["body"] = erasing.as_body(document)
            if delivery.has_payload:  # type: ignore[attr-defined]
                changes["payload"] = document
            data = document.get("data")
            if delivery.resource_id and isinstance(data, dict) and data.get("id") in (ERASED, None):
                changes["resource_id"] = ERASED
        headers = dict(delivery.headers)
        if erasing.blank_quotes(headers, quotes, others):
            changes["headers"] = headers
        Delivery.objects.using(self._alias).filter(pk=delivery.pk).update(
            **changes,
            content_hash=delivery.content_hash or content_hash(delivery.body),
            content_change=Delivery.ContentChange.ERASURE,
            content_changed_at=self._now,
        )
        UnredactedBody.objects.using(self._alias).filter(delivery=delivery.pk).delete()

    def _blanked_columns(self, delivery: Delivery, quotes: Quotes, values: Collection[str]) -> dict[str, Any]:
        """Return the texts of the delivery's columns: a value may have been cut in them."""
        changes = {}
        for name, limit in LIMITS.items():
            text = getattr(delivery, name)
            written = {form for value in values for form in (value, *equivalents(value))}
            whole = {canonical(stored_text(value, name, self._alias)).lower() for value in written}
            changes[name] = ERASED if text and canonical(text).lower() in whole else quotes.blanked(text, limit=limit)
        return changes

    def _blank_document(
        self, document: dict[str, Any], match: Match | None, quotes: Quotes, others: Collection[str]
    ) -> None:
        if match is not None and (match.is_hidden or not self._finder.criteria.where):
            erasing.blank_everything(document)
        if match is not None:
            match.blank_person()
        erasing.blank_quotes(document, quotes, others)

    def _said_by(self, match: Match) -> frozenset[str]:
        """Return what a delivery says of the person, of an organization everything: its errors may quote any of it."""
        return match.own_values if self._finder.criteria.where else erasing.all_values(match.document)

    def _blank_texts(self, pk: int, said: frozenset[str], *, is_dry_run: bool = False) -> None:
        """Blank what the errors of a delivery's own receivers quote: what identifies the person, and what it says."""
        quotes = Quotes(said | self._finder.own_quotes.values)
        for table in TEXT_TABLES:
            if table.is_of_runs:
                rows = table.rows(self._alias).filter(**{table.delivery: pk}).only(*table.columns)
                if is_dry_run and table.model is Run:  # else they have been dropped, with their errors
                    rows = rows.exclude(status__in=Run.UNFINISHED)
                for row in rows:
                    changes = {
                        name: blanked
                        for name, limit in table.columns.items()
                        if (blanked := quotes.blanked(getattr(row, name), limit=limit)) != getattr(row, name)
                    }
                    if changes:
                        self._counts.add(table.name, blanked=1)
                    if changes and not is_dry_run:
                        table.model._meta.base_manager.using(self._alias).filter(pk=row.pk).update(**changes)


_DROPPED: Final = "Dropped: the content of the delivery was erased."


def read_deliveries(alias: str, pks: Collection[int]) -> list[Delivery]:
    """Return deliveries with what is needed to decide whether they concern the person."""
    rows = Delivery.objects.using(alias).filter(pk__in=pks).only(*READ).order_by("pk")
    return _with_unredacted(alias, list(rows)) if pks else []


def _with_unredacted(alias: str, deliveries: list[Delivery]) -> list[Delivery]:
    """Attach the bytes as they came, where values were masked before storing and receivers have not finished."""
    redacted = {one.pk: one for one in deliveries if one.content_change == Delivery.ContentChange.REDACTION}
    if redacted:
        for row in UnredactedBody.objects.using(alias).filter(delivery__in=redacted):
            with contextlib.suppress(DecryptionError):  # then nobody can read it, and it is deleted with the delivery
                redacted[row.pk].unredacted = decrypt(row.body)  # type: ignore[attr-defined]
    return deliveries


def unredacted_of(delivery: Delivery) -> bytes:
    """Return the bytes as they came if they differ from the stored ones and are still kept, else none."""
    return getattr(delivery, "unredacted", b"")


def identities(deliveries: Iterable[Delivery]) -> list[Identity]:
    """Return what a removal needs of deliveries."""
    return [Identity(one.pk, one.webhook_id, one.identity) for one in deliveries]


def dependents(alias: str, pks: Sequence[int]) -> dict[str, int]:
    """Return how many rows belong to deliveries, by the name of their model."""
    found: dict[str, int] = {}
    relations = [*OF_DELIVERIES, *((model, f"{name}__delivery") for model, name in OF_RUNS)]
    for model, name in relations:
        rows: QuerySet[Any] = model._meta.base_manager.using(alias).filter(**{f"{name}__in": pks})
        model_name = str(model._meta.model_name)
        found[model_name] = found.get(model_name, 0) + rows.count()
    return {name: number for name, number in found.items() if number}
