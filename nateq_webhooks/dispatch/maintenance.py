"""What workers do now and then: recover what a killed process left half done, continue replays, say that they run."""

import os
import socket
import time
from datetime import timedelta
from typing import Final

from django.utils import timezone

from nateq_webhooks import audit
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.finalize import finalize
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.orphans import unpark
from nateq_webhooks.dispatch.pauses import move_from_hold
from nateq_webhooks.dispatch.progress import save_finished_totals
from nateq_webhooks.dispatch.replays import advance, next_to_advance
from nateq_webhooks.models import Run
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.hourly_count import store_next_hours
from nateq_webhooks.models.unredacted_body import UnredactedBody
from nateq_webhooks.retention import prune

RECOVER_SECONDS: Final = 30.0
"""How often to recover what a process left half done."""

HEARTBEAT_SECONDS: Final = 10.0
"""How often a worker says that it runs."""

FORGOTTEN: Final = timedelta(days=1)
"""A worker whose last heartbeat is older is no longer listed."""

BATCH_SIZE: Final = 1000
"""Runs that are finalized at a time."""

PRUNE_SECONDS: Final = 1.0
"""How long one step of retention takes: no other maintenance waits for it longer."""

PRUNE_INTERVAL: Final = timedelta(minutes=10)
"""How often to look for what is too old, if nothing was left to do."""

PRUNE_PAUSE: Final = timedelta(seconds=5)
"""How long to wait after a step that was not complete."""

KEYS_COUNTED: Final = 50_000
"""Keys of deliveries that are counted at a time for the dashboard: no run waits for it longer than about a second."""


class Maintenance:
    """One worker's maintenance of one database. Raises `django.db.Error` if the database can't be asked."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._recovered_at = self._heartbeat_at = float("-inf")
        self._prune_at = 0.0
        self._started_at = timezone.now()

    def run_once(self) -> int:
        """Do what is due; return how much there was."""
        now = time.monotonic()
        done = 0
        if now - self._recovered_at >= RECOVER_SECONDS:
            self._recovered_at = now
            done += _recover(self._alias)
            store_next_hours(self._alias, KEYS_COUNTED)
        if now >= self._prune_at:
            self._prune()
        for hold in hold_cache.get(self._alias).to_empty():
            done += move_from_hold(self._alias, hold)
        replay = next_to_advance(self._alias)
        if replay is not None and not hold_cache.get(self._alias).is_paused:
            retry_transaction(lambda: advance(self._alias, replay))
            done += 1
        return done

    def _prune(self) -> None:
        """Remove some of what `RETENTION` and `AUDIT_RETENTION` do not keep; the rest is for a later step."""
        with audit.acting(audit.Source.WORKER, ""):
            is_complete = prune(alias=self._alias, seconds=PRUNE_SECONDS).is_complete
        self._prune_at = time.monotonic() + (PRUNE_INTERVAL if is_complete else PRUNE_PAUSE).total_seconds()

    def heartbeat(self) -> None:
        """Say that this worker runs, at most every `HEARTBEAT_SECONDS`."""
        if time.monotonic() - self._heartbeat_at < HEARTBEAT_SECONDS:
            return
        self._heartbeat_at = time.monotonic()
        rows = Heartbeat.objects.using(self._alias)
        now = timezone.now()
        times = {"started_at": self._started_at, "seen_at": now}
        if not retry_transaction(lambda: rows.filter(name=worker_name()).update(**times)):
            retry_transaction(lambda: rows.get_or_create(name=worker_name(), defaults=times))
            retry_transaction(lambda: rows.filter(seen_at__lt=now - FORGOTTEN).delete())


def worker_name() -> str:
    """Return this process's name among the workers: its host and its process id."""
    return f"{socket.gethostname()[:150]}:{os.getpid()}"


def _recover(alias: str) -> int:
    """Recover what is stuck: runs whose receiver is back, runs of resumed holds, queues without a head."""
    save_finished_totals(alias)
    UnredactedBody.objects.using(alias).delete_unneeded()
    recovered = retry_transaction(lambda: unpark(alias))
    while done := order.recover(alias):
        recovered += done
        if done < order.BATCH_SIZE:
            break
    state = hold_cache.get(alias)
    if state.is_paused:
        recovered += _finalize_finished(alias)
    limited = {hold.pk for hold, _rate in state.rate_limited()}
    for hold in state.holds.values():
        if not hold.is_paused and hold.pk not in limited and Run.objects.using(alias).not_finalized(hold.pk).exists():
            while moved := move_from_hold(alias, hold):
                recovered += moved
    return recovered


def _finalize_finished(alias: str) -> int:
    """Finalize runs whose process died before it did: no claim finds them while everything is paused."""
    due = Run.objects.using(alias).due(timezone.now()).finished()
    runs = list(due.only("pk", "delivery_id")[:BATCH_SIZE])
    finalize(alias, runs)
    return len(runs)
