"""SQL to review about the space of the tables: what pruning frees, and how PostgreSQL's autovacuum keeps up with it.

A deleted row's space is used again by new rows once it has been vacuumed (PostgreSQL) or purged (MariaDB, MySQL). The
file becomes smaller only if the table is rewritten.
"""

from collections.abc import Iterator
from typing import Any, Final

from django.apps import apps
from django.db import connections

from nateq_webhooks.models import Attempt, Delivery, Run

_VACUUMED: Final = (Delivery, Run, Attempt)
"""The tables that lose most rows."""

_SETTINGS: Final = (
    "autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, "
    "autovacuum_vacuum_cost_delay = 2, autovacuum_vacuum_cost_limit = 2000, autovacuum_analyze_scale_factor = 0.02"
)
"""Vacuum after 1 % of the rows changed instead of 20 %: at ten million rows after 100,000 instead of 2,000,000."""


def storage_sql(alias: str) -> str:
    """Return the statements for a database, with comments that say what each does. Executes none of them."""
    connection = connections[alias]
    return "\n".join(_BY_VENDOR.get(connection.vendor, _other)(connection))


def _postgresql(connection: Any) -> Iterator[str]:
    quoted = [connection.ops.quote_name(model._meta.db_table) for model in _VACUUMED]
    yield "-- The size of each table and its indexes, and its dead rows."
    # Only our own table names are interpolated.
    yield (
        "SELECT relname, pg_size_pretty(pg_total_relation_size(relid)) AS size, n_live_tup, n_dead_tup, "  # noqa: S608
        f"last_autovacuum FROM pg_stat_user_tables WHERE relname IN ({_literals()}) "
        "ORDER BY pg_total_relation_size(relid) DESC;"
    )
    yield "-- Vacuum more often, so that new rows use the space of removed ones. Takes no lock that blocks receiving."
    for table in quoted:
        yield f"ALTER TABLE {table} SET ({_SETTINGS});"
    yield "-- Once after a large removal: makes the space usable at once. Blocks neither reading nor writing."
    for table in quoted:
        yield f"VACUUM (ANALYZE) {table};"
    yield "-- Gives the space back to the file system. Blocks receiving until it ends: for a maintenance window."
    for table in quoted:
        yield f"-- VACUUM (FULL, ANALYZE) {table};"


def _mysql(connection: Any) -> Iterator[str]:
    yield "-- The size of each table with its indexes, and the space that new rows will use."
    # Only our own table names are interpolated.
    yield (
        "SELECT table_name, ROUND((data_length + index_length) / 1048576) AS mib, "  # noqa: S608
        "ROUND(data_free / 1048576) AS free_mib, table_rows FROM information_schema.tables "
        f"WHERE table_schema = DATABASE() AND table_name IN ({_literals()});"
    )
    yield "-- Rows that still have to be purged; a transaction that stays open holds this up."
    # Not SHOW ENGINE INNODB STATUS: it quotes the statements of the latest deadlock, with what customers wrote.
    yield "SELECT count FROM information_schema.innodb_metrics WHERE name = 'trx_rseg_history_len';"
    yield "-- Rewrites a table and gives the space back. Receiving goes on, but the table is copied."
    for model in _VACUUMED:
        yield f"-- OPTIMIZE TABLE {connection.ops.quote_name(model._meta.db_table)};"


def _sqlite(_connection: Any) -> Iterator[str]:
    yield "-- The pages of the file, and those that new rows will use."
    yield "PRAGMA page_count;"
    yield "PRAGMA freelist_count;"
    yield "-- Rewrites the file and gives the space back. Blocks receiving, and needs as much space as the file."
    yield "-- VACUUM;"


def _other(connection: Any) -> Iterator[str]:
    yield f"-- Nothing is known about {connection.vendor}."


_BY_VENDOR: Final = {"postgresql": _postgresql, "mysql": _mysql, "sqlite": _sqlite}


def _literals() -> str:
    models = apps.get_app_config("nateq_webhooks").get_models()
    tables = sorted({model._meta.db_table for model in models})  # a proxy has the table of another one
    return ", ".join(f"'{table}'" for table in tables)
