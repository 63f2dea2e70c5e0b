"""Messages for the next page, shown once: what was done, and perhaps a new secret."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

_MAX_NOTES: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A message for the top of a page, and perhaps a secret to show with it."""

    text: str
    secret: str = field(default="", repr=False)


class Notes:
    """Notes that wait for their page, each with a token that can be used once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notes: OrderedDict[str, Note] = OrderedDict()

    def leave(self, note: Note) -> str:
        """Keep a note and return its token; the oldest one is dropped if there are too many."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._notes[token] = note
            while len(self._notes) > _MAX_NOTES:
                self._notes.popitem(last=False)
        return token

    def take(self, token: str) -> Note | None:
        """Return the note of this token, once."""
        with self._lock:
            return self._notes.pop(token, None)
