"""The database goes away while a delivery is being stored: asked for again, and stored once in the end."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from nateq_webhooks import inbox, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.errors import StoreError
from nateq_webhooks.inbox import configuration
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.proxy import Wire, through_a_wire

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.services]


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch, sender: Sender) -> Iterator[Wire]:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection to lose")
    with through_a_wire(monkeypatch.setitem) as wire:
        sender.post(envelope(delivery_id="warm"))
        yield wire


@pytest.fixture
def seen(connect: Connect) -> list[str]:
    """The ids of the deliveries that a receiver ran for."""
    ids: list[str] = []
    connect(signals.ticket_created, lambda event, **kwargs: ids.append(event.delivery_id))
    return ids


def quoted(table: str) -> bytes:
    return connection.ops.quote_name(table).encode()


def test_deliveries_are_answered_503_without_a_database_and_stored_once_afterwards(
    sender: Sender, wire: Wire, seen: list[str]
) -> None:
    wire.down()
    answers = [sender.post(envelope(attempt=number)) for number in (1, 2)]
    refused = sender.post(envelope(), secret="wrong")
    wire.up()
    answers += [sender.post(envelope(attempt=number)) for number in (3, 4)]

    assert [answer.status_code for answer in answers] == [503, 503, 200, 200]
    assert answers[0]["Retry-After"] == "30"
    assert answers[0].json() == {"error": "not stored, try again"}
    assert refused.status_code == 401
    assert seen == ["dlv_1"]
    assert Delivery.objects.get(delivery_id="dlv_1").attempts_seen == 2


def test_the_connection_is_opened_again_to_read_the_configuration(
    sender: Sender, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(configuration, "REFRESH_SECONDS", 0.0)
    wire.down()
    assert sender.post(envelope(), secret="wrong").status_code == 401
    wire.up()

    assert sender.post(envelope()).status_code == 200


@pytest.mark.parametrize("after_the_answer", [False, True], ids=["before the database has it", "with its answer"])
def test_a_connection_lost_in_the_store_is_503_and_the_retry_finds_or_stores_one_delivery(
    sender: Sender, wire: Wire, seen: list[str], after_the_answer: bool
) -> None:
    wire.cut_at(b"INSERT INTO " + quoted("nateq_webhooks_delivery"), after_the_answer=after_the_answer)

    first, second = sender.post(envelope()), sender.post(envelope(attempt=2))

    assert wire.cuts == 1
    assert first.status_code == 503
    # Elsewhere the runs are inserted by a second statement of the transaction, which the database has rolled back.
    is_committed = after_the_answer and connection.vendor == "postgresql"
    assert second.json() == {"status": "already stored" if is_committed else "stored"}
    # What was stored without an answer is held for a lease by the request that stored it; a worker takes it over.
    Delivery.objects.exclude(dispatch_at=None).update(dispatch_at=timezone.now())
    Run.objects.filter(status=Run.Status.RUNNING).update(next_try_at=timezone.now())
    api.run_due()
    assert seen == ["dlv_1"]
    assert Delivery.objects.get(delivery_id="dlv_1").status == Delivery.Status.PROCESSED


def test_the_next_delivery_has_a_connection_outside_of_requests_too(sender: Sender, wire: Wire) -> None:
    webhook = inbox.find(sender.webhook.pk)
    assert webhook is not None

    def verified(number: int) -> Any:
        body = b'{"event": "ticket.created", "metadata": {"delivery_id": %d}}' % number
        header = {webhook.signature_meta_key: sign(body, sender.webhook.secret)}
        return inbox.verify(webhook, inbox.IncomingRequest(body=body, meta=header, remote_addr=None))

    wire.down()
    with pytest.raises(StoreError):
        inbox.store(verified(1))
    wire.up()

    receipt = inbox.store(verified(1))
    assert isinstance(receipt, inbox.Receipt)
    assert receipt.is_new
