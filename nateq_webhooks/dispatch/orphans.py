"""Runs of receivers that no process knows: renamed, removed, or not deployed here yet.

Their runs are parked, not lost: out of the way of the claim, shown as waiting with the reason, and started as soon as
a receiver of that name is connected again. Or a person reassigns them to another receiver, or drops them.
"""

from collections import Counter
from collections.abc import Iterable

from django.db import transaction
from django.db.models import Count, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks.dispatch.claim import OPEN, PARKED
from nateq_webhooks.dispatch.gates import lanes
from nateq_webhooks.dispatch.settlement import clear, settle
from nateq_webhooks.models import Run
from nateq_webhooks.receivers import registry


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
    parked = _parked(alias).filter(receiver__in=known)
    return parked.update(next_try_at=timezone.now(), error="")


def orphans(alias: str) -> Counter[str]:
    """Return how many runs are parked, by the name of the receiver that is missing."""
    return Counter(dict(_parked(alias).order_by().values_list("receiver").annotate(Count("pk"))))


def reassign(alias: str, old: str, new: str) -> int:
    """Give the open runs of a receiver that is gone to another one; return how many.

    Where the other one has a run of the same delivery and round already, the old one is dropped: once is enough.
    Raises `LookupError` when `new` is not connected.
    """
    if registry.get(new) is None:
        told = _('No receiver called "%(name)s" is connected. Is its module imported in AppConfig.ready()?')
        raise LookupError(told % {"name": new})
    moved = 0
    for run in _open_runs(alias, old):
        with transaction.atomic(using=alias):
            same = Run.objects.using(alias).filter(delivery_id=run.delivery_id, receiver=new, round=run.round)
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


def _parked(alias: str) -> QuerySet[Run]:
    """Return the parked runs, by the end of each lane's part of the index."""
    return Run.objects.using(alias).filter(lane__in=lanes(alias), next_try_at__gte=PARKED)


def _open_runs(alias: str, receiver: str) -> Iterable[Run]:
    runs = _parked(alias).filter(receiver=receiver, lease=None)
    return runs.only("pk", "delivery_id", "round").order_by("pk").iterator(chunk_size=500)


def _settle(alias: str, run: Run) -> None:
    settle(alias, run.delivery_id)
    clear(alias, [run])
