"""When the sender retries. Nateq says only "exponential backoff"; the rest is ours (docs/reference/protocol.md)."""

import random
from dataclasses import dataclass
from typing import Final

LONGEST_SECONDS: Final = 6 * 3600.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """How many attempts a delivery has, and the seconds to wait between them."""

    base: float = 10.0
    """The wait after the first attempt; it doubles with each further one."""
    longest: float = LONGEST_SECONDS
    """No wait is longer than this."""
    attempts: int = 10
    """After this many the delivery has failed."""

    def wait(self, attempt: int, jitter: random.Random) -> float | None:
        """Return the seconds to wait after the attempt number `attempt` (from 1); None if it was the last.

        The upper half is random, so that deliveries that failed together are not retried together.
        """
        if attempt >= self.attempts:
            return None
        full = min(self.base * 2.0 ** min(attempt - 1, 40), self.longest)
        return full * jitter.uniform(0.5, 1.0)
