"""A retry that comes under a new delivery id: noticed, shown on both, and made one by a setting."""

import logging
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks.inbox import reissued
from nateq_webhooks.models import Delivery, Reissue
from nateq_webhooks.models.delivery import with_delivery_id
from tests.conftest import SECRET, Sender, envelope

pytestmark = pytest.mark.django_db


def delivery(delivery_id: str) -> Delivery:
    return Delivery.objects.get(delivery_id=delivery_id)


def test_a_retry_under_a_new_id_is_shown_on_both(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    sender.post(envelope(delivery_id="a"))
    with caplog.at_level(logging.WARNING, "nateq_webhooks"):
        sender.post(envelope(delivery_id="b", attempt=2))

    first, second = delivery("a"), delivery("b")
    assert second.reissue.original == first
    assert [reissue.delivery for reissue in first.reissues.all()] == [second]
    (record,) = caplog.records
    assert f"Delivery {second.pk} is attempt 2 of delivery {first.pk} under another id" in record.message
    assert 'NATEQ_WEBHOOKS["IDENTITY"] = "content"' in record.message


def test_a_third_delivery_is_a_reissue_of_the_first(sender: Sender) -> None:
    for attempt, delivery_id in enumerate("abc", 1):
        sender.post(envelope(delivery_id=delivery_id, attempt=attempt))

    assert {reissue.delivery.delivery_id for reissue in delivery("a").reissues.all()} == {"b", "c"}


@pytest.mark.usefixtures("caches_stay_fresh")
def test_a_first_attempt_is_not_compared_and_costs_no_statement(sender: Sender) -> None:
    sender.post(envelope(delivery_id="warm"))
    with CaptureQueriesContext(connection) as first:
        sender.post(envelope(delivery_id="a"))
    sender.post(envelope(delivery_id="without a number", attempt=None))
    with CaptureQueriesContext(connection) as later:
        sender.post(envelope(delivery_id="b", attempt=2, data={"id": "other"}))

    assert not any(Reissue._meta.db_table in query["sql"] for query in first.captured_queries)
    assert len(later) == len(first) + 1
    assert len(first) <= 3, [query["sql"] for query in first.captured_queries]
    assert not Reissue.objects.exists()


def test_a_retry_under_the_same_id_is_not_a_reissue(sender: Sender) -> None:
    sender.post(envelope(delivery_id="a"))
    sender.post(envelope(delivery_id="a", attempt=2))

    assert (Delivery.objects.count(), Reissue.objects.count()) == (1, 0)


@pytest.mark.parametrize(
    "over",
    [
        {"event": "ticket.updated"},
        {"timestamp": "2026-06-30T12:00:01Z"},
        {"data": {"id": "tkt_1", "subject": "Other"}},
        {"data": {"id": "tkt_2", "subject": "Help"}},
        {"organization_id": "org_2"},
    ],
    ids=lambda over: next(iter(over)),
)
def test_a_delivery_of_other_content_is_not_a_reissue(sender: Sender, over: dict[str, Any]) -> None:
    sender.post(envelope(delivery_id="a"))
    sender.post(envelope(delivery_id="b", attempt=2) | over)

    assert not Reissue.objects.exists()


@pytest.mark.parametrize(
    "content",
    [{"data": {"subject": "no id"}}, {"data": [1]}, {"timestamp": None}, {"data": None, "timestamp": "?"}],
    ids=["no id", "a list", "no time", "neither"],
)
def test_content_without_an_id_or_a_time_is_compared_too(sender: Sender, content: dict[str, Any]) -> None:
    sender.post(envelope(delivery_id="a") | content)
    sender.post(envelope(delivery_id="b", attempt=2) | content)

    assert delivery("b").reissue.original == delivery("a")


def test_no_body_is_read(sender: Sender) -> None:
    for delivery_id in "abc":
        sender.post(envelope(delivery_id=delivery_id))
    with CaptureQueriesContext(connection) as queries:
        sender.post(envelope(delivery_id="d", attempt=2))

    assert delivery("d").reissue.original == delivery("a")
    assert not [one["sql"] for one in queries.captured_queries if "SELECT" in one["sql"] and "body" in one["sql"]]


def test_deliveries_stored_before_there_were_hashes_are_compared_too(sender: Sender) -> None:
    for delivery_id in "abcde":
        sender.post(envelope(delivery_id=delivery_id, data={"id": "tkt_1", "subject": delivery_id}))
    Delivery.objects.update(content_hash=None)

    sender.post(envelope(delivery_id="again", attempt=2, data={"id": "tkt_1", "subject": "b"}))

    assert delivery("again").reissue.original == delivery("b")
    assert delivery("b").content_hash == delivery("again").content_hash


def test_few_and_small_bodies_are_read_to_compare_them(sender: Sender) -> None:
    for number in range(6):
        text = "x" * (reissued.MAX_BODY_BYTES if number == 0 else 1)
        sender.post(envelope(delivery_id=str(number), data={"id": "tkt_1", "text": text, "number": number}))
    Delivery.objects.update(content_hash=None)

    sender.post(envelope(delivery_id="again", attempt=2))

    hashed = set(Delivery.objects.exclude(content_hash=None).values_list("delivery_id", flat=True))
    assert hashed == {"again", "1", "2"}
    assert not Reissue.objects.exists()


def test_the_same_content_at_another_webhook_is_not_a_reissue(sender: Sender) -> None:
    other = Sender(type(sender.webhook).objects.create(name="other", secret=SECRET))
    sender.post(envelope(delivery_id="a"))
    other.post(envelope(delivery_id="b", attempt=2))

    assert not Reissue.objects.exists()


def test_an_error_of_the_comparison_is_only_logged(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(reissued, "_original_of", Mock(side_effect=OperationalError("gone")))
    sender.post(envelope(delivery_id="a"))

    assert sender.post(envelope(delivery_id="b", attempt=2)).status_code == 200
    assert "could not be compared with earlier ones under other ids: OperationalError" in caplog.text


class TestContentAsIdentity:
    @pytest.fixture(autouse=True)
    def _by_content(self, settings: Any) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "IDENTITY": "content"}

    def test_makes_them_one_delivery(self, sender: Sender) -> None:
        sender.post(envelope(delivery_id="a"))
        response = sender.post(envelope(delivery_id="b", attempt=2))

        assert response.json() == {"status": "already stored"}
        assert list(Delivery.objects.values_list("delivery_id", "attempts_seen")) == [("a", 2)]
        assert not Reissue.objects.exists()

    def test_other_content_under_the_same_id_is_another_delivery(self, sender: Sender) -> None:
        sender.post(envelope(delivery_id="a"))
        sender.post(envelope("ticket.updated", delivery_id="a"))

        assert Delivery.objects.count() == 2

    def test_a_delivery_is_still_found_by_its_id(self, sender: Sender) -> None:
        sender.post(envelope(delivery_id="a"))

        assert list(with_delivery_id(Delivery.objects.all(), " a ")) == [delivery("a")]
