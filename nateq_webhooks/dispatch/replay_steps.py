"""A replay that goes on while somebody waits for it, on a site where no worker does that."""

import time
from typing import Final

from django.utils import timezone, translation

from nateq_webhooks.conf import language_code
from nateq_webhooks.dispatch.api import run_delivery
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.notify import notify, runner, runs_in_request
from nateq_webhooks.dispatch.replays import advance_for
from nateq_webhooks.dispatch.status import has_workers
from nateq_webhooks.models import Replay, Run
from nateq_webhooks.models.replay import ReplayedRun

SECONDS: Final = 1.0
"""How long one step creates runs, and starts receivers."""

DELIVERIES: Final = 20
"""Deliveries whose runs one step starts, or notifies the runner of."""


def carry_on(alias: str, replay: Replay) -> None:
    """Do the next part of a replay, unless a worker runs, or what it does is paused.

    Creates runs for a moment. Then has some of those that are due run: here with `DISPATCH = "inline"`, otherwise by
    the runner, if it hands work to other processes; the ones that it was notified of before may have been lost. With
    `DISPATCH = "worker"` they wait for a worker. Call it outside of a transaction.
    """
    if has_workers(alias) or hold_cache.get(alias).is_paused:
        return
    deadline = time.monotonic() + SECONDS
    advance_for(alias, replay, SECONDS)
    if replay.finished_at is None and not replay.is_cancelled:
        return
    pks = _due_deliveries(alias, replay)
    if not runs_in_request():
        notify(alias, pks)
        return
    with translation.override(language_code()):  # as in a worker, whatever the language of the request
        for pk in pks:
            if time.monotonic() >= deadline:
                return
            run_delivery(pk, alias=alias)


def is_carried_on() -> bool:
    """Return whether `carry_on` has runs executed, too: with the configured runner somebody does that."""
    return runs_in_request() or bool(getattr(runner(), "runs_elsewhere", False))


def _due_deliveries(alias: str, replay: Replay) -> list[int]:
    rows = ReplayedRun.objects.using(alias).filter(replay=replay, run__status__in=Run.PENDING)
    due = rows.filter(run__next_try_at__lte=timezone.now()).order_by("run_id")
    return list(dict.fromkeys(due.values_list("run__delivery_id", flat=True)[:DELIVERIES]))
