"""How many rows a table has, as far as the database knows without counting them."""

from typing import Any

from django.db import connections
from django.db.models import QuerySet


def estimated_rows(rows: QuerySet[Any]) -> int | None:
    """Return the number of rows from the database's statistics; None if it keeps none."""
    connection = connections[rows.db]
    if connection.vendor == "postgresql":
        sql = "SELECT reltuples FROM pg_class WHERE oid = %s::regclass"
    elif connection.vendor == "mysql":
        sql = "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
    else:
        return None
    with connection.cursor() as cursor:
        cursor.execute(sql, [rows.model._meta.db_table])
        found = cursor.fetchone()
    return round(found[0]) if found and found[0] is not None and found[0] >= 0 else None
