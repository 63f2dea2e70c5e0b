"""The SQL of docs/how-to/partitioning.md works, and the table of the deliveries can't be partitioned, as it says."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
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
    return number(f"SELECT count(*) FROM {table}")


def number(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return int(cursor.fetchone()[0])


def statements() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.fixture
def _drop_the_archive() -> Iterator[None]:
    yield
    execute("DROP TABLE IF EXISTS nateq_archive, nateq_archive_run, nateq_archive_rest")


@pytest.mark.usefixtures("_drop_the_archive")
def test_what_is_pruned_is_in_the_archive_once(webhook: Webhook, configure: Configure) -> None:
    tables, months, copy, not_copied, drop, _move = statements()
    configure(RETENTION={"delivery": 90})
    execute(tables)
    execute(months)
    for days in (120, 100, 95):
        (delivery,) = store_deliveries(webhook, received_at=ago(days=days))
        store_run(delivery, created_at=ago(days=days))
    store_deliveries(webhook, received_at=ago(days=1))
    assert number(not_copied) == 3
    for _ in range(2):
        execute(copy)
    assert (count("nateq_archive"), count("nateq_archive_run"), number(not_copied)) == (3, 3, 0)

    assert retention.prune().deliveries == 3
    execute(copy)

    assert (count("nateq_archive"), count("nateq_archive_run"), Delivery.objects.count()) == (3, 3, 1)
    execute(drop)


@pytest.mark.usefixtures("_drop_the_archive")
def test_the_last_deliveries_of_a_site_that_receives_nothing_more_are_copied(webhook: Webhook) -> None:
    tables, months, copy, *_others = statements()
    execute(tables)
    execute(months)
    store_deliveries(webhook, received_at=ago(days=85))

    execute(copy)

    assert count("nateq_archive") == 1


@pytest.mark.usefixtures("_drop_the_archive")
def test_the_rows_of_a_forgotten_month_are_moved(webhook: Webhook) -> None:
    tables, months, copy, *_others, move = statements()
    execute(tables)
    execute(months)
    for day in (2, 20):
        store_deliveries(webhook, received_at=datetime(2026, 9, day, tzinfo=UTC))
    store_deliveries(webhook, received_at=datetime(2026, 10, 1, tzinfo=UTC))
    execute(copy.replace("80 days", "-100 years"))
    assert count("nateq_archive_rest") == 3

    execute(move)

    assert (count("nateq_archive"), count("nateq_archive_rest"), count("nateq_archive_2026_09")) == (3, 1, 2)


@pytest.mark.parametrize("key", ["received_at", "id"])
def test_the_table_of_the_deliveries_can_not_be_partitioned(key: str) -> None:
    with transaction.atomic():
        execute(f"CREATE TABLE parts (LIKE nateq_webhooks_delivery) PARTITION BY RANGE ({key})")
        with pytest.raises(DatabaseError, match="must include all partitioning columns"), transaction.atomic():
            execute("ALTER TABLE parts ADD UNIQUE (webhook_id, identity)")
        transaction.set_rollback(True)
