"""Runs that failed, for now or for good, grouped by receiver and exception: one line for four thousand equal ones.

Through the indexes that dispatch has, and never more rows than `MAX_LOOKED_AT`: the newest of each receiver.
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Left

from nateq_webhooks.dispatch import PARKED
from nateq_webhooks.models import Run
from nateq_webhooks.models.gate import OPEN_LANE

MAX_LOOKED_AT: Final = 5_000
"""Runs that are grouped, those that were given up and those to be tried again each."""

MAX_RECEIVERS: Final = 50
"""Receivers with runs that were given up, of which so many are asked for."""

MAX_GROUPS: Final = 20
"""Groups that are shown, the largest first."""

ERROR_CHARS: Final = 160
"""Characters of an error that are looked at and shown."""

_CLASS: Final = re.compile(r"([A-Za-z_][\w.<>]*): ?")
"""How the error of a run begins: dispatch writes the exception's class before its text."""

_PARTICULAR: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b\w*\d[\w-]*")
"""What differs between failures that are alike: quoted text, numbers, ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Runs of one receiver that failed alike."""

    receiver: str
    status: str
    "`dead` or `failed`."
    exception: str
    "The name of the exception's class; empty when none was raised: the worker died."
    error: str
    "The newest error, for those who may see what customers wrote; else empty."
    number: int
    newest: datetime | None
    "When the newest try ended."


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """The groups, the largest first, and whether there is more than they tell."""

    groups: tuple[Failure, ...]
    is_capped: bool
    "More runs have failed than were looked at."
    more_groups: int
    "How many groups are not among these."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Failed:
    receiver: str
    status: str
    error: str
    finished_at: datetime | None


def failures(*, with_text: bool) -> Failures:
    """Group the runs that need somebody; without `with_text` by the exception's class only, telling no more of it."""
    given_up, is_capped = _given_up()
    to_retry, more_to_retry = _to_retry()
    groups = _grouped([*given_up, *to_retry], with_text=with_text)
    return Failures(
        groups=tuple(groups[:MAX_GROUPS]),
        is_capped=is_capped or more_to_retry,
        more_groups=max(0, len(groups) - MAX_GROUPS),
    )


def _given_up() -> tuple[list[_Failed], bool]:
    """Return the newest runs that were given up, each receiver's share of them, and whether there are more.

    A run counts as long as no later run of the same delivery and receiver stands in its place. That is asked of the
    rows found, not of the table: else the database could look through all that was ever mended.
    """
    receivers = list(_receivers_with_dead())
    share = MAX_LOOKED_AT // max(1, len(receivers))
    later = Run.objects.filter(
        delivery_id=OuterRef("delivery_id"), receiver=OuterRef("receiver"), round__gt=OuterRef("round")
    )
    found: list[_Failed] = []
    is_capped = len(receivers) == MAX_RECEIVERS
    for receiver in receivers:
        # Ordered as the index is, and with no equality: so it is read from its end, and only as far as needed.
        dead = Run.objects.filter(status=Run.Status.DEAD, receiver__lte=receiver).order_by("-receiver", "-pk")
        rows = list(_columns(dead.annotate(is_replaced=Exists(later)), "is_replaced")[:share])
        found += [
            _Failed(receiver=receiver, status=Run.Status.DEAD, error=error, finished_at=finished_at)
            for name, _, error, finished_at, is_replaced in rows
            if name == receiver and not is_replaced
        ]
        is_capped = is_capped or (len(rows) == share and rows[-1][0] == receiver)
    return found, is_capped


def _receivers_with_dead() -> Iterator[str]:
    """Yield the names from the index, each with one look-up."""
    dead = Run.objects.filter(status=Run.Status.DEAD).order_by("receiver").values_list("receiver", flat=True)
    name = dead.first()
    for _number in range(MAX_RECEIVERS):
        if name is None:
            return
        yield name
        name = dead.filter(receiver__gt=name).first()


def _to_retry() -> tuple[list[_Failed], bool]:
    """Return the runs that failed and are to be tried again, the latest first: a backlog of others comes after them."""
    waiting = Run.objects.filter(lane=OPEN_LANE, next_try_at__lt=PARKED).order_by("-next_try_at")
    rows = list(_columns(waiting)[:MAX_LOOKED_AT])
    found = [
        _Failed(receiver=receiver, status=status, error=error, finished_at=finished_at)
        for receiver, status, error, finished_at in rows
        if status == Run.Status.FAILED
    ]
    return found, len(rows) == MAX_LOOKED_AT


def _columns(runs: QuerySet[Run], *more: str) -> QuerySet[Run, tuple[Any, ...]]:
    beginning = runs.annotate(beginning=Left("error", ERROR_CHARS))
    return beginning.values_list("receiver", "status", "beginning", "finished_at", *more)


def _grouped(runs: Iterable[_Failed], *, with_text: bool) -> list[Failure]:
    """Group runs, each group's newest first among them, by what their failures have in common."""
    alike: dict[tuple[str, str, str, str], list[_Failed]] = {}
    for run in runs:
        found = _CLASS.match(run.error)
        exception = found[1] if found else ""
        text = _common(run.error) if with_text else ""
        alike.setdefault((run.receiver, run.status, exception, text), []).append(run)
    groups = [
        Failure(
            receiver=receiver,
            status=status,
            exception=exception,
            error=runs[0].error if with_text else "",
            number=len(runs),
            newest=max((run.finished_at for run in runs if run.finished_at is not None), default=None),
        )
        for (receiver, status, exception, _text), runs in alike.items()
    ]
    return sorted(groups, key=lambda group: -group.number)


@functools.lru_cache(maxsize=1024)
def _common(error: str) -> str:
    """Return an error without what is particular to one delivery."""
    return _PARTICULAR.sub("#", error)
