"""The rate limit of each key (Nateq: rate limits): requests per minute, in windows of a minute."""

import math
import threading
import time
from collections.abc import Callable

from nateq_webhooks.protocol.api_answers import WINDOW_SECONDS, Quota


class RateLimit:
    """Counts the requests of each key; a window begins with the first request in it."""

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def take(self, key: str) -> Quota:
        """Count one request of `key`; one over the limit is not counted."""
        with self._lock:
            current = self._clock()
            started, used = self._windows.get(key, (current, 0))
            if current - started >= WINDOW_SECONDS:
                started, used = current, 0
            if used >= self._limit:
                left = WINDOW_SECONDS - (current - started)
                return Quota(limit=self._limit, remaining=0, retry_after=max(1, math.ceil(left)))
            self._windows[key] = (started, used + 1)
            return Quota(limit=self._limit, remaining=self._limit - used - 1)
