"""The pauses between the batches of long work, so that live traffic has its turn."""

import threading
import time


def pause_after(started: float, *, longest: float, times: float = 1.0) -> None:
    """Wait `times` as long as a batch took that began at `started` (`time.monotonic()`); `longest` seconds at most."""
    threading.Event().wait(max(0.0, min(times * (time.monotonic() - started), longest)))
