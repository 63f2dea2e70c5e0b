"""In the request: the answer is sent after the receivers have run, and is 200 whatever they do."""

from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.signals import delivery_received
from tests.conftest import Sender, envelope
from tests.dispatch.scene import (
    Configure,
    Connect,
    backend_id,
    elsewhere,
    kill_connection,
    make_due,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _inline(configure: Configure) -> None:
    configure(DISPATCH="inline")


def test_receivers_have_run_before_the_answer_is_sent(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: write("mine"))

    assert sender.post(envelope()).status_code == 200

    assert written("mine") == 1
    assert Delivery.objects.get().status == "processed"
    assert Run.objects.get().status == "succeeded"


def test_the_delivery_is_committed_before_any_receiver_runs(sender: Sender, connect: Connect) -> None:
    seen: list[int] = []
    connect(signals.ticket_created, lambda **kwargs: seen.append(elsewhere(Delivery.objects.count)))

    sender.post(envelope())

    assert seen == [1]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(1)], ids=repr)
def test_a_receiver_that_fails_does_not_change_the_answer(
    sender: Sender, connect: Connect, error: BaseException
) -> None:
    def fails(**kwargs: Any) -> None:
        write("mine")
        raise error

    connect(signals.ticket_created, fails)

    response = sender.post(envelope())

    assert (response.status_code, response.json()) == (200, {"status": "stored"})
    assert Delivery.objects.get().status == "failed"
    assert written("mine") == 0


def test_later_tries_are_for_the_worker(sender: Sender, connect: Connect) -> None:
    def fails_once(*, run: Run, **kwargs: Any) -> None:
        if run.tries == 1:
            raise ValueError("broken")
        write("mine")

    connect(signals.ticket_created, fails_once)
    sender.post(envelope())
    sender.post(envelope(attempt=2))
    assert Run.objects.get().tries == 1

    make_due()
    call_command("nateq_worker", "--once", verbosity=0)

    assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)
    assert written("mine") == 1


@pytest.mark.services
def test_a_database_that_goes_away_after_the_store_does_not_change_the_answer(
    sender: Sender, connect: Connect, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection that could be lost")
    configure(RUN_LEASE=timedelta(seconds=60))

    def loses(**kwargs: Any) -> None:
        elsewhere(partial(kill_connection, backend_id()))

    connect(signals.ticket_created, lambda **kwargs: write("mine"))
    delivery_received.connect(loses)
    try:
        response = sender.post(envelope())
    finally:
        delivery_received.disconnect(loses)
    connection.close()

    assert (response.status_code, response.json()) == (200, {"status": "stored"})
    assert "is stored, but its receivers could not be run now" in caplog.text
    delivery = Delivery.objects.get()
    assert (delivery.status, written("mine")) == ("received", 0)
    call_command("nateq_worker", "--once", verbosity=0)
    assert written("mine") == 0  # the request may still be at it
    Delivery.objects.update(dispatch_at=timezone.now())
    call_command("nateq_worker", "--once", verbosity=0)
    assert written("mine") == 1
    assert Delivery.objects.get().status == "processed"
