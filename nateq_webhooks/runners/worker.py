"""Workers of our own: `manage.py nateq_worker`, for teams with no broker, and for what a broker lost.

Each thread claims what is due, runs it, and looks again; the database's locks keep them, and those of other processes,
out of each other's way. Nothing here is needed for a delivery to be safe: a worker may be killed at any moment.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Final

from django.db import Error, close_old_connections, connections, router
from django.utils import timezone

from nateq_webhooks import dispatch, tenants
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import api

logger: Final = logging.getLogger("nateq_webhooks")

POLL_SECONDS: Final = 0.5
"""How long an idle worker waits before it looks again: a delivery starts within a second."""

LONGEST_OUTAGE_WAIT: Final = 5.0
"""How long to wait at most between two tries to reach a database that went away (seconds)."""

MAX_WAIT_SECONDS: Final = 50.0
"""How long `drain` waits at most for rate limits (seconds): cron calls the next one after a minute."""

MAX_BATCH: Final = 20
"""The largest claim; slow receivers make it smaller, so that other workers get the runs."""


class WorkerRunner:
    """Leaves every run to `manage.py nateq_worker`: it looks twice a second, so there is nothing to notify."""

    hold = timedelta()
    leaves_to_workers = True

    def wake(self, due: dispatch.Due) -> None:
        """Do nothing."""


class Batch:
    """How much to claim at once: about a second's worth of work, by how long it took lately."""

    def __init__(self) -> None:
        self._seconds_each = 1.0

    @property
    def size(self) -> int:
        """The next claim's size."""
        return max(1, min(MAX_BATCH, int(1 / self._seconds_each)))

    def record(self, seconds: float, found: int) -> None:
        """Adapt to a claim that took `seconds` for the `found` runs and deliveries."""
        if found:
            self._seconds_each = max(0.001, (self._seconds_each + seconds / found) / 2)


def drain(watch: api.Watch | None = None, *, concurrency: int = 1, stopping: Callable[[], bool] = api.never) -> int:
    """Run everything that is due now, each run once; return how many that was. Raises `django.db.Error`.

    Works in this thread, or in `concurrency` others if those see the same rows as this one. In this thread it ends as
    soon as `stopping` returns true, and releases what it has not started.
    """
    stop = _Stop(stopping)
    began = timezone.now()
    if concurrency == 1 or api.is_private(router.db_for_write(api.Delivery)):
        return _drain(watch, stop, began)
    stop = _Stop()
    with ThreadPoolExecutor(concurrency, thread_name_prefix="nateq_webhooks worker") as threads:
        try:
            drained = [threads.submit(_drain_in_thread, watch, stop, began) for _ in range(concurrency)]
            return sum(one.result() for one in drained)
        finally:
            stop.event.set()


class _Stop:
    """When to stop: once the event is set, or `asked` returns true."""

    def __init__(self, asked: Callable[[], bool] = api.never) -> None:
        self.event = threading.Event()
        self._asked = asked

    def __call__(self) -> bool:
        return self.event.is_set() or self._asked()


def _drain_in_thread(watch: api.Watch | None, stop: _Stop, began: datetime) -> int:
    """Drain in a thread of its own, on connections of its own."""
    try:
        return _drain(watch, stop, began)
    finally:
        connections.close_all()


def _drain(watch: api.Watch | None, stop: _Stop, began: datetime) -> int:
    """Run what is due until nothing is, each run once: a run that fails after `began` is left to the next call.

    Waits for a rate limit whose next slot is less than a second away, for up to `MAX_WAIT_SECONDS` in all.
    """
    executed = 0
    for tenant in tenants.every():
        with tenants.activate(tenant):
            executed += _drain_tenant(watch, stop, began)
    return executed


def _drain_tenant(watch: api.Watch | None, stop: _Stop, began: datetime) -> int:
    alias = router.db_for_write(api.Delivery)
    maintenance, batch = api.Maintenance(alias), Batch()
    executed, found, waited = 0, 0, 0.0

    def count(run: api.Run, outcome: api.Outcome) -> None:
        nonlocal executed
        executed += 1
        if watch is not None:
            watch(run, outcome)

    while not stop():
        maintenance.heartbeat()
        is_idle = not found
        maintained = maintenance.run_once() if is_idle else 0
        started = time.monotonic()
        found = api.run_due(batch.size, watch=count, stopping=stop, untried_since=began, polling=not is_idle)
        batch.record(time.monotonic() - started, found)
        if is_idle and not found and not maintained:
            pause = _seconds_to_next_slot(alias, began)
            if pause is None or pause > 1 or waited > MAX_WAIT_SECONDS:
                break
            waited += pause
            stop.event.wait(pause)
    return executed


def _seconds_to_next_slot(alias: str, untried_since: datetime | None = None) -> float | None:
    """Return how long until a rate limit lets a waiting run start; None when none waits for that."""
    moment = api.next_slot_at(alias, untried_since=untried_since)
    return None if moment is None else max(0.001, (moment - timezone.now()).total_seconds())


class Worker:
    """Several threads that run what is due, until `stop` is called. A database may go away and come back."""

    def __init__(self, concurrency: int = 1, watch: api.Watch | None = None) -> None:
        self._concurrency = concurrency
        self._watch = watch
        self._stopping = threading.Event()
        self._threads: list[_Slot] = []

    def stop(self) -> None:
        """Let each thread finish the current receiver, release what it has not started, and end."""
        self._stopping.set()

    def wait_while(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until a condition does not hold any more, or the worker is stopped; it is looked at so often."""
        while not self._stopping.is_set() and holds():
            self._stopping.wait(seconds)

    def run(self) -> None:
        """Work until stopped. A thread whose receiver hangs is replaced: another worker has its run by then."""
        maintenance = _MaintenanceByTenant()
        while not self._stopping.is_set():
            is_busy = maintenance.run_once()
            busy = [slot for slot in self._threads if not slot.is_hung]
            for slot in set(self._threads) - set(busy):
                slot.abandon()
            for _ in range(self._concurrency - len(busy)):
                slot = _Slot(self._stopping, self._watch)
                busy.append(slot)
                slot.start()
            self._threads = busy
            self._stopping.wait(0 if is_busy else POLL_SECONDS)
        for slot in self._threads:
            slot.join(settings().run_timeout.total_seconds())
        connections.close_all()


class _MaintenanceByTenant:
    """The maintenance of each tenant."""

    def __init__(self) -> None:
        self._by_tenant: dict[str, api.Maintenance] = {}

    def run_once(self) -> bool:
        """Do what is due for every tenant; return whether there is more. Logs errors of the database."""
        close_old_connections()
        is_busy = False
        for tenant in _known_tenants():
            try:
                with tenants.activate(tenant):
                    maintenance = self._by_tenant.setdefault(tenant, api.Maintenance(router.db_for_write(api.Delivery)))
                    maintenance.heartbeat()
                    is_busy = maintenance.run_once() > 0 or is_busy
            except Error as error:
                logger.warning("The worker's maintenance failed: %s. It is tried again.", type(error).__name__)
        return is_busy


def _known_tenants() -> list[str]:
    """Return the tenants; none while the database can't say which there are."""
    try:
        return tenants.every()
    except Error as error:
        logger.warning("The tenants could not be listed: %s. Maintenance is tried again.", type(error).__name__)
        return []


class _Slot(threading.Thread):
    """One thread: claim, run, look again."""

    def __init__(self, stopping: threading.Event, watch: api.Watch | None) -> None:
        super().__init__(name="nateq_webhooks worker", daemon=True)
        self._stopping = stopping
        self._watch = watch
        self._batch = Batch()
        self._outage_wait = 0.0
        self._idle_wait = POLL_SECONDS
        self._alive_at = time.monotonic()
        self._abandoned = False

    def abandon(self) -> None:
        """End after the current receiver, if that ever returns: another thread has taken this one's place."""
        self._abandoned = True

    @property
    def is_hung(self) -> bool:
        """Whether it has ended, or its receiver has run for so long that its lease is gone."""
        limit = settings().run_timeout.total_seconds() + settings().run_lease.total_seconds()
        return not self.is_alive() or time.monotonic() - self._alive_at > limit

    def run(self) -> None:
        """Work until stopped or abandoned."""
        try:
            while not self._is_to_end():
                if not self._run_once():
                    self._stopping.wait(self._outage_wait or self._idle_wait)
        finally:
            connections.close_all()

    def _is_to_end(self) -> bool:
        return self._abandoned or self._stopping.is_set()

    def _run_once(self) -> int:
        """Claim and run once; return how much was found. Trouble with the database is waited out."""
        self._alive_at = started = time.monotonic()
        close_old_connections()
        found, waits, is_back, trouble = 0, [POLL_SECONDS], False, ""
        try:
            for tenant in tenants.every():
                try:
                    found += self._run_tenant(tenant, waits)
                    is_back = True
                except Error as error:  # one tenant's tables may be gone: the others are served all the same
                    trouble = f"{type(error).__name__}{f' (tenant {tenant})' if tenant else ''}"
                    connections.close_all()
        except Error as error:
            trouble = type(error).__name__
            connections.close_all()
        self._note_trouble(trouble, is_back=is_back)
        self._batch.record(time.monotonic() - started, found)
        self._idle_wait = min(waits)
        return found

    def _run_tenant(self, tenant: str, waits: list[float]) -> int:
        """Claim and run once for a tenant; if nothing was found, note how long until a rate limit lets a run start."""
        with tenants.activate(tenant):
            found = api.run_due(self._batch.size, watch=self._on_run, stopping=self._is_to_end, polling=True)
            until_slot = None if found else _seconds_to_next_slot(router.db_for_write(api.Delivery))
        if until_slot is not None:
            waits.append(until_slot)
        return found

    def _note_trouble(self, trouble: str, *, is_back: bool) -> None:
        """Log what went wrong; wait longer and longer while no tenant's database answers."""
        if trouble and not is_back:
            self._outage_wait = min(LONGEST_OUTAGE_WAIT, self._outage_wait * 2 or POLL_SECONDS)
            logger.warning("The database failed: %s. The worker tries again in %s s.", trouble, self._outage_wait)
        elif trouble:
            logger.warning("The work of a tenant failed: %s. It is tried again; other tenants are served.", trouble)
        elif self._outage_wait:
            logger.info("The database works again.")
        if is_back:
            self._outage_wait = 0.0

    def _on_run(self, run: api.Run, outcome: api.Outcome) -> None:
        self._alive_at = time.monotonic()
        if self._watch is not None:
            self._watch(run, outcome)
