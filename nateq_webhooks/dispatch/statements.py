"""The two statements that every run costs, written out: built by the ORM each time they take longer than the database.

Standard SQL that every database speaks; the values are converted by the fields, as the ORM would.
"""

import functools
from collections.abc import Collection
from datetime import datetime
from typing import Final

from django.db import connections

from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE

_DURATION: Final = Run._meta.get_field("duration")
_LEASE: Final = Run._meta.get_field("lease")


def mark_succeeded(alias: str, run: Run, finished_at: datetime, started_at: datetime) -> bool:
    """Mark a run as succeeded if it is still held under its lease; say whether it was."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        cursor.execute(
            _mark_succeeded_sql(alias),
            [
                connection.ops.adapt_datetimefield_value(finished_at),
                _DURATION.get_db_prep_value(finished_at - started_at, connection),
                run.pk,
                _LEASE.get_db_prep_value(run.lease, connection),
            ],
        )
        return bool(cursor.rowcount == 1)


def mark_processed(alias: str, delivery_pks: Collection[int]) -> int:
    """Mark those of the deliveries as processed whose runs are all well; return how many were not marked before."""
    if not delivery_pks:
        return 0
    with connections[alias].cursor() as cursor:
        cursor.execute(_mark_processed_sql(alias, len(delivery_pks)), list(delivery_pks))
        changed: int = cursor.rowcount
        return changed


@functools.cache
def _mark_succeeded_sql(alias: str) -> str:
    table = connections[alias].ops.quote_name(Run._meta.db_table)
    status = Run.Status
    return (
        f"UPDATE {table} SET status = '{status.SUCCEEDED}', finished_at = %s, duration = %s, lease = NULL, "  # noqa: S608
        f"lane = {OPEN_LANE}, error = '', traceback = '' WHERE id = %s AND lease = %s AND status = '{status.RUNNING}'"
    )


@functools.cache
def _mark_processed_sql(alias: str, count: int) -> str:
    quote = connections[alias].ops.quote_name
    deliveries, runs = quote(Delivery._meta.db_table), quote(Run._meta.db_table)
    processed = Delivery.Status.PROCESSED
    later = (
        f"SELECT 1 FROM {runs} later WHERE later.delivery_id = earlier.delivery_id "  # noqa: S608
        "AND later.receiver = earlier.receiver AND later.round > earlier.round"
    )
    return (
        f"UPDATE {deliveries} SET status = '{processed}' WHERE id IN ({', '.join(['%s'] * count)}) "  # noqa: S608
        f"AND status <> '{processed}' AND NOT EXISTS (SELECT 1 FROM {runs} earlier "
        f"WHERE earlier.delivery_id = {deliveries}.id "
        f"AND earlier.status NOT IN ('{Run.Status.SUCCEEDED}', '{Run.Status.DROPPED}') AND NOT EXISTS ({later}))"
    )
