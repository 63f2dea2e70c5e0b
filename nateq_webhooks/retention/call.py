"""One call of `prune`: its report, the time that is left, and the pauses between its batches."""

import time
import uuid
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final

from nateq_webhooks.database.pacing import pause_after
from nateq_webhooks.retention.removal import announce_removals
from nateq_webhooks.retention.report import PruneReport

MAX_PAUSE_SECONDS: Final = 5.0
"""The longest pause between two batches."""

Progress = Callable[[PruneReport, float], None]
"""Is called after each batch, with the report so far and the share of the keys that were looked at, from 0 to 1."""


class PruneCall:
    """What the walks of one call share: the report, the time that is left, and the pauses."""

    def __init__(
        self,
        alias: str,
        now: datetime,
        *,
        is_dry_run: bool,
        seconds: float | None,
        pause: float,
        progress: Progress | None,
    ) -> None:
        self.alias = alias
        self.now = now
        self.report = PruneReport(is_dry_run=is_dry_run)
        self.highest = 0
        self._announced: set[uuid.UUID] = set()
        self._ends_at = float("inf") if seconds is None else time.monotonic() + seconds
        self._pause = pause
        self._progress = progress

    def is_over(self) -> bool:
        """Return whether the time is over; the report then is incomplete."""
        if time.monotonic() < self._ends_at:
            return False
        self.report.is_complete = False
        return True

    def announce(self, webhooks: Collection[uuid.UUID]) -> None:
        """Make removals from these webhooks known to every process, before the first one."""
        if new := set(webhooks) - self._announced:
            announce_removals(self.alias, new)
            self._announced |= new

    def batch_done(self, started: float, after: int) -> None:
        """Report the progress, and let other work have its turn."""
        if self._progress is not None:
            self._progress(self.report, min(1.0, after / max(1, self.highest)))
        if not self.report.is_dry_run:
            longest = min(MAX_PAUSE_SECONDS, self._ends_at - time.monotonic())
            pause_after(started, longest=longest, times=self._pause)
