"""Renewing the leases of what this process is working on, from a connection of its own.

One daemon thread per process, started with the first run that lasts; it renews what is running, and stops renewing a
run that has been going for longer than `RUN_TIMEOUT`: then another worker takes it over, and its late commit is
refused. On SQLite nothing can be renewed while a receiver holds the write lock, and nothing can be claimed either.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from django.db import Error, connections
from django.utils import timezone

from nateq_webhooks import tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.models import Run

logger: Final = logging.getLogger("nateq_webhooks")


@dataclass(eq=False, kw_only=True)
class Lease:
    """What a worker holds under one token: when the receiver at hand began, when it was renewed (monotonic seconds)."""

    alias: str
    token: uuid.UUID
    tenant: str = ""
    begun: float = field(default_factory=time.monotonic)
    renewed: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Note that the next receiver starts now."""
        self.begun = time.monotonic()

    @property
    def age(self) -> float:
        """How long the receiver at hand has been running (seconds)."""
        return time.monotonic() - self.begun

    def wants_renewal(self, interval: float) -> bool:
        """Whether it was last renewed so many seconds ago, and is still worth it."""
        return time.monotonic() - self.renewed > interval and not self.has_timed_out

    @property
    def has_timed_out(self) -> bool:
        """Whether the receiver at hand has been running for longer than `RUN_TIMEOUT`."""
        return self.age > settings().run_timeout.total_seconds()


class Keeper:
    """The process's leases and the thread that renews them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Lease] = set()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._wait = threading.Event()  # never set: it is only waited on

    @contextmanager
    def holding(self, alias: str, token: uuid.UUID) -> Iterator[Lease]:
        """Keep a lease renewed for the length of the block."""
        lease = Lease(alias=alias, token=token, tenant=tenants.current(alias))
        with self._lock:
            self._held.add(lease)
            self._start()
        try:
            yield lease
        finally:
            with self._lock:
                self._held.discard(lease)

    def _start(self) -> None:
        """Start the thread unless it runs; after a fork there is none in the child."""
        if self._thread is None or not self._thread.is_alive() or self._pid != os.getpid():
            self._pid = os.getpid()
            self._thread = threading.Thread(target=self._renew_for_ever, name="nateq_webhooks leases", daemon=True)
            self._thread.start()

    def _renew_for_ever(self) -> None:
        idle_rounds = 0
        while idle_rounds < 10:
            self._wait.wait(self._interval())
            with self._lock:
                due = [lease for lease in self._held if lease.wants_renewal(self._interval())]
                idle_rounds = 0 if self._held else idle_rounds + 1
                if idle_rounds == 10:
                    self._thread = None
            self._renew(due)

    def _interval(self) -> float:
        return settings().run_lease.total_seconds() / 4

    def _renew(self, leases: list[Lease]) -> None:
        for lease in leases:
            try:
                with tenants.activate(lease.tenant):
                    held = Run.objects.using(lease.alias).filter(lease=lease.token, status=Run.Status.RUNNING)
                    held.update(next_try_at=timezone.now() + settings().run_lease)
                lease.renewed = time.monotonic()
            except Error as error:
                logger.warning("A lease could not be renewed: %s", type(error).__name__)
        if leases:
            # This thread's own connections: it needs one again in a third of a lease at the earliest.
            connections.close_all()


keeper: Final = Keeper()
"""The process's leases."""
