"""Whether a newer event about the same resource has been stored: a retry may come hours late with an old state."""

from typing import Any

import pytest
from django.db import connection

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Webhook
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = pytest.mark.django_db

OLD, NEW = "2026-06-30T12:00:00Z", "2026-06-30T12:00:00.000001Z"


def store(sender: Sender, delivery_id: str, event: str = "ticket.updated", **over: Any) -> Delivery:
    sender.post(envelope(event, delivery_id=delivery_id, **over))
    return Delivery.objects.get(delivery_id=delivery_id)


def test_a_newer_event_supersedes_an_older_one_whichever_came_first(sender: Sender) -> None:
    newer = store(sender, "new", timestamp=NEW)
    older = store(sender, "old", "ticket.created", timestamp=OLD, attempt=5)

    assert older.is_superseded()
    assert not newer.is_superseded()
    assert list(older.superseding()) == [newer]


def test_an_event_of_the_same_moment_supersedes_nothing(sender: Sender) -> None:
    first, second = store(sender, "one", timestamp=OLD), store(sender, "two", "ticket.closed", timestamp=OLD)

    assert (first.is_superseded(), second.is_superseded()) == (False, False)


@pytest.mark.parametrize(
    "over",
    [{"data": {"id": "tkt_2"}}, {"organization_id": "org_2"}, {"event": "user.created"}, {"data": {"id": "TKT_1"}}],
    ids=["another resource", "another organization", "another kind", "another case"],
)
def test_an_event_of_another_resource_does_not_supersede(sender: Sender, over: dict[str, Any]) -> None:
    older = store(sender, "old", timestamp=OLD)
    store(sender, "new", **({"timestamp": NEW} | over))

    assert not older.is_superseded()


def test_an_event_of_another_webhook_does_not_supersede(sender: Sender) -> None:
    older = store(sender, "old", timestamp=OLD)
    store(Sender(Webhook.objects.create(name="of another party", secret=SECRET)), "new", timestamp=NEW)

    assert not older.is_superseded()


@pytest.mark.parametrize("over", [{"data": {"subject": "no id"}}, {"timestamp": None}], ids=["no id", "no time"])
def test_without_a_resource_or_a_time_there_is_no_query(
    sender: Sender, over: dict[str, Any], django_assert_num_queries: Any
) -> None:
    older = store(sender, "old", **over)
    store(sender, "new", **({"timestamp": NEW} | over))

    with django_assert_num_queries(0):
        assert not older.is_superseded()


def test_it_is_one_query_through_the_index(sender: Sender, django_assert_num_queries: Any) -> None:
    older = store(sender, "old", timestamp=OLD)
    for number in range(30):
        store(sender, f"other{number}", data={"id": f"tkt_{number + 2}"})
    store(sender, "new", timestamp=NEW)
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # so small a table is read whole otherwise
            cursor.execute("ANALYZE nateq_webhooks_delivery")

    with django_assert_num_queries(1):
        assert older.is_superseded()
    assert "nateq_delivery_resource" in older.superseding().explain()


def test_a_receiver_can_ask_whether_an_event_is_superseded(sender: Sender, connect: Connect) -> None:
    answers: list[tuple[str, bool]] = []

    def receive(*, delivery: Delivery, **kwargs: Any) -> None:
        answers.append((delivery.delivery_id, delivery.is_superseded()))

    connect(signals.ticket_updated, receive)
    store(sender, "new", timestamp=NEW)
    store(sender, "old", timestamp=OLD)

    assert answers == [("new", False), ("old", True)]
