"""Deliveries that wait for the processes of a site, whose receivers this process knows by name."""

from collections.abc import Callable

import pytest

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery
from tests.dispatch.conftest import configure, deliver
from tests.dispatch.scene import Configure

__all__ = ["configure", "deliver"]

from tests.conftest import Connect


@pytest.fixture(autouse=True)
def _nobody_runs_what_is_stored(configure: Configure) -> None:
    configure(DISPATCH="worker")


@pytest.fixture
def at_the_site(connect: Connect) -> None:
    """Store deliveries as the site would: with its receivers, which run elsewhere."""
    for signal, names in {
        signals.ticket_created: ["write_once"],
        signals.ticket_updated: ["wait", "come_after"],
        signals.ticket_closed: ["meet"],
        signals.lead_created: ["take_first", "take_second", "take_third"],
        signals.user_created: ["raise_it", "write_pid"],
        signals.broadcast_sent: ["die", *(f"innocent {number}" for number in range(9))],
    }.items():
        for name in names:
            connect(
                signal,
                lambda **kwargs: pytest.fail("run in the test's process"),
                f"tests.runners.site.receivers.{name}",
            )


@pytest.fixture
def finalized() -> Callable[[], bool]:
    """Say whether every delivery has been processed."""
    return lambda: not Delivery.objects.exclude(status=Delivery.Status.PROCESSED).exists()
