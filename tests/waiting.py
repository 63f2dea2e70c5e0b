"""Waiting on a condition with a bound, and the ports of processes that tests start. Needs no Django."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress


def becomes_true(condition: Callable[[], object], *, seconds: float = 60, every: float = 0.01) -> bool:
    """Wait until a condition is true, for so many seconds at most; say whether it became true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def wait_until(condition: Callable[[], object], *, seconds: float = 60, every: float = 0.01) -> None:
    """Wait until a condition is true; fail if it is not within so many seconds."""
    assert becomes_true(condition, seconds=seconds, every=every), f"not true after {seconds} s: {condition}"


class Clock:
    """Stands in for the `time` module, so that a second passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Say whether somebody on this machine accepts connections at a port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
