"""Renewing the leases of what this process is working on, from a connection of its own.

One daemon thread per process, started when the first lease is taken. It renews each lease until the receiver has run
for `RUN_TIMEOUT`; then another worker may take the run, and the late commit of this one is refused. Runs that wait
behind a long one are released, for other workers to take. On SQLite a receiver that holds the write lock blocks all of
this, but it blocks claims, too, so no other worker takes the run.
"""

import atexit
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, Error, connections
from django.utils import timezone

from nateq_webhooks import tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import is_retryable
from nateq_webhooks.database.transactions import is_private
from nateq_webhooks.dispatch.claim import release
from nateq_webhooks.models import Run
from nateq_webhooks.threads import DaemonThread

logger: Final = logging.getLogger("nateq_webhooks")

RELEASE_SECONDS: Final = 3.0
"""How long a receiver may run before the runs behind it are released: a claim is about a second's worth of work."""

POLL_SECONDS: Final = 1.0
"""The longest time between two looks at the leases."""

IDLE_ROUNDS: Final = 10
"""The thread ends after it found no lease so many times in succession."""


@dataclass(eq=False, kw_only=True)
class Lease:
    """What a worker holds under one token: the runs of one claim, which it starts one by one."""

    alias: str
    token: uuid.UUID
    runs: Sequence[Run] = ()
    started: Run | None = None
    "The run whose try is counted, so that its receiver may be called; the current one, or the next one."
    interrupted_by: BaseException | None = None
    "What a signal to this process raised in the current receiver."
    released: set[int] = field(default_factory=set)
    "The keys of runs that the lease no longer holds: they waited too long to be started."
    succeeded: int = 0
    "How many of the runs have succeeded."
    is_finalized: bool = False
    "Whether the last run that succeeded has finalized all of them."
    taken: int = 0
    "How many of the runs have been taken, in their order; it is changed by the thread that works only."
    tenant: str = ""
    "The tenant whose runs they are; empty where there are none."
    begun: float = field(default_factory=time.monotonic)
    "When the current receiver was called (monotonic seconds)."
    renewed: float = field(default_factory=time.monotonic)
    "When the lease was renewed (monotonic seconds)."

    def begin(self) -> None:
        """Note that the next receiver starts now."""
        self.begun = time.monotonic()

    def take(self) -> Run | None:
        """Return the next run to start; None after the last."""
        while self.taken < len(self.runs):
            run = self.runs[self.taken]
            self.taken += 1
            if run.pk not in self.released:
                return run
        return None

    @property
    def next(self) -> Run | None:
        """The run that `take` would return."""
        places = range(self.taken, len(self.runs))
        return next((self.runs[place] for place in places if self.runs[place].pk not in self.released), None)

    @property
    def waiting(self) -> list[Run]:
        """The runs that are held and have not been taken."""
        return [run for run in self.runs[self.taken :] if run.pk not in self.released]

    @property
    def age(self) -> float:
        """How long the current receiver has been running (seconds)."""
        return time.monotonic() - self.begun

    def wants_renewal(self, interval: float) -> bool:
        """Whether it was last renewed so many seconds ago, and is still worth it."""
        return time.monotonic() - self.renewed > interval and not self.has_timed_out

    @property
    def is_blocking(self) -> bool:
        """Whether the current receiver has been running for so long that the other runs must not wait for it."""
        return self.age > RELEASE_SECONDS

    @property
    def has_timed_out(self) -> bool:
        """Whether the current receiver has been running for longer than `RUN_TIMEOUT`."""
        return self.age > settings().run_timeout.total_seconds()


class LeaseRenewer:
    """The process's leases and the thread that renews them, and gives back runs that have waited for too long."""

    def __init__(self) -> None:
        self._thread = DaemonThread(self._renew_until_idle, name="nateq_webhooks leases", after_fork=self._reset)
        self._reset()

    @property
    def is_running(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive

    @contextmanager
    def renewing(self, lease: Lease) -> Iterator[Lease]:
        """Keep a lease renewed for the length of the block; not where another connection would not see its runs."""
        if is_private(lease.alias):
            yield lease
            return
        with self._lock:
            self._held.add(lease)
            self._thread.start()
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    def stop(self, timeout: float = 0.0) -> None:
        """End the thread, and wait up to `timeout` seconds for it; the next lease starts it again."""
        self._thread.stop(timeout)

    def join(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for the thread to end by itself."""
        self._thread.join(timeout)

    def _reset(self) -> None:
        """Hold no lease: after a fork, the leases are the parent's."""
        self._lock = threading.Lock()
        self._held: set[Lease] = set()

    def _renew_until_idle(self, stop: threading.Event) -> None:
        idle_rounds = 0
        while not stop.wait(_poll_seconds()):
            with self._lock:
                held = list(self._held)
                idle_rounds = 0 if held else idle_rounds + 1
                if idle_rounds == IDLE_ROUNDS:
                    self._thread.release()
                    return
            # This thread's own connections: it needs one again in a while at the earliest.
            if sum(_maintain(lease) for lease in held):
                connections.close_all()


def _poll_seconds() -> float:
    """Return how long to wait between two looks; settings that are changed and invalid (in tests) end no thread."""
    try:
        return min(_interval(), POLL_SECONDS)
    except ImproperlyConfigured:
        return POLL_SECONDS


def _interval() -> float:
    return settings().run_lease.total_seconds() / 4


def _maintain(lease: Lease) -> bool:
    """Renew a lease and release its waiting runs, if that is due; return whether the database was used."""
    waiting = lease.waiting if lease.is_blocking else []
    renews = lease.wants_renewal(_interval())
    try:
        with tenants.activate(lease.tenant):
            if waiting:
                _release_waiting(lease, waiting)
            if renews:
                _renew(lease)
    except Error as error:
        is_locked = isinstance(error, DatabaseError) and is_retryable(error)
        if renews or not is_locked:  # giving back waits on SQLite for as long as the receiver writes
            logger.warning(
                "A lease could not be renewed, or its waiting runs could not be released: %s. This is tried again; if "
                "the lease ends first, another worker starts its runs again.",
                type(error).__name__,
            )
        if renews:
            lease.renewed += _interval() / 4
    return bool(waiting) or renews


def _renew(lease: Lease) -> None:
    """Renew the lease of each run, one by one: a transaction that locks several rows may deadlock."""
    for run in [*lease.runs[: lease.taken][-1:], *lease.waiting]:
        held = Run.objects.using(lease.alias).held_under(lease.token, run.pk)
        held.renew(timezone.now() + settings().run_lease)
    lease.renewed = time.monotonic()


def _release_waiting(lease: Lease, waiting: Sequence[Run]) -> None:
    """Release what waits, one by one, until the current receiver returns; the worker continues with the rest."""
    for place, run in enumerate(waiting):
        if not lease.is_blocking:
            return
        if release(lease.alias, lease.token, run, place, only_unstarted=True):
            lease.released.add(run.pk)


lease_renewer: Final = LeaseRenewer()
"""The process's leases."""

atexit.register(lease_renewer.stop)
