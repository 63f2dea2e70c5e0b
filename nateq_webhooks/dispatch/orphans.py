"""Runs of receivers that no process knows: renamed, removed, or not deployed here yet.

They are parked, not lost: out of the way of the claim, shown as waiting with the reason, and started as soon as a
receiver of that name is connected again. Or a person reassigns them to another receiver, or drops them.
"""

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Final

from django.db import transaction
from django.db.models import Count, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from nateq_webhooks import audit
from nateq_webhooks.dispatch.finalize import finalize
from nateq_webhooks.dispatch.selection import did_you_mean
from nateq_webhooks.dispatch.status import parked_runs
from nateq_webhooks.dispatch.unfinished_runs import lock_deliveries
from nateq_webhooks.models import Run
from nateq_webhooks.receivers import registry

BATCH_SIZE: Final = 500
"""Runs that are read at a time."""


def unpark(alias: str) -> int:
    """Make parked runs due whose receiver is connected in this process; return how many."""
    known = {receiver.name for receiver in registry}
    return parked_runs(Run.objects.using(alias)).filter(receiver__in=known).unpark(timezone.now())


def orphans(alias: str) -> Counter[str]:
    """Return how many runs are parked, by the name of the receiver that is missing."""
    return Counter(dict(parked_runs(Run.objects.using(alias)).order_by().values_list("receiver").annotate(Count("pk"))))


def reassign(alias: str, old: str, new: str) -> int:
    """Give the open runs of a receiver that is gone to another one; return how many.

    Where the other one has a run of the same delivery and round already, or one that is unfinished, the old one is
    dropped: once is enough. Raises `LookupError` when `new` is not connected.
    """
    if registry.get(new) is None:
        text = _('No receiver called "%(name)s" is connected. Is its module imported in AppConfig.ready()?')
        raise LookupError(text % {"name": new} + did_you_mean(new, {receiver.name for receiver in registry}))
    _record(alias, audit.Action.REASSIGNED, old, reassigned_to=new)
    moved = 0
    for run in _parked_runs(alias, old):
        with transaction.atomic(using=alias):
            lock_deliveries(alias, [run.delivery_id])  # a replay would else add a run beside the one that is moved
            of_other = Run.objects.using(alias).filter(delivery_id=run.delivery_id, receiver=new)
            same = of_other.filter(Q(round=run.round) | Q(status__in=Run.UNFINISHED))
            row = Run.objects.using(alias).filter(pk=run.pk)
            if same.exists():
                row.drop(f'"{new}" has run for this delivery already.', finished_at=None)
            else:
                moved += row.unfinished().filter(lease=None).update(receiver=new, next_try_at=timezone.now(), error="")
        finalize(alias, [run])
    return moved


def drop(alias: str, receiver: str, *, limit: int | None = None) -> int:
    """Decide that the open runs of a receiver shall not run; return how many. They stay readable.

    `limit` is how many at most, the oldest first; None: all.
    """
    _record(alias, audit.Action.DROPPED, receiver, limit=limit)
    dropped = 0
    for run in itertools.islice(_parked_runs(alias, receiver), limit):
        row = Run.objects.using(alias).filter(pk=run.pk)
        dropped += row.drop("Dropped by a person.", finished_at=timezone.now())
        finalize(alias, [run])
    return dropped


def _record(alias: str, action: audit.Action, receiver: str, **details: object) -> None:
    """Store the audit log's entry with the number of parked runs, before the first one: each is a transaction."""
    runs = parked_runs(Run.objects.using(alias)).filter(receiver=receiver, lease=None).count()
    if runs:
        audit.record(action, target=receiver, details={"runs": runs, **details}, using=alias)


def _parked_runs(alias: str, receiver: str) -> Iterator[Run]:
    """Yield the parked runs of a receiver in batches: a cursor on the server would not outlive a transaction."""
    parked = parked_runs(Run.objects.using(alias)).filter(receiver=receiver, lease=None)
    runs = parked.only("pk", "delivery_id", "round").order_by("pk")
    after = 0
    while batch := list(runs.filter(pk__gt=after)[:BATCH_SIZE]):
        yield from batch
        after = batch[-1].pk
