"""Runs of receivers that no process knows: renamed, removed, or not deployed here yet.

Their runs are parked, not lost: out of the way of the claim, shown as waiting with the reason, and started as soon as
a receiver of that name is connected again. Or a person reassigns them to another receiver, or drops them.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.dispatch.backlog import parked_runs
from nateq_webhooks.dispatch.claim import OPEN, PARKED
from nateq_webhooks.dispatch.pending import lock_deliveries
from nateq_webhooks.dispatch.selection import did_you_mean
from nateq_webhooks.dispatch.settlement import clear, settle
from nateq_webhooks.models import Run
from nateq_webhooks.receivers import registry

PORTION: Final = 500
"""Runs that are read at a time."""


def park(alias: str, run: Run) -> None:
    """Put a claimed run aside whose receiver is not connected in this process; the claim does not count as a try."""
    mine = Run.objects.using(alias).filter(pk=run.pk, lease=run.lease, status=Run.Status.RUNNING)
    mine.update(
        status=Run.Status.WAITING,
        tries=run.tries,
        started_at=run.started_at,
        next_try_at=PARKED,
        lease=None,
        error=f'No receiver called "{run.receiver}" is connected.',
    )


def unpark(alias: str) -> int:
    """Start parked runs whose receiver is connected in this process; return how many."""
    known = {receiver.name for receiver in registry}
    parked = parked_runs(Run.objects.using(alias)).filter(receiver__in=known)
    return parked.update(next_try_at=timezone.now(), error="")


def orphans(alias: str) -> Counter[str]:
    """Return how many runs are parked, by the name of the receiver that is missing."""
    return Counter(dict(parked_runs(Run.objects.using(alias)).order_by().values_list("receiver").annotate(Count("pk"))))


def reassign(alias: str, old: str, new: str) -> int:
    """Give the open runs of a receiver that is gone to another one; return how many.

    Where the other one has a run of the same delivery and round already, or one that is unfinished, the old one is
    dropped: once is enough. Raises `LookupError` when `new` is not connected.
    """
    if registry.get(new) is None:
        told = _('No receiver called "%(name)s" is connected. Is its module imported in AppConfig.ready()?')
        raise LookupError(told % {"name": new} + did_you_mean(new, {receiver.name for receiver in registry}))
    moved = 0
    for run in _open_runs(alias, old):
        with transaction.atomic(using=alias):
            lock_deliveries(alias, [run.delivery_id])  # a replay would else add a run beside the one that is moved
            of_other = Run.objects.using(alias).filter(delivery_id=run.delivery_id, receiver=new)
            same = of_other.filter(Q(round=run.round) | Q(status__in=OPEN))
            mine = Run.objects.using(alias).filter(pk=run.pk, status__in=OPEN, lease=None)
            if same.exists():
                mine.update(status=Run.Status.DROPPED, error=f'"{new}" has run for this delivery already.')
            else:
                moved += mine.update(receiver=new, next_try_at=timezone.now(), error="")
        _settle(alias, run)
    return moved


def drop(alias: str, receiver: str) -> int:
    """Decide that the open runs of a receiver shall not run; return how many. They stay readable."""
    dropped = 0
    for run in _open_runs(alias, receiver):
        mine = Run.objects.using(alias).filter(pk=run.pk, status__in=OPEN, lease=None)
        dropped += mine.update(status=Run.Status.DROPPED, finished_at=timezone.now(), error="Dropped by a person.")
        _settle(alias, run)
    return dropped


def _open_runs(alias: str, receiver: str) -> Iterator[Run]:
    """Yield the parked runs of a receiver in portions: a cursor on the server would not outlive a transaction."""
    runs = (
        parked_runs(Run.objects.using(alias))
        .filter(receiver=receiver, lease=None)
        .only("pk", "delivery_id", "round")
        .order_by("pk")
    )
    after = 0
    while portion := list(runs.filter(pk__gt=after)[:PORTION]):
        yield from portion
        after = portion[-1].pk


def _settle(alias: str, run: Run) -> None:
    settle(alias, run.delivery_id)
    clear(alias, [run])
