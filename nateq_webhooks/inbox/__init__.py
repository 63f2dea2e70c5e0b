"""The way in: find the webhook, verify, read, store. The only place that inserts a delivery.

Nothing of a request is kept before its signature has been verified, and nothing is answered with a 2xx before it has
been committed. What runs afterwards is none of this room's business.
"""

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.core.exceptions import SynchronousOnlyOperation
from django.db import Error, router
from django.dispatch import Signal

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import StoreError
from nateq_webhooks.inbox import contents
from nateq_webhooks.inbox.arrival import MAX_ADDRESS_CHARS, Arrival, kept_headers, remote_address
from nateq_webhooks.inbox.configuration import Configuration, cache, close_if_lost
from nateq_webhooks.inbox.diary import book
from nateq_webhooks.inbox.reasons import NO_MATCH, Reason, Refusal
from nateq_webhooks.inbox.rotation import TEST_ID_PREFIX, end_former_secrets
from nateq_webhooks.inbox.statement import NewDelivery, Stored, upsert
from nateq_webhooks.inbox.twins import note_twin
from nateq_webhooks.models import Attempt, Delivery
from nateq_webhooks.models.delivery import MAX_ATTEMPTS_KEPT
from nateq_webhooks.models.encoding import is_storable_json, storable
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.envelope import Envelope, Note, read
from nateq_webhooks.receivers import registry

__all__ = [
    "NO_MATCH",
    "Arrival",
    "Configuration",
    "Reason",
    "Receipt",
    "Refusal",
    "Verified",
    "find",
    "refuse",
    "refuse_method",
    "remote_address",
    "store",
    "verify",
]

logger: Final = logging.getLogger("nateq_webhooks")


UNAVAILABLE: Final = (Error, SynchronousOnlyOperation)
"""What asking the database raises when it can't be asked: the second one where gevent puts requests and an event loop
into one thread (docs/reference/receiving.md)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A request whose signature holds, read and ready to be stored."""

    webhook: Configuration
    arrival: Arrival
    content: Envelope
    key_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A delivery that has been committed. `dispatch_at` is set when receivers are to run: when, or held until when."""

    pk: int
    alias: str
    is_new: bool
    is_readable: bool
    dispatch_at: datetime | None


def find(webhook_id: uuid.UUID) -> Configuration | None:
    """Return the webhook's configuration, None when it is unknown or switched off.

    Raises `StoreError` when nothing is known yet and the database can't be asked.
    """
    try:
        webhook = cache.get(webhook_id)
    except UNAVAILABLE as error:
        raise StoreError(f"The webhooks' configuration can't be read: {type(error).__name__}.") from error
    return webhook if webhook is not None and webhook.is_active else None


def verify(webhook: Configuration, arrival: Arrival) -> Verified | Reason:
    """Verify a request's signature and organization, and read it; else the reason to refuse it."""
    header = arrival.meta.get(webhook.signature_meta_key)
    match = signatures.verify(arrival.body, header, webhook.live_keys(datetime.now(UTC)))
    if isinstance(match, signatures.Mismatch):
        return match.reason
    content = read(arrival.body, by_content=settings().identity == "content")
    organization = content.event.organization_id
    if webhook.organization_id and organization and organization != webhook.organization_id:
        return Refusal.OTHER_ORGANIZATION
    return Verified(webhook=webhook, arrival=arrival, content=content, key_id=match.key_id)


def refuse(
    webhook: Configuration,
    reason: Reason,
    *,
    meta: Mapping[str, Any],
    remote_addr: str | None,
    body: bytes | None = None,
) -> None:
    """Tell the log, the monitoring and the diary that a request was refused. Nothing is written to the database yet.

    `body` is what was read of it, None when it was not read. It is held in memory for a second at most.
    """
    logger.warning("%s", _explanation(webhook, reason, meta.get(webhook.signature_meta_key)))
    signals.delivery_rejected.send_robust(
        sender=Delivery, webhook_id=webhook.id, reason=reason.value, remote_addr=remote_addr
    )
    book.note(webhook, reason, meta=meta, remote_addr=remote_addr, body=body)


def refuse_method(webhook_id: uuid.UUID, *, meta: Mapping[str, Any], remote_addr: str | None) -> None:
    """Tell the diary that a webhook was asked with GET: what a redirect on the way makes of a POST."""
    try:
        webhook = find(webhook_id)
    except StoreError:
        return
    if webhook is not None:
        book.note(webhook, Refusal.NOT_POST, meta=meta, remote_addr=remote_addr, body=None)


def store(verified: Verified, *, hold: timedelta = timedelta()) -> Receipt:
    """Store a verified delivery, or count one more attempt at it, and commit.

    With receivers connected to its event the delivery is due for dispatch after `hold`. Raises `StoreError` when the
    database can't commit it: then it must not be acknowledged.
    """
    alias = router.db_for_write(Delivery)
    try:
        new = _new_delivery(verified, hold, alias)
        stored = upsert(alias, new)
    except UNAVAILABLE as error:
        if isinstance(error, Error):
            close_if_lost(alias)
        raise StoreError(
            f'A delivery to webhook "{verified.webhook.name}" could not be stored: {type(error).__name__}.'
        ) from error
    is_new = stored.attempts_seen == 1
    receipt = Receipt(
        pk=stored.pk,
        alias=alias,
        is_new=is_new,
        is_readable=stored.status != Delivery.Status.INVALID,
        dispatch_at=new.dispatch_at if is_new else None,
    )
    other = _OtherContent() if is_new else _keep_other_content(receipt, stored, new)
    try:
        _follow_up(verified, receipt, new, stored.attempts_seen, other)
    except Exception:  # the delivery is committed: whatever happens now, the sender is told so
        logger.exception("Delivery %s is stored, but what follows could not be done.", receipt.pk)
    return receipt


@dataclass(frozen=True, slots=True)
class _OtherContent:
    """What a repetition was found to carry: another content than the stored one, and whether that is kept now."""

    is_there: bool = False
    is_kept: bool = False


def _follow_up(
    verified: Verified, receipt: Receipt, new: NewDelivery, attempts_seen: int, other: _OtherContent
) -> None:
    """Do what a stored delivery or a counted attempt brings about, apart from its receivers."""
    if not receipt.is_new and not other.is_kept:
        _keep_attempt(receipt, attempts_seen, new)
    if other.is_there:
        contents.log_difference(receipt.pk, new, is_kept=other.is_kept)
    if receipt.is_new and new.attempt is not None and new.attempt > 1:
        note_twin(receipt.alias, receipt.pk, new)
    if verified.key_id == verified.webhook.awaited_key_id and not new.delivery_id.startswith(TEST_ID_PREFIX):
        end_former_secrets(verified.webhook, new.received_at)
    _announce(signals.delivery_received if receipt.is_new else signals.delivery_duplicated, receipt)
    if other.is_there:
        _announce(signals.delivery_content_differs, receipt, event=verified.content.event)
    if receipt.is_new and new.status == Delivery.Status.PROCESSED:
        _announce(signals.delivery_processed, receipt)


def _new_delivery(verified: Verified, hold: timedelta, alias: str) -> NewDelivery:
    """Build the row, in the shape that every database takes alike, with the characters that this one stores."""
    now = datetime.now(UTC)
    content, arrival = verified.content, verified.arrival
    event = content.event
    texts = {
        "delivery_id": event.delivery_id,
        "event": event.name,
        "resource": event.resource,
        "resource_id": content.resource_id,
        "organization_id": event.organization_id,
        "version": event.version,
    }
    columns = {name: _stored_text(column_text(text, _LIMITS[name]), name, alias) for name, text in texts.items()}
    notes = content.notes if columns == texts else (*content.notes, Note.CUT)
    payload_json = content.payload_json
    if payload_json is not None and not is_storable_json(payload_json, alias):
        payload_json, notes = None, (*notes, Note.PAYLOAD_NOT_QUERYABLE)
    status, is_due = _plan(verified)
    headers = kept_headers(arrival.meta, verified.webhook.signature_meta_key)
    headers = {name: storable(value, alias, binary=True) for name, value in headers.items()}
    return NewDelivery(
        **columns,
        webhook_id=verified.webhook.id,
        identity=content.identity,
        content_hash=content.content_hash,
        timestamp=event.timestamp,
        attempt=event.attempt,
        body=arrival.body,
        headers=json.dumps(headers),
        payload=payload_json,
        notes=json.dumps(notes) if notes else "[]",
        status=status,
        received_at=now,
        last_received_at=now,
        remote_addr=arrival.remote_addr and storable(arrival.remote_addr, alias)[:MAX_ADDRESS_CHARS],
        secret_id=verified.key_id,
        dispatch_at=now + hold if is_due else None,
    )


def _stored_text(text: str, name: str, alias: str) -> str:
    """Return a text as its column holds it on this database."""
    return storable(text, alias, binary=True)[: _LIMITS[name]]


_LIMITS: Final[dict[str, int]] = {
    name: Delivery._meta.get_field(name).max_length  # type: ignore[union-attr,misc]
    for name in ("delivery_id", "event", "resource", "resource_id", "organization_id", "version")
}


def _plan(verified: Verified) -> tuple[str, bool]:
    """Return the status to store, and whether receivers are to run."""
    content = verified.content
    if not content.is_readable:
        return Delivery.Status.INVALID, False
    if not verified.webhook.subscribes_to(content.event.name):
        return Delivery.Status.IGNORED, False
    if not registry.for_event(content.event.name):
        return Delivery.Status.PROCESSED, False
    return Delivery.Status.RECEIVED, True


def _keep_other_content(receipt: Receipt, stored: Stored, new: NewDelivery) -> _OtherContent:
    """Keep what a repetition carries if it is another content than the stored delivery's.

    Raises `StoreError` if it can't be committed: it is stored nowhere else.
    """
    try:
        is_there = contents.differs(receipt.alias, stored, new)
        return _OtherContent(is_there, is_there and contents.keep(receipt.alias, stored, new))
    except UNAVAILABLE as error:
        if isinstance(error, Error):
            close_if_lost(receipt.alias)
        raise StoreError(
            f"Delivery {receipt.pk} came again; whether its content differs could not be stored: "
            f"{type(error).__name__}."
        ) from error


def _keep_attempt(receipt: Receipt, attempts_seen: int, new: NewDelivery) -> None:
    """Keep when and from where a stored delivery was repeated. It is committed already, so a failure is only logged."""
    if attempts_seen > MAX_ATTEMPTS_KEPT + 1:
        return
    try:
        Attempt.objects.using(receipt.alias).create(
            delivery_id=receipt.pk,
            number=new.attempt,
            received_at=new.received_at,
            remote_addr=new.remote_addr,
        )
    except UNAVAILABLE as error:
        logger.warning(
            "An attempt at delivery %s was counted but its details not kept: %s",
            receipt.pk,
            type(error).__name__,
        )


def _announce(signal: Signal, receipt: Receipt, **arguments: object) -> None:
    """Send a monitoring signal; the row is read only when somebody listens."""
    if not signal.has_listeners(Delivery):
        return
    try:
        delivery = Delivery.objects.using(receipt.alias).get(pk=receipt.pk)
    except (Error, Delivery.DoesNotExist) as error:
        logger.warning("Delivery %s is stored, but could not be announced: %s", receipt.pk, type(error).__name__)
        return
    signal.send_robust(sender=Delivery, delivery=delivery, **arguments)


def _explanation(webhook: Configuration, reason: Reason, header: str | None) -> str:
    """Return the line for the log: what was refused, with what, and what to do."""
    name = webhook.signature_meta_key.removeprefix("HTTP_").replace("_", "-").title()
    start = f'Delivery to webhook "{webhook.name}" refused:'
    if reason is signatures.Reason.MISSING:
        return (
            f"{start} it has no header {name}. If the signature comes in another one, name it in "
            'NATEQ_WEBHOOKS["SIGNATURE_HEADER"] or on the webhook.'
        )
    if reason is signatures.Reason.NO_SECRET:
        return (
            f"{start} it has no usable signing secret: each is empty, too short, expired or not in SECRET_ENCODING. "
            f"Enter Nateq's under Webhooks > {webhook.name}."
        )
    if reason is signatures.Reason.NO_MATCH:
        return (
            f"{start} {name} ({len(header or '')} characters) matches none of its {len(webhook.keys)} secrets. "
            f"Rotated at Nateq? Add the new one under Webhooks > {webhook.name} > Signing secrets."
        )
    if reason is Refusal.OTHER_ORGANIZATION:
        return (
            f"{start} it is signed, but of another organization than {webhook.organization_id!r}. Change or clear "
            f"the organization under Webhooks > {webhook.name} if that is wrong."
        )
    if reason is Refusal.TOO_LARGE:
        return f'{start} its body is larger than NATEQ_WEBHOOKS["MAX_BODY_BYTES"] allows.'
    if reason is Refusal.NO_LENGTH:
        return (
            f"{start} its Content-Length is not one number, "
            "or its body is chunked and this server does not say where such a body ends."
        )
    return f"{start} {name} ({len(header or '')} characters) holds no signature: {reason.value}."
