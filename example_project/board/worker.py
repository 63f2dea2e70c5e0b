"""The demo's worker: what `manage.py nateq_worker` runs, in a thread of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from nateq_webhooks.runners.worker import Worker


@contextmanager
def working() -> Iterator[None]:
    """Make the later tries of failed runs, and continue large replays, while the block runs."""
    worker = Worker(1)
    thread = Thread(target=worker.run, name="demo worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join()
