"""Four sending processes, each of which sends one delivery after the other."""

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event

from tests.faults.sending import Sender

SENDERS = 4


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """What is to be sent: the number of its conversation, and whether two requests bring it at the same time."""

    delivery_id: str
    number: int
    is_doubled: bool = False


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of it: the attempts until a 2xx, and when that was (seconds since the epoch)."""

    delivery_id: str
    attempts: int
    at: float


class Traffic:
    """Deliveries on their way."""

    def __init__(self, futures: Sequence["Future[list[Sent]]"], enough: Event) -> None:
        self._futures = futures
        self._enough = enough

    def stop(self) -> None:
        """Let each sender see the delivery at hand acknowledged, and end."""
        self._enough.set()

    def finished(self) -> list[Sent]:
        """Wait for the senders; return what they sent, each sender's in its order."""
        return [sent for future in self._futures for sent in future.result()]


def shares(parcels: Sequence[Parcel]) -> list[Sequence[Parcel]]:
    """Deal parcels out to the senders, a conversation always to the same one, so that its order is plain."""
    return [[parcel for parcel in parcels if parcel.number % SENDERS == who] for who in range(SENDERS)]


@contextmanager
def sending(sender: Sender, parcels: Sequence[Parcel], *, rate: float) -> Iterator[Traffic]:
    """Send from four processes, at most `rate` deliveries a second each, until all are sent or `stop` is called."""
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(SENDERS, mp_context=context) as processes:
        enough = manager.Event()
        traffic = Traffic([processes.submit(_send, sender, share, rate, enough) for share in shares(parcels)], enough)
        try:
            yield traffic
        finally:
            traffic.stop()


def _send(sender: Sender, parcels: Sequence[Parcel], rate: float, enough: Event) -> list[Sent]:
    sent: list[Sent] = []
    started = time.monotonic()
    for place, parcel in enumerate(parcels):
        if enough.is_set():
            break
        time.sleep(max(0.0, started + place / rate - time.monotonic()))
        with ThreadPoolExecutor(2) as requests:
            same = [
                requests.submit(sender.deliver, parcel.delivery_id, number=parcel.number)
                for _ in range(1 + parcel.is_doubled)
            ]
        attempts = max(future.result() for future in same)
        sent.append(Sent(delivery_id=parcel.delivery_id, attempts=attempts, at=time.time()))
    return sent
