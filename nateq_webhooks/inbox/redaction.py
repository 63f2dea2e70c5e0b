"""Masking values before a delivery is stored (`REDACT` with `"store": True`).

Its receivers get the whole event all the same: the bytes are kept until they have finished, encrypted if possible.
"""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from django.core.exceptions import ImproperlyConfigured

from nateq_webhooks.conf import settings
from nateq_webhooks.database.encryption import encrypt
from nateq_webhooks.errors import StoreError
from nateq_webhooks.inbox.delivery_row import NewDelivery
from nateq_webhooks.models import Delivery
from nateq_webhooks.models.redaction import NOT_MASKABLE
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.protocol.redaction import masked_body


@dataclass(frozen=True, kw_only=True, slots=True)
class RedactedDelivery(NewDelivery):
    """A row to insert in which values are masked."""

    content_change: ClassVar = Delivery.ContentChange.REDACTION
    whole_body: bytes | None = field(repr=False)
    "The bytes as they came, in the form in which they are stored for the receivers; None if none are to run."


def redacted(new: NewDelivery) -> NewDelivery:
    """Return the row as it is stored: with values masked at the paths that say so, or unchanged.

    Identity and hashes stay those of the whole body, so that a repetition is recognized. A body that can't be masked is
    not stored. Raises `StoreError` if the whole body could not be encrypted as the settings say.
    """
    redaction = settings().stored_redaction
    if not redaction:
        return new
    body = masked_body(redaction, new.body) or NOT_MASKABLE
    if body == new.body:
        return new
    columns: dict[str, Any] = {each.name: getattr(new, each.name) for each in fields(NewDelivery)}
    columns |= {"body": body, "payload": None if new.payload is None else redaction.masked_json(new.payload)}
    return RedactedDelivery(**columns, whole_body=_whole_body(new))


def _whole_body(new: NewDelivery) -> bytes | None:
    if new.status != Delivery.Status.RECEIVED:
        return None
    try:
        return encrypt(new.body)
    except ImproperlyConfigured as error:
        raise StoreError(f"A body that is kept for the receivers could not be encrypted: {error}") from error


def keep_whole_body(alias: str, pk: int, new: RedactedDelivery) -> None:
    """Note on a new delivery that it was redacted, and keep its whole body, in the caller's transaction."""
    row = Delivery.objects.using(alias).filter(pk=pk)
    row.update(content_change=new.content_change, content_changed_at=new.received_at)
    if new.whole_body is not None:
        UnredactedBody.objects.using(alias).create(delivery_id=pk, body=new.whole_body)
