"""The optional index over payloads: a GIN index on PostgreSQL, which lifts the limit of the search by a JSON path.

It is not in the migrations, because each insert pays for it: `manage.py nateq_payload_index` (docs/how-to/lists.md).
"""

from typing import Final

from django.db import connections

from nateq_webhooks.models.delivery import Delivery

NAME: Final = "nateq_delivery_payload"


def is_possible(alias: str) -> bool:
    """Return whether the database has such an index at all: PostgreSQL only."""
    return connections[alias].vendor == "postgresql"


def create_sql(alias: str) -> str:
    """Return the statement that builds the index while deliveries keep coming."""
    quote = connections[alias].ops.quote_name
    table = quote(Delivery._meta.db_table)
    return f"CREATE INDEX CONCURRENTLY {quote(NAME)} ON {table} USING gin ({quote('payload')} jsonb_path_ops)"


def drop_sql(alias: str) -> str:
    """Return the statement that drops the index, whole or half-built."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {connections[alias].ops.quote_name(NAME)}"


def is_there(alias: str) -> bool | None:
    """Return whether the index can be used; None when it is there but was never finished."""
    if not is_possible(alias):
        return False
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s) AND indrelid = %s::regclass",
            [NAME, Delivery._meta.db_table],
        )
        found = cursor.fetchone()
    if found is None:
        return False
    return True if found[0] else None
