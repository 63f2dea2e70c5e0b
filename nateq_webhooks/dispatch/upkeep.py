"""What has to be looked after now and then, by whichever worker is there: what a killed process left half done."""

import functools
import os
import socket
import time
from datetime import timedelta
from typing import Final

from django.utils import timezone

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.claim import FINISHED
from nateq_webhooks.dispatch.gates import LONG_AGO, PORTION, clear_lane, controls
from nateq_webhooks.dispatch.orphans import unpark
from nateq_webhooks.dispatch.progress import note_done
from nateq_webhooks.dispatch.replays import advance, next_to_advance
from nateq_webhooks.dispatch.settlement import clear, settle
from nateq_webhooks.models import Gate, Heartbeat, Run
from nateq_webhooks.models.gate import OPEN_LANE

MEND_SECONDS: Final = 30.0
"""How often to look for what nobody finished."""

BEAT_SECONDS: Final = 10.0
"""How often a worker says that it is there."""

FORGOTTEN: Final = timedelta(days=1)
"""A worker that was not seen for so long is no longer listed."""


class Upkeep:
    """One worker's rounds. Raises `django.db.Error` when the database can't be asked."""

    def __init__(self, alias: str) -> None:
        self._alias = alias
        self._mended_at = self._beat_at = float("-inf")
        self._started_at = timezone.now()

    def round(self) -> int:
        """Do what is due; return how much there was, 0 when all is in order."""
        now = time.monotonic()
        done = 0
        if now - self._mended_at >= MEND_SECONDS:
            self._mended_at = now
            done += _mend(self._alias)
        for gate in controls.get(self._alias).to_clear():
            done += clear_lane(self._alias, gate)
        replay = next_to_advance(self._alias)
        if replay is not None and not controls.get(self._alias).is_paused:
            retry_transaction(lambda: advance(self._alias, replay))
            done += 1
        return done

    def beat(self) -> None:
        """Say that this worker is there, once in a while."""
        if time.monotonic() - self._beat_at < BEAT_SECONDS:
            return
        self._beat_at = time.monotonic()
        beats = Heartbeat.objects.using(self._alias)
        now = timezone.now()
        if not retry_transaction(
            lambda: beats.filter(name=worker_name()).update(seen_at=now, started_at=self._started_at)
        ):
            times = {"started_at": self._started_at, "seen_at": now}
            retry_transaction(lambda: beats.get_or_create(name=worker_name(), defaults=times))
            retry_transaction(lambda: beats.filter(seen_at__lt=now - FORGOTTEN).delete())


def worker_name() -> str:
    """Return this process's name among the workers: its machine and its number there."""
    return f"{socket.gethostname()[:150]}:{os.getpid()}"


def _mend(alias: str) -> int:
    """Find what is stuck: runs whose receiver is back, lanes of open gates, turns that nobody called up."""
    note_done(alias)
    mended = retry_transaction(lambda: unpark(alias))
    while done := order.mend(alias):
        mended += done
        if done < PORTION:
            break
    control = controls.get(alias)
    if control.is_paused:
        mended += _settle_finished(alias)
    limited = {gate.pk for gate, _rate in control.limited()}
    for gate in control.gates.values():
        if gate.paused_at is None and gate.pk not in limited and _has_runs(alias, gate):
            while moved := clear_lane(alias, gate):
                mended += moved
    return mended


def _has_runs(alias: str, gate: Gate) -> bool:
    return Run.objects.using(alias).filter(lane=gate.pk, next_try_at__gte=LONG_AGO).exists()


def _settle_finished(alias: str) -> int:
    """Settle what somebody finished, but did not settle before he died: while everything is paused no claim does."""
    due = Run.objects.using(alias).filter(lane=OPEN_LANE, next_try_at__lte=timezone.now(), status__in=FINISHED)
    runs = list(due.only("pk", "delivery_id")[:PORTION])
    for pk in sorted({run.delivery_id for run in runs}):
        retry_transaction(functools.partial(settle, alias, pk))
    clear(alias, runs)
    return len(runs)
