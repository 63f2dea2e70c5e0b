"""Three receivers; a tenth of their runs raise, half of those before the write and half after it."""

import os
import random
import threading
from typing import Any

from nateq_webhooks import signals
from tests.faults.accidents import maybe_fail
from tests.faults.shop.models import Effect

PAUSE = threading.Event()


def connect() -> None:
    """Connect them; `FAULTS_BROKEN=double` leaves out the transaction, for the program's own proof."""
    atomic = os.environ.get("FAULTS_BROKEN") != "double"
    signals.ticket_created.connect(stock, atomic=atomic)
    signals.ticket_created.connect(ledger, atomic=atomic)
    signals.event_received.connect(journal, atomic=atomic)


def stock(**kwargs: Any) -> None:
    _work("stock", **kwargs)


async def ledger(**kwargs: Any) -> None:
    maybe_fail("ledger, before")
    await Effect.objects.acreate(delivery_id=kwargs["event"].delivery_id, receiver="ledger")
    maybe_fail("ledger, after")


def journal(**kwargs: Any) -> None:
    _work("journal", **kwargs)


def _work(name: str, *, event: Any, **_kwargs: Any) -> None:
    maybe_fail(f"{name}, before")
    Effect.objects.create(delivery_id=event.delivery_id, receiver=name)
    PAUSE.wait(random.random() / 100)  # a moment in which the process may be killed with the row written
    maybe_fail(f"{name}, after")
