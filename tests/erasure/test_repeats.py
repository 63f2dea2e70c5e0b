"""What was erased does not come back: not by a repeat, not under a new delivery id, not as another content."""

import json
from typing import Any

import pytest

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, OtherContent, Run, Webhook
from tests.conftest import Connect, Sender, envelope
from tests.erasure.people import OMAR, SARA, traces

WHERE = {"data.requester.id": "cus_sara9"}

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _removals_are_known(webhook: Webhook) -> None:
    Webhook.objects.update(has_removed=True)  # else each test waits until all processes know it


MODES = pytest.mark.parametrize("blank", [False, True])


@pytest.fixture
def ran(connect: Connect) -> list[str]:
    """The ids of the deliveries for which a receiver ran."""
    ids: list[str] = []

    def receiver(*, event: Any, **kwargs: Any) -> None:
        ids.append(event.delivery_id)

    connect(signals.ticket_created, receiver, "shop.receive")
    return ids


def body(delivery_id: str = "dlv_1", attempt: int = 1, **data: Any) -> bytes:
    return json.dumps(
        envelope(delivery_id=delivery_id, attempt=attempt, data={"id": "tkt_1", "requester": SARA} | data),
        ensure_ascii=False,
    ).encode()


@MODES
def test_a_repeat_stores_and_runs_nothing(sender: Sender, ran: list[str], *, blank: bool) -> None:
    sender.post(body())
    dispatch.erase(WHERE, blank=blank)

    response = sender.post(body(attempt=2))

    assert (response.status_code, response.json()) == (200, {"status": "already stored"})
    assert ran == ["dlv_1"]
    assert traces() == []
    assert Delivery.objects.count() == int(blank)


@MODES
def test_the_same_content_under_a_new_id_stores_and_runs_nothing(
    sender: Sender, ran: list[str], *, blank: bool
) -> None:
    sender.post(body())
    dispatch.erase(WHERE, blank=blank)

    response = sender.post(body("dlv_2", attempt=2))

    assert (response.status_code, response.json()) == (200, {"status": "already stored"})
    assert ran == ["dlv_1"]
    assert traces() == []


@MODES
def test_another_content_under_the_id_is_not_kept(sender: Sender, ran: list[str], *, blank: bool) -> None:
    sender.post(body())
    dispatch.erase(WHERE, blank=blank)

    assert sender.post(body(attempt=2, note="more")).status_code == 200

    assert ran == ["dlv_1"]
    assert traces() == []
    assert OtherContent.objects.filter(body=b"").count() == int(blank)


@MODES
def test_a_content_that_came_under_anothers_id_does_not_come_back_under_its_own(
    sender: Sender, ran: list[str], *, blank: bool
) -> None:
    sender.post(body(requester=OMAR))
    sender.post(body())
    dispatch.erase(WHERE, blank=blank)

    sender.post(body("dlv_2"))

    assert ran == ["dlv_1"]
    assert traces() == []
    assert Delivery.objects.get().content_change is None


@MODES
def test_a_new_delivery_about_the_person_is_a_new_delivery(sender: Sender, ran: list[str], *, blank: bool) -> None:
    sender.post(body())
    dispatch.erase(WHERE, blank=blank)

    sender.post(body("dlv_2", subject="Another question"))

    assert ran == ["dlv_1", "dlv_2"]


def test_a_running_run_of_an_erased_delivery_leaves_nothing(sender: Sender, connect: Connect) -> None:
    """The receiver erases its own delivery while it runs: its lease is gone, and what it raises is not recorded."""

    def receiver(**kwargs: Any) -> None:
        dispatch.erase(WHERE, blank=True)
        raise ValueError(f"no mail to {SARA['email']}")

    connect(signals.ticket_created, receiver, "shop.receive", atomic=False)
    sender.post(body())

    run = Run.objects.get()
    assert (run.status, run.error) == ("dropped", "Dropped: the content of the delivery was erased.")
    assert traces() == []


def test_a_blanked_delivery_is_not_run_again(sender: Sender, ran: list[str]) -> None:
    sender.post(body())
    dispatch.erase(WHERE, blank=True)
    delivery = Delivery.objects.get()

    with pytest.raises(ValueError, match=f"Delivery {delivery.pk} was erased on .*; it can't be run again"):
        dispatch.replay(delivery)
    assert ran == ["dlv_1"]
