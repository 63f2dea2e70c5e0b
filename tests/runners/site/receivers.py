"""Receivers that write what they did, and wait where the test says so."""

import os
import signal
import threading
from functools import partial
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
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "began").touch()
    wait_until((folder / "go on").exists, seconds=BOUND_SECONDS)


@receiver(signals.ticket_updated)
def come_after(*, delivery: Delivery, **kwargs: Any) -> None:
    """Write a row."""
    write(f"{delivery.delivery_id} come_after")


class PanicError(BaseException):
    """What an extension in Rust raises."""


WHAT_ENDS = {error.__name__: error for error in (KeyboardInterrupt, SystemExit, GeneratorExit, PanicError)}


@receiver(signals.user_created)
def raise_it(*, event: Event, **kwargs: Any) -> None:
    """Raise what the payload asks for."""
    raise WHAT_ENDS[event.data["raise"]]("as it was asked for")


@receiver(signals.user_created)
def write_pid(**kwargs: Any) -> None:
    """Write a row with the key of the process."""
    write(str(os.getpid()))


@receiver(signals.broadcast_sent)
def die(**kwargs: Any) -> None:
    """Kill the process, as a bug in an extension does."""
    os.kill(os.getpid(), signal.SIGKILL)


def write_as(name: str, *, delivery: Delivery, **kwargs: Any) -> None:
    """Write a row."""
    write(f"{delivery.delivery_id} {name}")


for number in range(9):
    signals.broadcast_sent.connect(
        partial(write_as, f"innocent {number}"),
        dispatch_uid=f"tests.runners.site.receivers.innocent {number}",
        weak=False,
    )


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
