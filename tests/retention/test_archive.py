"""The SQL of docs/how-to/partitioning.md works, and the table of the deliveries can't be partitioned, as it says."""

import re
from pathlib import Path

import pytest
from django.db import DatabaseError, connection, transaction

from nateq_webhooks import retention
from nateq_webhooks.models import Delivery, Webhook
from tests.builders import ago, store_deliveries, store_run
from tests.retention.conftest import Configure

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "partitioning.md"


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("partitions of PostgreSQL")


def execute(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


def count(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        return int(cursor.fetchone()[0])


def test_what_is_pruned_is_in_the_archive_once(webhook: Webhook, configure: Configure) -> None:
    tables, months, copy, drop = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    configure(RETENTION={"delivery": 90})
    try:
        execute(tables)
        execute(months)
        for days in (120, 100, 95):
            (delivery,) = store_deliveries(webhook, received_at=ago(days=days))
            store_run(delivery, created_at=ago(days=days))
        store_deliveries(webhook, received_at=ago(days=1))
        for _ in range(2):
            execute(copy)
        assert (count("nateq_archive"), count("nateq_archive_run")) == (3, 3)

        assert retention.prune().deliveries == 3
        execute(copy)

        assert (count("nateq_archive"), count("nateq_archive_run"), Delivery.objects.count()) == (3, 3, 1)
        execute(drop)
    finally:
        execute("DROP TABLE IF EXISTS nateq_archive, nateq_archive_run")


@pytest.mark.parametrize("key", ["received_at", "id"])
def test_the_table_of_the_deliveries_can_not_be_partitioned(key: str) -> None:
    with transaction.atomic():
        execute(f"CREATE TABLE parts (LIKE nateq_webhooks_delivery) PARTITION BY RANGE ({key})")
        with pytest.raises(DatabaseError, match="must include all partitioning columns"), transaction.atomic():
            execute("ALTER TABLE parts ADD UNIQUE (webhook_id, identity)")
        transaction.set_rollback(True)
