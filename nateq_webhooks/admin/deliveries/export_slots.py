"""A limit on concurrent exports: each keeps a thread of the server, and requests of the sender need one, too."""

import threading
from typing import Any, Final

MAX_CONCURRENT: Final = 2
"""Exports that one process runs at the same time; servers usually have four threads or more."""


class ExportSlots:
    """The exports that run in this process, at most one of each user. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[Any] = set()

    def acquire(self, user: Any) -> bool:
        """Acquire a slot for a user, and return whether one was free."""
        with self._lock:
            if user in self._users or len(self._users) >= MAX_CONCURRENT:
                return False
            self._users.add(user)
            return True

    def release(self, user: Any) -> None:
        """Release a user's slot."""
        with self._lock:
            self._users.discard(user)


slots: Final = ExportSlots()
"""The slots of this process."""
