"""The deliveries of a selection: the same whichever way they are found, and found through the list's indexes."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks.database.keyset import date_ranges
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import count_of, ends_of_keys, keys_of
from nateq_webhooks.models import Delivery, Run, Webhook
from tests.builders import store_deliveries, store_run

pytestmark = pytest.mark.django_db

HOURS = 40


@pytest.fixture
def stored(webhook: Webhook) -> list[Delivery]:
    """A delivery an hour for `HOURS`, of two webhooks, two events and two statuses."""
    other, now = Webhook.objects.create(name="other"), timezone.now()
    for hour in range(HOURS):
        store_deliveries(
            other if hour % 3 else webhook,
            event="ticket.created" if hour % 4 else "message.sent",
            status="dead" if hour % 5 else "processed",
            received_at=now - timedelta(hours=HOURS - hour),
        )
    deliveries = list(Delivery.objects.order_by("pk"))
    for one in deliveries[:7]:
        store_run(one, status=Run.Status.DEAD)
    return deliveries


def since(stored: list[Delivery], place: int) -> Any:
    return stored[place].received_at


SELECTIONS: dict[str, Callable[[list[Delivery]], Selection]] = {
    "everything": lambda stored: Selection(),
    "an event": lambda stored: Selection(event="message.sent"),
    "an event that never came": lambda stored: Selection(event="lead.created"),
    "a webhook": lambda stored: Selection(webhook=str(stored[0].webhook_id)),
    "all columns": lambda stored: Selection(webhook=str(stored[1].webhook_id), event="ticket.created", status="dead"),
    "a period": lambda stored: Selection(since=since(stored, 5), until=since(stored, 21)),
    "a status since": lambda stored: Selection(status="processed", since=since(stored, 13)),
    "keys": lambda stored: Selection(deliveries=(stored[3].pk, stored[9].pk, 10**12)),
    "a receiver": lambda stored: Selection(receiver="shop.send", status="dead"),
}


@pytest.mark.parametrize("is_large", [False, True])
@pytest.mark.parametrize("which", SELECTIONS)
def test_keys_and_counts_are_those_of_the_selection(
    stored: list[Delivery], which: str, monkeypatch: pytest.MonkeyPatch, *, is_large: bool
) -> None:
    monkeypatch.setattr(date_ranges, "MAX_SMALL", 0 if is_large else date_ranges.MAX_SMALL)
    selection = SELECTIONS[which](stored)
    expected = list(selection.of(Delivery.objects.order_by("pk")).values_list("pk", flat=True))

    assert keys_of(selection, 100) == expected
    assert keys_of(selection, 3) == expected[:3]
    assert count_of(selection, 100) == len(expected)
    assert count_of(selection, 3) == min(3, len(expected))
    assert ends_of_keys(selection) == ((expected[0], expected[-1]) if expected else None)


def test_an_event_alone_is_found_through_the_index_that_begins_with_the_status(stored: list[Delivery]) -> None:
    with CaptureQueriesContext(connection) as captured:
        count_of(Selection(event="message.sent"), 100)

    counting = captured.captured_queries[-1]["sql"]
    explained = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # else a table of forty rows is read whole
        cursor.execute(explained + counting.replace("%", "%%"))
        plan = str(cursor.fetchall())
    assert "nateq_delivery_browse" in plan
