"""How long to wait: what the server asks for, and how many requests the key has left (Nateq: rate limits)."""

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60.0
"""The limit is per minute."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class RateLimit:
    """Waits when `X-RateLimit-Remaining` is 0, which avoids a 429. Shared by all threads.

    No header says when the minute began. It began at the latest with the first answer in it, so a minute after that
    answer requests are available again.
    """

    def __init__(self, *, limit: int, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._limit = limit
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._window_start: float | None = None
        self._ready_at: float | None = None

    def wait(self) -> None:
        """Return at once while requests are left, otherwise as soon as some are available again."""
        with self._lock:
            seconds = 0.0 if self._ready_at is None else self._ready_at - self._clock()
        if seconds > 0:
            logger.info("The API key has no requests left this minute; waiting %.1f s.", seconds)
            self._sleep(seconds)

    def update(self, *, limit: int | None, remaining: int | None) -> None:
        """Update from the headers of an answer; None for a header that is missing."""
        if remaining is None:
            return
        with self._lock:
            now = self._clock()
            limit = limit or self._limit
            # More than half can only mean a new minute: a sliding window frees a few requests at a time.
            if self._window_start is None or remaining > limit / 2:
                self._window_start = now
            self._ready_at = None if remaining > 0 else self._window_start + WINDOW_SECONDS


def count(header: str | None) -> int | None:
    """Parse a header that is a count; None if it is missing or not a number."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else None


def requested_wait(header: str | None, details: object) -> float | None:
    """Return the seconds to wait from `Retry-After` (seconds or date), else from the error's details."""
    if header is None and isinstance(details, dict):
        seconds = details.get("retry_after_seconds", details.get("retryAfterSeconds"))
        header = str(seconds)
    if header is None:
        return None
    if _SECONDS.fullmatch(header.strip()):
        return float(header)
    try:
        time = parsedate_to_datetime(header)
    except ValueError:
        return None
    if time.tzinfo is None:
        time = time.replace(tzinfo=UTC)
    return max(0.0, (time - datetime.now(UTC)).total_seconds())
