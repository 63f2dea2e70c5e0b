"""Telling a broker that there is work, without ever waiting for it.

The delivery is stored; a message only makes somebody look sooner. So a broker that refuses, or accepts and then stays
silent, must cost the request nothing (Celery's `send_task` was seen hanging for over 30 s on a silent Redis, and every
thread of the server with it): the messages are sent by one thread of the process, and dropped while it is in trouble.
"""

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import close_old_connections

logger: Final = logging.getLogger("nateq_webhooks")

PATIENCE_SECONDS: Final = 0.5
"""A send that takes longer than this is trouble."""

FIRST_PATIENCE_SECONDS: Final = 5.0
"""As long for a process's first send, which imports the client and connects: Celery takes up to half a second."""

PAUSE_SECONDS: Final = 5.0
"""How long no further message is tried after trouble."""

MAX_QUEUED: Final = 1_000
"""Messages that may wait for the thread."""

MAX_HUNG: Final = 5
"""Threads that may hang in a send that never ends; with as many, no further message is tried."""


class Waker:
    """Sends wake-ups from a thread of its own. `send` gets what names a delivery; it may hang or raise."""

    def __init__(self, send: Callable[..., object]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[tuple[int | str, ...]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._hung: list[threading.Thread] = []
        self._pid = 0
        self._has_sent = False
        self._sending_since: float | None = None
        self._paused_until = float("-inf")

    def wake(self, *names: int | str) -> bool:
        """Have a message sent soon; say whether it was taken. Never blocks, never raises.

        `names` are a delivery's key and, if there is one, its tenant's.
        """
        reason = self._trouble()
        if reason:
            logger.debug("Wake-up for delivery %s dropped: %s", names[0], reason)
            return False
        self._start()
        self._queue.put(names)
        return True

    def _trouble(self) -> str:
        """Return why no message can be sent now; empty when it can."""
        since, now = self._sending_since, time.monotonic()
        if self._pid == os.getpid() and since is not None and now - since > self._patience:
            self._give_up(f"it has not answered for {now - since:.1f} s")
            self._leave_behind()
        if now < self._paused_until:
            return "the broker was in trouble just now"
        if sum(thread.is_alive() for thread in self._hung) >= MAX_HUNG:
            return "too many sends hang"
        return "too many are waiting" if self._queue.qsize() >= MAX_QUEUED else ""

    @property
    def _patience(self) -> float:
        return PATIENCE_SECONDS if self._has_sent else FIRST_PATIENCE_SECONDS

    def _give_up(self, why: str) -> None:
        """Stop sending for a while, and say so once."""
        if time.monotonic() >= self._paused_until:
            logger.warning(
                "The broker can't be told of new deliveries: %s. They are stored; a worker or the next recovery finds "
                "them. Trying again in %s s.",
                why,
                PAUSE_SECONDS,
            )
        self._paused_until = time.monotonic() + PAUSE_SECONDS

    def _leave_behind(self) -> None:
        """Give the thread up whose send hangs, with what waits for it: after the pause another one tries."""
        with self._lock:
            if self._thread is not None:
                self._hung = [thread for thread in (*self._hung, self._thread) if thread.is_alive()]
            self._thread = self._sending_since = None
            self._queue = queue.SimpleQueue()

    def _start(self) -> None:
        """Start the thread unless it runs; after a fork there is none in the child."""
        with self._lock:
            if self._thread is None or self._pid != os.getpid() or not self._thread.is_alive():
                self._has_sent = self._has_sent and self._pid == os.getpid()
                self._pid = os.getpid()
                self._sending_since = None
                self._queue = queue.SimpleQueue()
                self._thread = threading.Thread(
                    target=self._run, args=(self._queue,), name="nateq_webhooks wake-ups", daemon=True
                )
                self._thread.start()

    def _run(self, messages: "queue.SimpleQueue[tuple[int | str, ...]]") -> None:
        while messages is self._queue:  # else this thread has been left behind
            names = messages.get()
            if time.monotonic() < self._paused_until:
                continue
            self._sending_since = time.monotonic()
            try:
                self._send(*names)
                self._has_sent = True
            except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, it is only a wake-up
                if messages is self._queue:
                    self._give_up(f"{type(error).__name__}")
            finally:
                if messages is self._queue:
                    self._sending_since = None
                close_old_connections()  # a task backend may keep its tasks in the database
