"""Whether a delivery repeats one that retention or an erasure has removed.

Written as SQL: every new delivery to a webhook with removed ones is looked up, and building the statement with the ORM
costs Python more than all the rest of storing it.
"""

import functools
import uuid
from datetime import datetime
from typing import Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.database.cursors import statement_cursor
from nateq_webhooks.models.removed_delivery import RemovedDelivery


def was_removed(
    connection: BaseDatabaseWrapper, webhook_id: uuid.UUID, identity: str, content_hash: str, at: datetime
) -> bool:
    """Return whether the delivery was removed, or its content was erased under any id, and is still known at `at`.

    One SELECT through a unique index.
    """
    values = [
        _WEBHOOK_ID.get_db_prep_value(webhook_id, connection),
        identity,
        content_hash,
        connection.ops.adapt_datetimefield_value(at),
    ]
    with statement_cursor(connection) as cursor:
        cursor.execute(_select_sql(connection.alias), values)
        return bool(cursor.fetchall())


@functools.cache
def _select_sql(alias: str) -> str:
    table = connections[alias].ops.quote_name(RemovedDelivery._meta.db_table)
    # Only our own table's name is interpolated.
    return (
        f"SELECT 1 FROM {table} WHERE webhook_id = %s AND identity IN (%s, %s) "  # noqa: S608
        "AND (expires_at IS NULL OR expires_at > %s)"
    )


_WEBHOOK_ID: Final = RemovedDelivery._meta.get_field("webhook_id")
