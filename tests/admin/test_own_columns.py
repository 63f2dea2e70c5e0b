"""Columns of a project's own that use what the lists leave out: a statement for each column, not for each row."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from nateq_webhooks.admin.changelists.peers import fetch_peers
from nateq_webhooks.models import Delivery, Run, Webhook
from tests.builders import store_deliveries, store_run

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.admin.own_admins"), pytest.mark.pages]


def stored(webhook: Webhook, count: int) -> None:
    for number in range(count):
        one = store_deliveries(
            webhook, payload={"data": {"subject": f"s{number}"}}, headers={"User-Agent": f"u{number}"}
        )[0]
        store_run(one, error=f"e{number}")


@pytest.mark.parametrize("page", ["delivery", "run"])
def test_each_column_costs_one_statement_however_many_rows(boss: Client, webhook: Webhook, page: str) -> None:
    counted = []
    for count in (2, 20):
        stored(webhook, count)
        with CaptureQueriesContext(connection) as captured:
            shown = boss.get(f"/wide/nateq_webhooks/{page}/").content.decode()
        counted.append(len(captured))
        reading = [entry["sql"] for entry in captured.captured_queries if "payload" in entry["sql"]]
        assert shown.count("by payload") >= count
        assert len(reading) == 1

    assert counted[0] == counted[1]


def test_each_row_shows_its_own(boss: Client, webhook: Webhook) -> None:
    stored(webhook, 3)

    shown = boss.get("/wide/nateq_webhooks/delivery/").content.decode()

    assert all(f"s{number} by payload" in shown and f"u{number} by headers" in shown for number in range(3))


def test_a_deferred_column_of_a_deleted_row_raises_as_in_django(webhook: Webhook) -> None:
    store_deliveries(webhook, 2)
    rows = list(Delivery.objects.defer("payload", "body"))
    fetch_peers(rows)
    Delivery.objects.filter(pk=rows[0].pk).delete()

    assert rows[1].payload is None
    with pytest.raises(Delivery.DoesNotExist):
        rows[0].body  # noqa: B018


def test_a_row_can_be_refreshed_from_the_database(webhook: Webhook) -> None:
    one = store_deliveries(webhook)[0]
    row = Delivery.objects.defer("payload").get()
    fetch_peers([row])
    Delivery.objects.update(status="dead", payload=[1])

    row.refresh_from_db()

    assert (row.status, row.payload, row.pk) == ("dead", [1], one.pk)
    assert Run.objects.count() == 0
