"""Moments as the sandbox keeps them (seconds since 1970) and as the API writes them."""

import time
from datetime import UTC, datetime


def now() -> float:
    """Return this moment in seconds since 1970: retries are due by the clock on the wall, also after a restart."""
    return time.time()


def iso(moment: float) -> str:
    """Write a moment in ISO 8601, UTC, to the microsecond, because two attempts at a delivery may differ by no more."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
