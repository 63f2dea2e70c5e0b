"""How long to wait: what the server asks for, and what is left of the key's requests (Nateq: rate limits)."""

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

logger = logging.getLogger(__name__)

WINDOW_SECONDS: Final = 60.0
"""The limit counts the requests of a minute."""

_SECONDS: Final = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class Allowance:
    """Waits when `X-RateLimit-Remaining` has run out, instead of running into a 429. Shared by all threads.

    No header says when the minute began. The first answer seen in it is the latest that it can have begun, so a
    minute after that one there are requests left again.
    """

    def __init__(self, *, limit: int, sleep: Callable[[float], None], clock: Callable[[], float]) -> None:
        self._limit = limit
        self._sleep = sleep
        self._clock = clock
        self._lock = threading.Lock()
        self._window_start: float | None = None
        self._ready_at: float | None = None

    def wait(self) -> None:
        """Return at once while requests are left, else when there are some again."""
        with self._lock:
            seconds = 0.0 if self._ready_at is None else self._ready_at - self._clock()
        if seconds > 0:
            logger.info("No request of this minute is left to the API key; waiting %.1f s.", seconds)
            self._sleep(seconds)

    def note(self, *, limit: int | None, remaining: int | None) -> None:
        """Take in what an answer says is left; None for a header that was not there."""
        if remaining is None:
            return
        with self._lock:
            now = self._clock()
            limit = limit or self._limit
            # More than half can only be a new minute: a limit that counts a sliding one gives back a few at a time.
            if self._window_start is None or remaining > limit / 2:
                self._window_start = now
            self._ready_at = None if remaining > 0 else self._window_start + WINDOW_SECONDS


def count(header: str | None) -> int | None:
    """Read a header that counts; None when it is absent or says something else."""
    return int(header) if header and header.isascii() and header.isdigit() and len(header) < 10 else None


def asked_wait(header: str | None, details: object) -> float | None:
    """Return the seconds that an answer asks to wait: `Retry-After` as seconds or date, else the error's details."""
    if header is None and isinstance(details, dict):
        seconds = details.get("retry_after_seconds", details.get("retryAfterSeconds"))
        header = str(seconds)
    if header is None:
        return None
    if _SECONDS.fullmatch(header.strip()):
        return float(header)
    try:
        moment = parsedate_to_datetime(header)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
