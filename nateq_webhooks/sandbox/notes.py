"""What the next page says once: that something was done, and a secret that is never shown again."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

_MOST: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A sentence for the top of a page, and the secret that goes with it."""

    text: str
    secret: str = field(default="", repr=False)


class Notes:
    """Notes that wait for their page, each under a token that is spent by the first look."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: OrderedDict[str, Note] = OrderedDict()

    def leave(self, note: Note) -> str:
        """Keep a note and return its token; the oldest goes when there are too many."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._notes[token] = note
            while len(self._notes) > _MOST:
                self._notes.popitem(last=False)
        return token

    def take(self, token: str) -> Note | None:
        """Return the note of this token, once."""
        with self._lock:
            return self._notes.pop(token, None)
