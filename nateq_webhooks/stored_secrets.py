"""What is stored encrypted: which secrets can't be read, in which forms all is stored, and its conversion.

To convert, each row is written by a statement of its own, on the condition that it has not changed since it was read.
So this is safe beside live traffic, and may be killed anywhere: what is left is converted by the next call.
"""

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone

from nateq_webhooks import audit
from nateq_webhooks.database import encryption
from nateq_webhooks.database.encryption import StoredForm
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.errors import SecretUnavailableError
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.signing_keys import reference, why_unavailable
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.protocol.secret_text import SecretBytes

ROWS_READ: Final = 500
"""Secrets that one query reads; each has a few hundred bytes."""

BODIES_READ: Final = 10
"""Bodies that one query reads; each may have a megabyte."""

_TRIES: Final = 5
"""How often a row is read again that another process changes at the same time."""


class Kind(StrEnum):
    """What is stored encrypted."""

    WEBHOOKS = "webhooks"
    """The current secrets of webhooks."""
    OLDER_SECRETS = "older_secrets"
    """The other secrets that webhooks accept."""
    UNREDACTED_BODIES = "unredacted_bodies"
    """Bodies that are kept until their receivers have finished (`REDACT`)."""


REFERENCE: Final = "reference"
"""The form of a secret that is in the environment: only its variable's name is stored."""


@dataclass(slots=True)
class Conversion:
    """What a call has done so far, or with `dry_run` would have done."""

    converted: int = 0
    unchanged: int = 0
    "Rows that had the wanted form before."
    unreadable: int = 0
    "Rows that no key decrypts: they stay as they are."

    @property
    def looked_at(self) -> int:
        """How many rows were read."""
        return self.converted + self.unchanged + self.unreadable


@dataclass(frozen=True, slots=True)
class _Row:
    """A stored value: its text or bytes as the column has it, and how it is replaced."""

    kind: Kind
    pk: Any
    stored: str | bytes = field(repr=False)
    replace: Callable[[Any], bool] = field(repr=False)

    @property
    def form(self) -> str:
        """The form of the value: a `StoredForm` or `REFERENCE`."""
        if isinstance(self.stored, bytes):
            return encryption.form_of(self.stored)
        if reference(self.stored) is not None:
            return REFERENCE
        return encryption.form_of(SecretBytes(self.stored.encode("utf-8", "surrogatepass")))

    def converted(self, *, to_plain: bool) -> str | bytes:
        """Return the value in the other form. Raises `DecryptionError`."""
        if isinstance(self.stored, str):
            text = encryption.decrypt_text(self.stored)
            return text if to_plain else encryption.encrypt_text(text)
        data = SecretBytes(encryption.decrypt(self.stored))
        return encryption.plain(data) if to_plain else encryption.encrypt(data)


def unreadable(alias: str, webhooks: Collection[UUID] | None = None) -> dict[str, SecretUnavailableError]:
    """Return the webhooks, by name, with a secret that is accepted and can't be read, each with the first reason.

    Of all webhooks, or of those with these keys. One query.
    """
    rows = Webhook.objects.using(alias).order_by("name")
    rows = rows if webhooks is None else rows.filter(pk__in=webhooks)
    found: dict[str, SecretUnavailableError] = {}
    now = timezone.now()
    columns = ("name", "secret", "older_secrets__secret", "older_secrets__expires_at")
    for name, current, older, expires_at in rows.values_list(*columns):
        is_live = expires_at is None or expires_at > now
        for secret in (current, older) if older and is_live else (current,):
            error = None if name in found else why_unavailable(secret)
            if error is not None:
                found[name] = error
    return found


def count_forms(alias: str) -> dict[Kind, Counter[str]]:
    """Return how many values of each kind are stored in which form."""
    counts: dict[Kind, Counter[str]] = {kind: Counter() for kind in Kind}
    for row in _rows(alias):
        counts[row.kind][row.form] += 1
    return counts


def convert(
    alias: str, *, to_plain: bool = False, dry_run: bool = False, progress: Callable[[Conversion], None]
) -> Conversion:
    """Encrypt every value with the newest key; with `to_plain` decrypt it. `progress` is called for each row.

    The audit log gets one entry with the numbers, also if this is interrupted. Raises `ImproperlyConfigured` without a
    key.
    """
    found = Conversion()
    try:
        for row in _rows(alias):
            _convert(alias, row, found, to_plain=to_plain, dry_run=dry_run)
            progress(found)
    finally:
        if found.converted and not dry_run:
            details = {"converted": found.converted, "unreadable": found.unreadable, "to_plain_text": to_plain}
            audit.record(audit.Action.KEYS_ROTATED, details=details, using=alias)
    return found


def _convert(alias: str, row: _Row, found: Conversion, *, to_plain: bool, dry_run: bool) -> None:
    wanted = StoredForm.PLAIN if to_plain else StoredForm.NEWEST_KEY
    current: _Row | None = row
    for _try in range(_TRIES):
        if current is None or current.form in (wanted, REFERENCE):
            break
        if current.form == StoredForm.UNREADABLE:
            found.unreadable += 1
            return
        new = current.converted(to_plain=to_plain)
        if dry_run or retry_transaction(functools.partial(current.replace, new), alias=alias):
            found.converted += 1
            return
        current = next(_rows(alias, row), None)
    found.unchanged += 1


def _rows(alias: str, again: _Row | None = None) -> Iterator[_Row]:
    """Yield every value that is not empty, or read one again."""
    tables = ((Kind.WEBHOOKS, Webhook.objects.using(alias)), (Kind.OLDER_SECRETS, Secret.objects.using(alias)))
    for kind, every in tables:
        if again is None or again.kind is kind:
            yield from _secrets(kind, every, again)
    if again is None or again.kind is Kind.UNREDACTED_BODIES:
        yield from _bodies(alias, again)


def _secrets(kind: Kind, every: Any, again: _Row | None) -> Iterator[_Row]:
    rows = every.exclude(secret="")
    rows = rows if again is None else rows.filter(pk=again.pk)
    for pk, stored in _in_parts(rows.with_stored(), "stored", ROWS_READ):
        yield _Row(
            kind=kind,
            pk=pk,
            stored=stored,
            replace=functools.partial(every.replace_stored, pk, stored),
        )


def _bodies(alias: str, again: _Row | None) -> Iterator[_Row]:
    bodies = UnredactedBody.objects.using(alias)
    rows = bodies.all() if again is None else bodies.filter(pk=again.pk)
    for pk, stored in _in_parts(rows, "body", BODIES_READ):
        yield _Row(
            kind=Kind.UNREDACTED_BODIES,
            pk=pk,
            stored=stored,
            replace=functools.partial(_replace_body, bodies.filter(pk=pk)),
        )


def _replace_body(row: QuerySet[UnredactedBody], new: bytes) -> bool:
    """Write a body; its content never changes, so another process can only have converted or deleted it."""
    return row.update(body=new) > 0


def _in_parts(rows: Any, column: str, size: int) -> Iterator[tuple[Any, Any]]:
    """Yield the keys and values of rows, reading `size` of them at a time, by key."""
    rows, last = rows.order_by("pk"), None
    while True:
        part = list((rows if last is None else rows.filter(pk__gt=last)).values_list("pk", column)[:size])
        yield from part
        if len(part) < size:
            return
        last = part[-1][0]
