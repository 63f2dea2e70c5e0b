"""What a replay does about runs that are there already: a pending one is brought forward, never doubled.

A run is pending while it is waiting, or failed and to be tried again. All of it is decided under the deliveries' row
locks, inside the caller's transaction, so that two replays at once find each other's runs. A claim takes no lock on a
delivery: that a run is still pending is decided under the run's own row lock.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import connections
from django.db.models import F, Max

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.claim import DUE_STEP
from nateq_webhooks.dispatch.create import create_runs, event_name
from nateq_webhooks.dispatch.holds import HoldState
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import HELD_BY_ORDER
from nateq_webhooks.receivers import registry

AT_A_TIME: Final = 100
"""Rows in one statement that gives each its own value, and deliveries that are read with their bodies."""

Pair = tuple[int, str]
"""A delivery's key and a receiver's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRuns:
    """The unfinished runs of some deliveries, by delivery and receiver: those that have started, and pending ones."""

    running: frozenset[Pair]
    pending: dict[Pair, Run] = field(default_factory=dict)
    "The latest round of each; none where a run has started."


def lock_deliveries(alias: str, pks: Sequence[int]) -> dict[int, datetime | None]:
    """Lock deliveries; return the `dispatch_at` of those that are still there.

    Rows that refer to a delivery can still be added where the database has such a lock: the sender may repeat it.
    """
    rows = Delivery.objects.using(alias).filter(pk__in=pks).order_by("pk")
    features = connections[alias].features
    if features.has_select_for_update:
        rows = rows.select_for_update(no_key=features.has_select_for_no_key_update)
    else:
        # SQLite: any write takes the one lock there is.
        Delivery.objects.using(alias).filter(pk__in=pks[:1]).update(status=F("status"))
    return dict(rows.values_list("pk", "dispatch_at"))


def create_first_runs(alias: str, deliveries: Sequence[Delivery], state: HoldState, now: datetime) -> frozenset[str]:
    """Create the first runs of locked deliveries that no process has dispatched; return the keys of their queues.

    Otherwise a replay would add runs beside those that a worker creates a moment later. They wait to be claimed.
    """
    wanted = [(one, [receiver.name for receiver in registry.for_event(event_name(one))]) for one in deliveries]
    wanted = [(delivery, names) for delivery, names in wanted if names]
    rows = Delivery.objects.using(alias).filter(pk__in=[delivery.pk for delivery, _names in wanted])
    rows.update(dispatch_at=None)
    return create_runs(alias, wanted, state, now=now).keys


def undispatched_before(alias: str, pks: Sequence[int]) -> Iterator[list[Delivery]]:
    """Yield all deliveries without runs, oldest first, up to the last one of `pks` that has none.

    For `ORDERED_BY`, under its lock: an earlier delivery must be in the queue before a later one.
    """
    rows = Delivery.objects.using(alias).filter(dispatch_at__isnull=False)
    last = rows.filter(pk__in=pks).aggregate(last=Max("pk"))["last"]
    after = 0
    while last is not None and after < last:
        chunk = rows.filter(pk__gt=after, pk__lte=last).order_by("pk").defer("payload", "headers")[:AT_A_TIME]
        if not (found := list(chunk)):
            return
        yield found
        after = found[-1].pk


def open_runs(alias: str, pks: Sequence[int], names: Sequence[str]) -> OpenRuns:
    """Return the unfinished runs of locked deliveries by these receivers; the rows stay locked."""
    runs = Run.objects.using(alias).filter(delivery_id__in=pks, receiver__in=names, status__in=Run.UNFINISHED)
    if connections[alias].features.has_select_for_update:
        runs = runs.select_for_update()  # a claim that is under way is waited for: it commits at once
    found = list(runs.defer("error", "traceback").order_by("pk"))
    running = frozenset(_pair(run) for run in found if run.status == Run.Status.RUNNING)
    latest = {_pair(run): run for run in sorted(found, key=lambda run: run.round)}
    return OpenRuns(running=running, pending={pair: run for pair, run in latest.items() if pair not in running})


def pending_pairs(alias: str, pks: Sequence[int]) -> frozenset[Pair]:
    """Return the deliveries and receivers with a run that has not started, or waits for its next try."""
    runs = Run.objects.using(alias).filter(delivery_id__in=pks, status__in=Run.PENDING).order_by()
    return frozenset(runs.values_list("delivery_id", "receiver"))


def bring_forward(alias: str, runs: Sequence[Run], now: datetime) -> None:
    """Make pending runs due now: the same run, with its tries and its `idempotency_key`.

    A run that is due already keeps its place. What holds a run back (a pause, a limit, an earlier delivery) still does.
    A parked run whose receiver is connected again is no longer parked.
    """
    late = [
        run for run in runs if run.held_by != HELD_BY_ORDER and run.next_try_at is not None and run.next_try_at > now
    ]
    parked = [run.pk for run in late if run.is_parked]
    for number, run in enumerate(sorted(late, key=lambda run: (run.delivery_id, run.pk))):
        run.next_try_at = now + number * DUE_STEP
    pending = Run.objects.using(alias).filter(status__in=Run.PENDING)
    if late:
        pending.bulk_update(late, ["next_try_at"], batch_size=AT_A_TIME)
    if parked:
        pending.filter(pk__in=parked).update(error="")


def with_failing(alias: str, pks: Sequence[int]) -> set[int]:
    """Return those of the deliveries that have a receiver whose latest run is to be tried again."""
    failing = Run.objects.using(alias).filter(delivery_id__in=pks, status=Run.Status.FAILED).latest_rounds()
    return set(failing.values_list("delivery_id", flat=True))


def is_ordered() -> bool:
    """Return whether deliveries run in the order they came (`ORDERED_BY`)."""
    return bool(settings().ordered_by)


def _pair(run: Run) -> Pair:
    return run.delivery_id, run.receiver
