"""Exponential backoff with jitter, for the tries of a run. The sender has its own schedule (Nateq: Retries).

`dispatch.failure` decides whether a run is tried again at all.
"""

import random
from datetime import timedelta
from typing import Final

LONGEST: Final = timedelta(hours=6)
"""No wait between two tries is longer than this."""


def backoff(tries: int, base: timedelta, *, longest: timedelta = LONGEST) -> timedelta:
    """Return the wait after try number `tries` (from 1): `base`, doubled each time, at most `longest`.

    The upper half is random, so that runs that failed together are not retried together.
    """
    doublings = min(max(tries, 1) - 1, 40)  # 2**40 seconds is past any `longest`, and timedelta overflows later
    full = min(base.total_seconds() * 2**doublings, longest.total_seconds())
    return timedelta(seconds=full * random.uniform(0.5, 1.0))  # noqa: S311 - spreading load, not a secret
