"""Flash messages, shown once on the next page: what was done, and perhaps a new secret."""

import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

_MAX_WAITING: Final = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class FlashMessage:
    """A message for the top of a page, and perhaps a secret to show with it."""

    text: str
    secret: str = field(default="", repr=False)


class FlashMessages:
    """Messages that wait for their page, each with a token that can be used once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: OrderedDict[str, FlashMessage] = OrderedDict()

    def add(self, message: FlashMessage) -> str:
        """Keep a message and return its token; the oldest one is dropped if there are too many."""
        token = secrets.token_urlsafe(16)
        with self._lock:
            self._waiting[token] = message
            while len(self._waiting) > _MAX_WAITING:
                self._waiting.popitem(last=False)
        return token

    def pop(self, token: str) -> FlashMessage | None:
        """Return the message of this token, once."""
        with self._lock:
            return self._waiting.pop(token, None)
