"""The audit log: an entry for each action of a person, a program or a command on data, secrets and receivers.

What acts says who it is, once and at the outside: a page of the admin, a request of the API and a command run in
`acting`. The function that carries an action out calls `record` in the action's transaction: both are committed, or
neither is. What hands something out instead (a secret, an export, a body) calls it first, and an error prevents it.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import router, transaction
from django.utils import timezone

from nateq_webhooks.database.encoding import is_storable_json
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.models import AuditEntry, Webhook
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.secret_text import SecretText

__all__ = ["Action", "Source", "acting", "record"]

Action = AuditEntry.Action
Source = AuditEntry.Source

MAX_NAMES: Final = 50
"""Names in a list of the details; more are counted."""

MAX_NAME_CHARS: Final = 200

PRUNED_TARGET: Final = "audit log"
"""The target of the entries about entries that were removed."""


@dataclass(frozen=True, slots=True)
class _Actor:
    source: Source
    name: str


_NOBODY: Final = _Actor(Source.CODE, "")

_acting: ContextVar[_Actor] = ContextVar("nateq_webhooks.audit", default=_NOBODY)


@contextmanager
def acting(source: Source, actor: str) -> Iterator[None]:
    """Attribute what is recorded inside to `actor`: a user's name, an API key's, or the system's user of a command."""
    token = _acting.set(_Actor(source, actor))
    try:
        yield
    finally:
        _acting.reset(token)


def record(
    action: Action,
    *,
    source: Source | None = None,
    actor: str = "",
    target: str = "",
    webhook_id: UUID | None = None,
    details: Mapping[str, Any] | None = None,
    using: str | None = None,
) -> None:
    """Store an entry, in the transaction that is open on the database `using` if there is one.

    `target` is what it is about as text. What is about a webhook has `webhook_id`, too, as its name may change.
    Without `source` and `actor` they are those of `acting`; outside of it the source is `code`. `details` may have
    numbers, names and lists of names: no secret, and nothing that a customer wrote. Raises `TypeError` for a
    `SecretText`, and `django.db.Error` if the entry can't be stored: then the action must not take place either.
    """
    current = _acting.get()
    alias = using or router.db_for_write(AuditEntry)
    kept = {name: _kept(value, alias) for name, value in (details or {}).items()}
    entry = {
        "action": action,
        "source": source or current.source,
        "actor": column_text(actor or current.name, 150),
        "target": column_text(target, 255),
        "webhook_id": webhook_id,
        "details": kept,
    }
    retry_transaction(lambda: AuditEntry.objects.using(alias).create(**entry), alias=alias)


def of_webhook(webhook: Webhook) -> dict[str, Any]:
    """Return the arguments of `record` for an entry about a webhook: its name now, and the id that stays."""
    return {"target": webhook.name, "webhook_id": webhook.pk}


def prune(before: datetime, limit: int, *, using: str | None = None) -> int:
    """Remove up to `limit` entries older than `before`, the oldest first; return how many. An entry counts them."""
    alias = using or router.db_for_write(AuditEntry)
    return retry_transaction(lambda: _prune(alias, before, limit), alias=alias)


def _prune(alias: str, before: datetime, limit: int) -> int:
    entries = AuditEntry.objects.using(alias)
    pks = list(entries.filter(at__lt=before).order_by("at").values_list("pk", flat=True)[:limit])
    if not pks:
        return 0
    with transaction.atomic(using=alias):
        removed, _by_model = entries.filter(pk__in=pks).delete()
        if not removed:  # another process has removed them
            return 0
        record_removed(PRUNED_TARGET, {"entries": removed}, using=alias)
    return removed


def record_removed(target: str, numbers: Mapping[str, int], *, using: str | None = None) -> None:
    """Record what retention has removed. There is one such entry a day, target, actor and source: its numbers grow."""
    alias, current = using or router.db_for_write(AuditEntry), _acting.get()
    today = timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
    about = AuditEntry.objects.using(alias).filter(action=Action.PRUNED, target=target, at__gte=today)
    same = about.filter(source=current.source, actor=column_text(current.name, 150)).order_by("-pk")
    with transaction.atomic(using=alias):
        entry = same.select_for_update().first()
        if entry is None:
            record(Action.PRUNED, target=target, details=numbers, using=alias)
            return
        entry.details |= {name: entry.details.get(name, 0) + number for name, number in numbers.items()}
        entry.save(using=alias, update_fields=["details"])


def _kept(value: Any, alias: str) -> Any:
    """Return a value of the details as JSON columns store it. Raises `TypeError` for what must not be there."""
    if isinstance(value, SecretText):
        raise TypeError("A secret can't be part of an audit entry.")
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        names = [_kept(name, alias) for name in (sorted(value) if isinstance(value, (set, frozenset)) else value)]
        return names if len(names) <= MAX_NAMES else [*names[:MAX_NAMES], f"+{len(names) - MAX_NAMES}"]
    text = column_text(str(value), MAX_NAME_CHARS)
    return text if is_storable_json(json.dumps(text), alias) else text.encode("ascii", "backslashreplace").decode()
