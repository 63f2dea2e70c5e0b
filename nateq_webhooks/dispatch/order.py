"""Order: a webhook's deliveries of one key run one at a time, in the order they came, for each receiver (`ORDERED_BY`).

Each unfinished run of a key has a turn. One is up, which a unique column guarantees; the others wait in a lane of their
own. A run that finishes gives its turn up before it leaves the index of what is due, so that a process that dies in
between leaves it to be found again. Runs are made under a lock, so that an earlier delivery's turn is there first.
"""

import functools
import hashlib
import logging
import uuid
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from django.db import Error, IntegrityError, connections, models, transaction
from django.db.models import Exists, OuterRef
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.gates import PORTION, controls, gate_of
from nateq_webhooks.models import Delivery, Gate, Run, Turn
from nateq_webhooks.models.gate import OPEN_LANE, TURN_LANE
from nateq_webhooks.protocol.envelope import value_at

logger: Final = logging.getLogger("nateq_webhooks")

LOCK_SCOPE: Final = "order"
"""The scope of the gate whose row is the lock; it stands before nothing."""

ENDED: Final = (Run.Status.SUCCEEDED, Run.Status.DROPPED)
"""Runs that give their turn up, whatever `ORDER_ON_DEAD` says."""


def key_of(delivery: Delivery) -> str | None:
    """Return what orders the delivery, as text; None when nothing does."""
    path = settings().ordered_by
    return value_at(delivery.body, path) if path else None


def turn_key(webhook_id: uuid.UUID, receiver: str, value: str) -> str:
    """Return the key of a receiver's turns for one value of one webhook: no sender stops another one's.

    The migration 0008 makes the keys of earlier versions, which had no webhook, into such.
    """
    inner = hashlib.sha256(f"{receiver}\0{value}".encode("utf-8", "surrogatepass")).hexdigest()
    return hashlib.sha256(f"{webhook_id}\0{inner}".encode()).hexdigest()


@contextmanager
def lock(alias: str) -> Iterator[None]:
    """Make runs alone, in a transaction: whoever comes next sees every turn that was given out before."""
    pk = gate_of(alias, LOCK_SCOPE).pk
    row = Gate.objects.using(alias).filter(pk=pk)
    with transaction.atomic(using=alias):
        if connections[alias].features.has_select_for_update:
            row.select_for_update().get()
        else:
            row.update(failures=0)  # SQLite: a write takes the lock
        yield


def line_up(alias: str, runs: Sequence[Run]) -> set[str]:
    """Give saved runs their turns, inside the caller's transaction; return the keys, for `call_up` after its commit.

    A run that was given up and still stops its key makes room for one of the same delivery: its replay.
    """
    values = {delivery.pk: key_of(delivery) or "" for delivery in {run.delivery for run in runs}}
    turns = [
        Turn(
            run=run,
            key=turn_key(run.delivery.webhook_id, run.receiver, values[run.delivery_id]),
            position=run.delivery_id,
        )
        for run in runs
    ]
    replayed = [turn for turn in turns if turn.run.is_replay]
    for turn in replayed:
        Turn.objects.using(alias).filter(key=turn.key, position=turn.position, run__status=Run.Status.DEAD).delete()
    Turn.objects.using(alias).bulk_create(turns)
    return {turn.key for turn in turns}


def call_up(alias: str, keys: Iterable[str]) -> list[int]:
    """Let the first in line of each key run, where none is up; return the deliveries that may now run.

    Never raises: what the caller has claimed must be run, and `mend` calls up what could not be called up now.
    """
    deliveries = []
    for key in sorted(keys):
        try:
            delivery = retry_transaction(functools.partial(_call_up, alias, key))
        except Error as error:
            logger.warning("The next in line is called up later: %s", type(error).__name__)
            break
        if delivery is not None:
            deliveries.append(delivery)
    return deliveries


def _call_up(alias: str, key: str) -> int | None:
    turns = Turn.objects.using(alias)
    if turns.filter(up=key).exists():
        return None
    first = turns.filter(key=key).select_related("run").order_by("position", "run_id").first()
    if first is None:
        return None
    webhook_id = Delivery.objects.using(alias).filter(pk=first.position).values_list("webhook_id", flat=True).first()
    lane = controls.get(alias).lane(webhook_id, first.run.receiver)
    try:
        with transaction.atomic(using=alias):
            if not turns.filter(pk=first.pk, up__isnull=True).update(up=key):
                return None
            waiting = Run.objects.using(alias).filter(pk=first.pk, lane=TURN_LANE)
            waiting.update(lane=lane, next_try_at=timezone.now())
    except IntegrityError:  # another one is up by now
        return None
    return first.position


def give_up_turns(alias: str, runs: Collection[Run]) -> list[int]:
    """Let go of the turns of finished runs, and call up those behind; return the deliveries that may now run."""
    if not settings().ordered_by or not runs:
        return []
    turns = _over(alias).filter(run__in=[run.pk for run in runs])
    return call_up(alias, _give_up(alias, list(turns.values_list("run_id", "key"))))


def _give_up(alias: str, over: Collection[tuple[int, str]]) -> set[str]:
    """Let go of turns, by their runs' keys; return the keys of the lines they stood in."""
    pks = [pk for pk, _key in over]
    if pks:
        retry_transaction(lambda: Turn.objects.using(alias).filter(pk__in=pks).delete())
    return {key for _pk, key in over}


def mend(alias: str) -> int:
    """Call up a portion of what nobody called up; return how many.

    The process that was to do it died, or `ORDER_ON_DEAD` or `ORDERED_BY` was changed.
    """
    if not settings().ordered_by:
        return _disband(alias)
    up = _over(alias).filter(up__isnull=False)
    over = _give_up(alias, list(up.values_list("pk", "key")[:PORTION]))
    ups = Turn.objects.using(alias).filter(up=OuterRef("key"))
    stuck = Turn.objects.using(alias).filter(~Exists(ups)).values_list("key", flat=True)[:PORTION]
    return len(call_up(alias, over | set(stuck)))


def _over(alias: str) -> models.QuerySet[Turn]:
    """Return the turns of runs that are finished, and do not stop those behind them."""
    ended = [*ENDED, Run.Status.DEAD] if settings().order_on_dead == "skip" else list(ENDED)
    return Turn.objects.using(alias).filter(run__status__in=ended)


def _disband(alias: str) -> int:
    """Let everything run that waits for its turn: nothing is ordered any more. Return how many."""
    pks = list(Turn.objects.using(alias).values_list("pk", flat=True)[:PORTION])
    if not pks:
        return 0
    with transaction.atomic(using=alias):
        Run.objects.using(alias).filter(pk__in=pks, lane=TURN_LANE).update(lane=OPEN_LANE)
        Turn.objects.using(alias).filter(pk__in=pks).delete()
    return len(pks)
