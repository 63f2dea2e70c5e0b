"""How many exports run at once: each keeps a thread of the server, and others need one, the sender first of all."""

import threading
from typing import Any, Final

MOST_AT_ONCE: Final = 2
"""Exports of one process at a time; a server has four threads or more."""


class Slots:
    """The exports that run in this process, one for each user. Safe to use from many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[Any] = set()

    def take(self, user: Any) -> bool:
        """Take a slot for a user; say whether there was one for him."""
        with self._lock:
            if user in self._users or len(self._users) >= MOST_AT_ONCE:
                return False
            self._users.add(user)
            return True

    def give_back(self, user: Any) -> None:
        """Give a user's slot back."""
        with self._lock:
            self._users.discard(user)


slots: Final = Slots()
"""Those of this process."""
