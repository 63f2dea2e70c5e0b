"""Runs of deliveries that are erased: none starts any more, and those that wait behind them do."""

import json
import threading
from typing import Any

import pytest
from django.db import connection

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import OrderLock
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.runners.worker import drain
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.conftest import configure
from tests.dispatch.scene import Configure
from tests.erasure.people import OMAR, SARA, traces

__all__ = ["configure"]

WHERE = {"data.requester.id": "cus_sara9"}

pytestmark = pytest.mark.django_db(transaction=True)

MODES = pytest.mark.parametrize("blank", [False, True])


@pytest.fixture(autouse=True)
def _settings(webhook: Webhook, configure: Configure) -> None:
    Webhook.objects.update(has_removed=True)
    configure(DISPATCH="worker")


def data(person: dict[str, str], **more: str) -> dict[str, Any]:
    return {"data": {"id": "tkt_1", "requester": person, "queue": "one"} | more}


@MODES
def test_no_receiver_is_called_for_an_erased_delivery(sender: Sender, connect: Connect, *, blank: bool) -> None:
    ran: list[str] = []
    connect(signals.ticket_created, lambda *, event, **kwargs: ran.append(event.delivery_id), "shop.receive")
    sender.post(envelope(delivery_id="dlv_1", **data(SARA)))
    sender.post(envelope(delivery_id="dlv_2", **data(OMAR)))

    dispatch.erase(WHERE, blank=blank)
    drain()

    assert ran == ["dlv_2"]
    assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}


@MODES
def test_the_next_delivery_of_a_queue_runs_after_an_erased_one(
    sender: Sender, connect: Connect, configure: Configure, *, blank: bool
) -> None:
    configure(ORDERED_BY="data.queue")
    ran: list[str] = []

    def receiver(*, event: Any, **kwargs: Any) -> None:
        ran.append(event.delivery_id)
        if event.data["requester"] == SARA:
            raise ValueError

    connect(signals.ticket_created, receiver, "shop.receive")
    sender.post(envelope(delivery_id="dlv_1", **data(SARA)))
    sender.post(envelope(delivery_id="dlv_2", **data(OMAR)))
    drain()
    assert ran == ["dlv_1"]  # the second one waits for the first, which failed

    dispatch.erase(WHERE, blank=blank)
    drain()

    assert ran == ["dlv_1", "dlv_2"]
    assert not OrderLock.objects.exists()


@MODES
@pytest.mark.parametrize("first", [data(SARA), data(OMAR, subject=f"for {SARA['email']}")], ids=["own", "quoting"])
def test_a_run_that_was_given_up_stops_no_queue_once_it_can_not_be_replayed(
    sender: Sender, connect: Connect, configure: Configure, first: dict[str, Any], *, blank: bool
) -> None:
    configure(ORDERED_BY="data.queue", ORDER_ON_DEAD="block", MAX_TRIES=1)
    ran: list[str] = []

    def receiver(*, event: Any, **kwargs: Any) -> None:
        ran.append(event.delivery_id)
        if event.delivery_id == "dlv_1":
            raise ValueError

    connect(signals.ticket_created, receiver, "shop.receive")
    sender.post(envelope(delivery_id="dlv_0", event="user.created", **data(SARA)))
    sender.post(envelope(delivery_id="dlv_1", **first))
    sender.post(envelope(delivery_id="dlv_2", **data(OMAR)))
    drain()
    assert ran == ["dlv_1"]

    dispatch.erase(WHERE, blank=blank)
    drain()

    assert ran == ["dlv_1", "dlv_2"]
    assert not OrderLock.objects.exists()


@MODES
def test_what_a_running_receiver_does_or_raises_leaves_nothing(
    sender: Sender, connect: Connect, *, blank: bool
) -> None:
    """The erasure comes from another connection while the receiver works."""
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer at a time")

    def receiver(*, delivery: Delivery, event: Any, **kwargs: Any) -> None:
        Webhook.objects.filter(pk=delivery.webhook_id).update(nateq_id="its work")
        thread = threading.Thread(target=erase)
        thread.start()
        thread.join()
        raise ValueError(f"no mail to {event.data['requester']['email']}")

    def erase() -> None:
        try:
            dispatch.erase(WHERE, blank=blank)
        finally:
            connection.close()

    connect(signals.ticket_created, receiver, "shop.receive")
    sender.post(envelope(delivery_id="dlv_1", **data(SARA)))

    drain()

    assert traces() == []
    assert Webhook.objects.get().nateq_id == ""
    assert list(Run.objects.values_list("status", "error")) == (
        [("dropped", "Dropped: the content of the delivery was erased.")] if blank else []
    )


def test_a_short_value_and_a_one_word_name_go_from_the_persons_own_deliveries(sender: Sender) -> None:
    sender.post(envelope(delivery_id="dlv_1", **data({"id": "7", "name": "Sara"}, subject="Sara")))
    sender.post(envelope(delivery_id="dlv_2", **data({"id": "8", "name": "Sara"})))

    dispatch.erase({"data.requester.id": 7}, blank=True)

    first, second = Delivery.objects.order_by("pk")
    assert b"Sara" not in bytes(first.body)
    assert b"Sara" in bytes(second.body)


def test_a_short_organization_is_blanked_in_its_column(sender: Sender) -> None:
    sender.post(envelope(delivery_id="dlv_1", organization_id="o1"))

    dispatch.erase(organization="o1", blank=True)

    assert Delivery.objects.get().organization_id == "[erased]"
    assert dispatch.erase(organization="o1", blank=True).deliveries == 0


@MODES
def test_a_person_who_is_masked_in_what_is_stored_is_found_in_what_receivers_get(
    sender: Sender, connect: Connect, configure: Configure, *, blank: bool
) -> None:
    configure(REDACT=[{"path": "data.requester.id", "store": True}, {"path": "data.requester.email", "store": True}])
    connect(signals.ticket_created, lambda **kwargs: None, "shop.receive")
    sender.post(envelope(delivery_id="dlv_1", **data(SARA)))
    sender.post(envelope(delivery_id="dlv_2", **data(OMAR)))
    assert UnredactedBody.objects.count() == 2

    report = dispatch.erase(WHERE, blank=blank)

    assert (report.deliveries, report.runs_dropped) == (1, 0)
    assert traces() == []
    assert UnredactedBody.objects.count() == 1
    other = Delivery.objects.get(delivery_id="dlv_2")
    assert other.content_change == "redaction"
    if blank:
        erased = Delivery.objects.get(delivery_id="dlv_1")
        assert set(json.loads(erased.body)["data"]["requester"].values()) == {"[erased]"}
