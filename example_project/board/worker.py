"""The demo's worker: `manage.py nateq_worker --once` each second, in a thread of this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from django.core.management import call_command
from django.db import Error, connections

SECONDS = 1.0


@contextmanager
def working() -> Iterator[None]:
    """Make the later tries of failed runs, and continue large replays, while the block runs."""
    stop = Event()
    thread = Thread(target=_work, args=(stop,), name="demo worker", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _work(stop: Event) -> None:
    while not stop.wait(SECONDS):
        try:
            call_command("nateq_worker", once=True, verbosity=0)
        except Error:  # the database is busy, or goes away with the demo: the next second's look makes up for it
            continue
        finally:
            connections.close_all()
