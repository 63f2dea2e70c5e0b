"""Deliveries that are stored and wait to be run."""

import itertools
from typing import Any

import pytest
from pytest_django import Settings

from nateq_webhooks.models import Delivery
from tests.conftest import Sender, envelope
from tests.dispatch.scene import Configure, Deliver


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
