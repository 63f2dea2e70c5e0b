"""Making runs: one per receiver of a delivery, each in the lane where it belongs.

A run that may start is made in the claim's hands; one behind a closed gate, a rate limit or an earlier delivery of its
key is made waiting.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch import order
from nateq_webhooks.dispatch.claim import MOMENT
from nateq_webhooks.dispatch.gates import Control
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE, TURN_LANE

Wanted = Iterable[tuple[Delivery, Sequence[str]]]
"""Deliveries, and the names of the receivers that are to run for each."""


@dataclass(frozen=True, slots=True)
class Made:
    """The runs that were made: those in the claim's hands and those that wait; the keys of which some have turns.

    `started` is the one of those in the claim's hands that is marked as started, and whose try is counted.
    """

    held: Sequence[Run]
    started: Run | None
    waiting: Sequence[Run]
    keys: frozenset[str]


def make_runs(
    alias: str,
    wanted: Wanted,
    control: Control,
    *,
    now: datetime,
    lease: uuid.UUID | None = None,
    only: int | None = None,
    starts: bool = True,
    round_: int = 0,
) -> Made:
    """Make runs, inside the caller's transaction. Those of the claim's hands are of `only` that delivery, if given.

    Without a `lease` they all wait for somebody to claim them, in the order their deliveries came, or of a replay. With
    `starts` the first of those in the claim's hands is marked as started.
    """
    runs: list[Run] = []
    starts = starts and lease is not None
    for delivery, names in wanted:
        value = order.key_of(delivery) if names else None
        for name in names:
            due_at = now if round_ else delivery.received_at
            lane = TURN_LANE if value is not None else control.lane(delivery.webhook_id, name)
            is_held = lane == OPEN_LANE and lease is not None and only in (None, delivery.pk)
            is_started = is_held and starts
            starts = starts and not is_started
            run = Run(
                delivery=delivery,
                receiver=name,
                round=round_,
                lane=lane,
                status=Run.Status.RUNNING if is_held else Run.Status.WAITING,
                tries=int(is_started),
                created_at=now + len(runs) * MOMENT,
                started_at=now if is_started else None,
                next_try_at=now + settings().run_lease if is_held else due_at + len(runs) * MOMENT,
                lease=lease if is_held else None,
            )
            runs.append(run)
    saved = _saved(alias, Run.objects.using(alias).bulk_create(runs), round_)
    in_line = [run for run in saved if run.lane == TURN_LANE]
    keys = order.line_up(alias, in_line) if in_line else set()
    started = next((run for run in saved if run.started_at is not None), None)
    if started is not None:  # in memory a run is as it was before the try
        started.tries, started.started_at = 0, None
    return Made(
        held=[run for run in saved if run.status == Run.Status.RUNNING],
        started=started,
        waiting=[run for run in saved if run.status != Run.Status.RUNNING],
        keys=frozenset(keys),
    )


def _saved(alias: str, made: Sequence[Run], round_: int) -> Sequence[Run]:
    """Return the runs with their keys: MySQL proper returns none."""
    if all(run.pk is not None for run in made):
        return made
    deliveries = {run.delivery_id: run.delivery for run in made}
    saved = list(Run.objects.using(alias).filter(delivery_id__in=deliveries, round=round_).order_by("pk"))
    for run in saved:
        run.delivery = deliveries[run.delivery_id]
    return saved
