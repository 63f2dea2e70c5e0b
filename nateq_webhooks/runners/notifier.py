"""Notify a broker of new deliveries without ever waiting for it.

The delivery is stored; a message only makes a worker look sooner. So a broker that refuses connections, or accepts
them and then stays silent, must not delay the request (Celery's `send_task` was seen hanging for over 30 s on a silent
Redis, and every thread of the server with it). One thread of the process sends the messages; while the broker does not
work they are dropped.
"""

import functools
import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import Final

from django.db import close_old_connections

from nateq_webhooks.threads import DaemonThread

logger: Final = logging.getLogger("nateq_webhooks")

SEND_TIMEOUT_SECONDS: Final = 0.5
"""A send that takes longer than this has failed."""

FIRST_SEND_TIMEOUT_SECONDS: Final = 5.0
"""The same for a process's first send, which imports the client and connects: Celery takes up to half a second."""

PAUSE_SECONDS: Final = 5.0
"""How long nothing is sent after a failure."""

MAX_QUEUED: Final = 1_000
"""Messages that may wait to be sent."""

MAX_HUNG: Final = 5
"""Threads that may hang in a send that never ends; with so many, nothing is sent."""


class BackgroundNotifier:
    """Sends messages from a thread of its own. `send` gets what identifies a delivery; it may hang or raise."""

    def __init__(self, send: Callable[..., object]) -> None:
        self._send = send
        self._reset()

    def notify(self, *identifiers: int | str) -> bool:
        """Have a message sent soon; return whether it was accepted. Never blocks, never raises.

        `identifiers` are a delivery's key and, if there is one, its tenant's.
        """
        reason = self._why_not()
        if reason:
            logger.debug("No message was sent for delivery %s: %s. A worker finds it later.", identifiers[0], reason)
            return False
        self._thread.start()
        self._queue.put(identifiers)
        return True

    def _reset(self) -> None:
        """Start without a thread and with an empty queue: after a fork, both are the parent's."""
        self._lock = threading.Lock()
        self._hung: list[DaemonThread] = []
        self._has_sent = False
        self._paused_until = float("-inf")
        self._use_new_thread()

    def _use_new_thread(self) -> None:
        self._sending_since: float | None = None
        messages: queue.SimpleQueue[tuple[int | str, ...]] = queue.SimpleQueue()
        self._queue = messages
        self._thread = DaemonThread(
            functools.partial(self._send_all, messages), name="nateq_webhooks notifier", after_fork=self._reset
        )

    def _why_not(self) -> str:
        """Return why no message can be sent now; empty if one can."""
        since, now = self._sending_since, time.monotonic()
        if since is not None and now - since > self._send_timeout:
            self._pause(f"it has not answered for {now - since:.1f} s")
            self._abandon_thread()
        if now < self._paused_until:
            return "the broker has just failed"
        if sum(thread.is_alive for thread in self._hung) >= MAX_HUNG:
            return "too many sends hang"
        return "too many are waiting" if self._queue.qsize() >= MAX_QUEUED else ""

    @property
    def _send_timeout(self) -> float:
        return SEND_TIMEOUT_SECONDS if self._has_sent else FIRST_SEND_TIMEOUT_SECONDS

    def _pause(self, why: str) -> None:
        """Stop sending for a while, and log that once."""
        if time.monotonic() >= self._paused_until:
            logger.warning(
                "The broker can't be notified of new deliveries: %s. They are stored; a worker or the next recovery "
                "finds them. Trying again in %s s.",
                why,
                PAUSE_SECONDS,
            )
        self._paused_until = time.monotonic() + PAUSE_SECONDS

    def _abandon_thread(self) -> None:
        """Abandon the thread whose send hangs, and what waits for it: after the pause another thread tries."""
        with self._lock:
            self._hung = [thread for thread in (*self._hung, self._thread) if thread.is_alive]
            self._use_new_thread()

    def _send_all(self, messages: "queue.SimpleQueue[tuple[int | str, ...]]", _stop: threading.Event) -> None:
        while messages is self._queue:  # else this thread was abandoned
            identifiers = messages.get()
            if time.monotonic() < self._paused_until:
                continue
            self._sending_since = time.monotonic()
            try:
                self._send(*identifiers)
                self._has_sent = True
            except Exception as error:  # noqa: BLE001 - whatever a broker's client raises, the delivery is stored
                if messages is self._queue:
                    self._pause(f"{type(error).__name__}")
            finally:
                if messages is self._queue:
                    self._sending_since = None
                close_old_connections()  # a task backend may keep its tasks in the database
