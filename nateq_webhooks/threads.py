"""Background threads of a process: started when there is work, and again in a child process after a fork."""

import os
import threading
from collections.abc import Callable
from typing import Final
from weakref import WeakSet


class DaemonThread:
    """A daemon thread that runs `target` whenever it is started and not running.

    `target` gets the event that asks it to stop, and waits on nothing else. A target that ends by itself when there is
    no more work calls `release` first, under the lock of its owner, so that work that comes at that moment starts
    another thread. A child process inherits no threads: there `after_fork` resets what the owner keeps for its thread.
    """

    def __init__(
        self, target: Callable[[threading.Event], None], *, name: str, after_fork: Callable[[], None] | None = None
    ) -> None:
        self._target = target
        self._name = name
        self._after_fork = after_fork
        self._thread: threading.Thread | None = None
        self._reset()
        _daemon_threads.add(self)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Start it unless it runs. Raises `RuntimeError` if the process can't have another thread."""
        with self._lock:
            if self.is_alive:
                return
            self._stop = threading.Event()
            thread = threading.Thread(target=self._target, args=(self._stop,), name=self._name, daemon=True)
            self._thread = thread  # before it starts: it may release itself at once
            try:
                thread.start()
            except RuntimeError:
                self._thread = None
                raise

    def release(self) -> None:
        """Let the next `start` start another thread: this one, which calls it, is about to end."""
        self._thread = None

    def stop(self, timeout: float | None = None) -> None:
        """Ask it to stop, and wait up to `timeout` seconds for its end (None: as long as it takes)."""
        thread = self._thread
        self._stop.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def join(self, timeout: float | None = None) -> None:
        """Wait for its end."""
        thread = self._thread
        if thread is not None:
            thread.join(timeout)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = None

    def _reset_in_child(self) -> None:
        self._reset()
        if self._after_fork is not None:
            self._after_fork()


_daemon_threads: Final[WeakSet[DaemonThread]] = WeakSet()


def _reset_in_child() -> None:
    for one in tuple(_daemon_threads):
        one._reset_in_child()  # noqa: SLF001 - of this module


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_reset_in_child)
