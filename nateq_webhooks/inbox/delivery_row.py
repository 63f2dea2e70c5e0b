"""The row of a new delivery: every value in the form that PostgreSQL, MariaDB and SQLite store alike."""

import json
import uuid
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from django.db import connections
from django.db.models import JSONField
from django.db.models.expressions import Col

from nateq_webhooks.database.encoding import is_storable_json, storable
from nateq_webhooks.database.instances import from_row
from nateq_webhooks.inbox.request import MAX_ADDRESS_CHARS, Verified, kept_headers
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.delivery_texts import stored_text
from nateq_webhooks.protocol.envelope import Note
from nateq_webhooks.receivers import registry


@dataclass(frozen=True, kw_only=True, slots=True)
class NewDelivery:
    """The columns of a delivery to insert. JSON columns are text; each text fits its column."""

    content_change: ClassVar[str | None] = None
    "`Delivery.content_change` after the INSERT, which leaves it NULL."

    webhook_id: uuid.UUID
    identity: str
    content_hash: str
    delivery_id: str
    event: str
    resource: str
    resource_id: str
    organization_id: str
    timestamp: datetime | None
    attempt: int | None
    version: str
    body: bytes
    headers: str
    payload: str | None
    notes: str
    status: str
    received_at: datetime
    last_received_at: datetime
    remote_addr: str | None
    secret_id: str
    dispatch_at: datetime | None


@dataclass(frozen=True, slots=True)
class UpsertResult:
    """The row as the statement left it; `attempts_seen` is 1 if it is new.

    The hash and the notes are those of the stored delivery, not of its repetition. `content_hash` is None if the
    delivery was stored before this column existed; `notes` is JSON text.
    """

    pk: int
    attempts_seen: int
    status: str
    content_hash: str | None
    notes: str


def new_delivery(verified: Verified, hold: timedelta | None, alias: str, received_at: datetime) -> NewDelivery:
    """Build the row; characters that this database can't store are escaped.

    Receivers are due after `hold`; None: their runs are inserted with the row.
    """
    content, request = verified.content, verified.request
    event = content.event
    texts = {
        "delivery_id": event.delivery_id,
        "event": event.name,
        "resource": event.resource,
        "resource_id": content.resource_id,
        "organization_id": event.organization_id,
        "version": event.version,
    }
    columns = {name: stored_text(text, name, alias) for name, text in texts.items()}
    notes = content.notes if columns == texts else (*content.notes, Note.CUT)
    payload_json = content.payload_json
    if payload_json is not None and not is_storable_json(payload_json, alias):
        payload_json, notes = None, (*notes, Note.PAYLOAD_NOT_QUERYABLE)
    status = _status(verified)
    headers = kept_headers(request.meta, verified.webhook.signature_meta_key)
    headers = {name: storable(value, alias, binary=True) for name, value in headers.items()}
    return NewDelivery(
        **columns,
        webhook_id=verified.webhook.id,
        identity=content.identity,
        content_hash=content.content_hash,
        timestamp=event.timestamp,
        attempt=event.attempt,
        body=request.body,
        headers=json.dumps(headers),
        payload=payload_json,
        notes=json.dumps(notes) if notes else "[]",
        status=status,
        received_at=received_at,
        last_received_at=received_at,
        remote_addr=request.remote_addr and storable(request.remote_addr, alias)[:MAX_ADDRESS_CHARS],
        secret_id=verified.key_id,
        dispatch_at=received_at + hold if hold is not None and status == Delivery.Status.RECEIVED else None,
    )


def as_model(new: NewDelivery, alias: str, pk: int) -> Delivery:
    """Return the delivery that was inserted under this key, as if it had been read from the database.

    The payload is the sender's JSON: a database may change the order of its keys and the form of its numbers.
    """
    connection = connections[alias]
    row: dict[str, Any] = _UNSET | {name: getattr(new, name) for name in _COLUMNS}
    for name, (field, column) in _JSON_COLUMNS.items():
        row[name] = field.from_db_value(row[name], column, connection)
    if new.timestamp is not None:
        row["timestamp"] = new.timestamp.astimezone(UTC)
    changed_at = new.received_at if new.content_change is not None else None
    row |= {"content_change": new.content_change, "content_changed_at": changed_at}
    return from_row(Delivery, alias, row | {"id": pk, "attempts_seen": 1})


_COLUMNS: Final = tuple(field.name for field in fields(NewDelivery))
_UNSET: Final[dict[str, Any]] = dict.fromkeys(field.attname for field in Delivery._meta.concrete_fields)
"""Every column: one that is not named in the INSERT is NULL, and must not be read from the database again."""

_JSON_COLUMNS: Final[dict[str, tuple[Any, Col]]] = {
    field.attname: (field, Col("", field)) for field in Delivery._meta.concrete_fields if isinstance(field, JSONField)
}


def _status(verified: Verified) -> str:
    """Return the status to store; only a delivery that is `RECEIVED` has receivers to run."""
    content = verified.content
    if not content.is_readable:
        return Delivery.Status.INVALID
    if not verified.webhook.subscribes_to(content.event.name):
        return Delivery.Status.IGNORED
    if not registry.for_event(content.event.name):
        return Delivery.Status.PROCESSED
    return Delivery.Status.RECEIVED
