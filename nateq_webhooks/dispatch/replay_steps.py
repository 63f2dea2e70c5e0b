"""Work that is done while somebody waits for it, on a site where no worker does it: a replay, the end of a pause."""

import time
from collections.abc import Iterable
from typing import Final

from django.utils import timezone, translation

from nateq_webhooks.conf import language_code
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.notify import leaves_to_workers, runs_elsewhere, wake_again
from nateq_webhooks.dispatch.progress import Progress, ReplayState
from nateq_webhooks.dispatch.replays import advance_for
from nateq_webhooks.dispatch.status import due_runs, has_workers
from nateq_webhooks.models import Replay, Run
from nateq_webhooks.models.replay import ReplayedRun

SECONDS: Final = 1.0
"""How long one step creates runs, and starts receivers."""

DELIVERIES: Final = 20
"""Deliveries whose runs one step starts, or notifies the runner of."""


def carry_on(alias: str, replay: Replay) -> None:
    """Do the next part of a replay, unless a worker runs, or what it does is paused.

    Creates runs for a moment. Then notifies the runner of some of those that are due: it runs them here (inline, and
    eager tasks), or hands them to other processes; what it was notified of before may have been lost. With
    `DISPATCH = "worker"` they wait for a worker. Call it outside of a transaction.
    """
    if has_workers(alias) or hold_cache.get(alias).is_paused:
        return
    deadline = time.monotonic() + SECONDS
    advance_for(alias, replay, SECONDS)
    if replay.finished_at is not None or replay.is_cancelled:
        _wake_due(alias, replay.pk, deadline)


def start_here(alias: str, replay_pk: int) -> None:
    """Have the receivers of a replay run that somebody has just requested, if the runner runs them in this process.

    Other runners were notified when the replay was committed. Starts receivers for a moment; what is paused, and what
    is left, waits for a worker, and so does all while one runs. Call it outside of a transaction.
    """
    if not runs_elsewhere() and not has_workers(alias) and not hold_cache.get(alias).is_paused:
        _wake_due(alias, replay_pk, time.monotonic() + SECONDS)


def start_due_here(alias: str) -> None:
    """Have receivers run that are due, as `start_here` does: those that a pause held back until now, too."""
    if not runs_elsewhere() and not has_workers(alias):
        due = due_runs(Run.objects.using(alias), timezone.now()).order_by("next_try_at", "pk")
        _wake(alias, due.values_list("delivery_id", flat=True)[:DELIVERIES], time.monotonic() + SECONDS)


def needs_worker(alias: str, found: Progress) -> bool:
    """Return whether nobody runs what is left of a replay: no worker, and with the runner `carry_on` runs nothing.

    False if a worker would not run it either: it is paused, or its receivers are not connected.
    """
    is_being_made = found.state is ReplayState.CREATING and not hold_cache.get(alias).is_paused
    return (is_being_made or found.is_for_workers) and leaves_to_workers() and not has_workers(alias)


def _wake_due(alias: str, replay_pk: int, deadline: float) -> None:
    rows = ReplayedRun.objects.using(alias).filter(replay_id=replay_pk, run__status__in=Run.PENDING)
    due = rows.filter(run__next_try_at__lte=timezone.now()).order_by("run_id")
    _wake(alias, due.values_list("run__delivery_id", flat=True)[:DELIVERIES], deadline)


def _wake(alias: str, deliveries: Iterable[int], deadline: float) -> None:
    """Notify the runner of deliveries, each once, until a moment of `time.monotonic`."""
    with translation.override(language_code()):  # as in a worker, whatever the language of the request
        for pk in dict.fromkeys(deliveries):
            if time.monotonic() >= deadline:
                return
            wake_again(alias, pk)
