"""Receivers that write what they did, and wait where the test says so."""

import os
import threading
from pathlib import Path
from typing import Any

from django.dispatch import receiver

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.events import Event
from tests.conftest import wait_until
from tests.dispatch.scene import BOUND_SECONDS, write


@receiver(signals.ticket_created)
def write_once(*, delivery: Delivery, **kwargs: Any) -> None:
    """Write a row."""
    write(f"{delivery.delivery_id} write_once")


@receiver(signals.ticket_updated)
def wait(*, delivery: Delivery, event: Event, **kwargs: Any) -> None:
    """Write a row, say so, and wait until the test lets it end."""
    write(f"{delivery.delivery_id} wait")
    folder = Path(event.data["folder"])
    (folder / "began").touch()
    wait_until((folder / "go on").exists, seconds=BOUND_SECONDS)


@receiver(signals.ticket_updated)
def come_after(*, delivery: Delivery, **kwargs: Any) -> None:
    """Write a row."""
    write(f"{delivery.delivery_id} come_after")


@receiver(signals.ticket_closed, atomic=False)
def meet(*, event: Event, **kwargs: Any) -> None:
    """Wait until so many are in here at the same moment, each in a thread or a process of its own."""
    folder = Path(event.data["folder"])
    (folder / f"{os.getpid()}.{threading.get_ident()}").touch()
    wait_until(lambda: len(list(folder.iterdir())) >= event.data["together"], seconds=BOUND_SECONDS)


def _take(receiver: str, delivery: Delivery, seconds: float) -> None:
    """Take so many seconds, and write a row."""
    threading.Event().wait(seconds)
    write(f"{delivery.delivery_id} {receiver}")


@receiver(signals.lead_created, atomic=False)
def take_first(*, delivery: Delivery, event: Event, **kwargs: Any) -> None:
    """Take as long as the event says."""
    _take("take_first", delivery, event.data["seconds"])


@receiver(signals.lead_created, atomic=False)
def take_second(*, delivery: Delivery, event: Event, **kwargs: Any) -> None:
    """Take as long as the event says."""
    _take("take_second", delivery, event.data["seconds"])


@receiver(signals.lead_created, atomic=False)
def take_third(*, delivery: Delivery, event: Event, **kwargs: Any) -> None:
    """Take as long as the event says."""
    _take("take_third", delivery, event.data["seconds"])
