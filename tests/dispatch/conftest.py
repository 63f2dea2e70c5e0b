"""Deliveries that are stored and wait to be run."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery
from tests.conftest import Connect, Sender, envelope
from tests.dispatch.scene import Announced, Configure, Deliver, RunReceiver


@pytest.fixture
def configure(settings: Settings) -> Configure:
    """Set settings of `NATEQ_WEBHOOKS`, by their names."""

    def change(**values: Any) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, **values}

    return change


@pytest.fixture(autouse=True)
def _nobody_runs_what_is_stored(configure: Configure) -> None:
    configure(DISPATCH="worker")


@pytest.fixture
def deliver(sender: Sender) -> Deliver:
    """Have a delivery stored by the receiver view; its receivers are run by the test."""
    numbers = itertools.count(1)

    def one(event: str = "ticket.created", **over: Any) -> Delivery:
        delivery_id = f"dlv_{next(numbers)}"
        response = sender.post(envelope(event, delivery_id=delivery_id, **over))
        assert response.status_code == 200
        return Delivery.objects.get(delivery_id=delivery_id)

    return one


@pytest.fixture
def announced() -> Iterator[Announced]:
    """Which of the signals delivery_processed and delivery_failed were sent, and for which delivery."""
    sent: Announced = []

    def processed(*, delivery: Delivery, **kwargs: Any) -> None:
        assert delivery.status == "processed"
        sent.append(("processed", delivery.pk))

    def failed(*, delivery: Delivery, **kwargs: Any) -> None:
        assert delivery.status == "dead"
        sent.append(("failed", delivery.pk))

    signals.delivery_processed.connect(processed)
    signals.delivery_failed.connect(failed)
    yield sent
    signals.delivery_processed.disconnect(processed)
    signals.delivery_failed.disconnect(failed)


@pytest.fixture
def run_receiver(deliver: Deliver, connect: Connect) -> RunReceiver:
    """Connect a receiver, have deliveries stored for it and run what is due once."""

    def run(function: Callable[..., Any], name: str = "", *, deliveries: int = 1, atomic: bool = True) -> Delivery:
        connect(signals.ticket_created, function, name, atomic=atomic)
        stored = [deliver() for _ in range(deliveries)]
        api.run_due()
        return stored[-1]

    return run
