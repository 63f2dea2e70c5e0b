"""Other content under a stored delivery id: detected by comparing hashes, and kept.

The delivery id is the identity, so such a request stores no delivery and runs no receiver. Its content is kept in
`OtherContent`, so that nothing that was acknowledged is lost. Two contents are equal if their
`Envelope.content_hash` is: the attempt, the version and the form of the JSON may differ.
"""

import functools
import logging
from typing import Final

from django.db import IntegrityError, connections
from django.db.models.expressions import Col
from django.db.models.functions import Length

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.delivery_row import NewDelivery, UpsertResult
from nateq_webhooks.models import Delivery, OtherContent
from nateq_webhooks.models.delivery import MAX_CONTENTS_KEPT
from nateq_webhooks.protocol.envelope import Note, content_hash

logger: Final = logging.getLogger("nateq_webhooks")

_NOTES: Final = Delivery._meta.get_field("notes")


def differs(alias: str, stored: UpsertResult, new: NewDelivery) -> bool:
    """Return whether a repetition carries other content than the stored delivery.

    Queries the database only for a delivery that was stored before the hash column existed. Raises `django.db.Error`.
    """
    if new.identity == new.content_hash:  # the content is the identity
        return False
    known = stored.content_hash or hash_of_older(alias, stored.pk, settings().max_body_bytes)
    return known is not None and known != new.content_hash


def hash_of_older(alias: str, pk: int, max_bytes: int) -> str | None:
    """Compute and save the content hash of a delivery that was stored without one.

    None if its body has more than `max_bytes`, which is then not read, if it was removed, or if the delivery was.
    """
    row = Delivery.objects.using(alias).filter(pk=pk)
    body = row.annotate(size=Length("body")).filter(size__lte=max_bytes).values_list("body", flat=True).first()
    if not body:
        return None
    known = content_hash(body)
    row.update(content_hash=known)
    return known


def keep(alias: str, stored: UpsertResult, new: NewDelivery, *, has_removed: bool) -> bool:
    """Keep other content of a delivery and add the note; False if it is kept already or there are too many.

    At most `MAX_CONTENTS_KEPT` are kept per delivery, with `MAX_BODY_BYTES` of bodies together; beyond that the body
    is left out, as it is if the delivery's own content was removed or erased. `has_removed` is whether contents of
    the webhook may be. Raises `django.db.Error`.
    """
    if not _insert(alias, stored.pk, new):
        return False
    if has_removed:
        # The content may have been erased since the INSERT read the delivery: the INSERT then has waited for that.
        inserted = OtherContent.objects.using(alias).filter(delivery=stored.pk, content_hash=new.content_hash)
        inserted.filter(delivery__content_change__in=Delivery.CONTENT_LOST).update(body=b"")
    notes = _NOTES.from_db_value(stored.notes, Col("", _NOTES), connections[alias])
    if Note.CONTENT_DIFFERS not in notes:
        Delivery.objects.using(alias).filter(pk=stored.pk).update(notes=[*notes, Note.CONTENT_DIFFERS])
    return True


def _insert(alias: str, pk: int, new: NewDelivery) -> bool:
    """Insert the row unless the limits are reached or the content is kept already; return whether it was inserted."""
    connection = connections[alias]
    size = len(new.body)
    values = [
        pk,
        new.content_hash,
        new.event,
        new.attempt,
        connection.ops.adapt_datetimefield_value(new.received_at),
        new.remote_addr,
        new.secret_id,
        size,
        settings().max_body_bytes - size,
        pk,
        connection.Database.Binary(new.body),  # type: ignore[attr-defined]
        connection.Database.Binary(b""),  # type: ignore[attr-defined]
        pk,
        MAX_CONTENTS_KEPT,
        new.content_hash,
    ]
    try:
        with connection.cursor() as cursor:
            cursor.execute(_insert_sql(alias), values)
            return bool(cursor.rowcount == 1)
    except IntegrityError:  # another process has just inserted the same content
        if not OtherContent.objects.using(alias).filter(delivery=pk, content_hash=new.content_hash).exists():
            raise
        return False


@functools.cache
def _insert_sql(alias: str) -> str:
    """Return one statement that checks the limits and inserts, in SQL that all databases support."""
    quote = connections[alias].ops.quote_name
    table, deliveries = quote(OtherContent._meta.db_table), quote(Delivery._meta.db_table)
    lost = ", ".join(f"'{change}'" for change in Delivery.CONTENT_LOST)
    is_lost = f"EXISTS (SELECT 1 FROM {deliveries} WHERE id = %s AND content_change IN ({lost}))"  # noqa: S608
    # Only our own table name and placeholders are interpolated.
    return (
        f"INSERT INTO {table} (delivery_id, content_hash, event, number, received_at, remote_addr, secret_id, size, "  # noqa: S608
        "body) SELECT %s, %s, %s, %s, %s, %s, %s, %s, "
        f"CASE WHEN COALESCE(SUM(LENGTH(body)), 0) <= %s AND NOT {is_lost} THEN %s ELSE %s END "
        f"FROM {table} WHERE delivery_id = %s "
        "HAVING COUNT(*) < %s AND COUNT(CASE WHEN content_hash = %s THEN 1 END) = 0"
    )


def log_difference(pk: int, new: NewDelivery, *, is_kept: bool) -> None:
    """Log that a stored id came with other content, and what to do about a sender that reuses its ids."""
    logger.warning(
        "Delivery %s was repeated with other content under the same id (event %r, %s bytes, hash %s). No receiver "
        'runs for it; %s. If the sender\'s ids are not unique, set NATEQ_WEBHOOKS["IDENTITY"] = "content": then '
        "each content is a delivery.",
        pk,
        new.event,
        len(new.body),
        new.content_hash[:12],
        "it is noted at the delivery, with its content unless that was removed or is too much"
        if is_kept
        else "it is kept already, or too many are kept",
    )
