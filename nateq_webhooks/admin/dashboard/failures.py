"""Failed runs, grouped by receiver and exception: one line for thousands that are alike.

They are found through the indexes of dispatch, a limited number of rows: the newest ones of each receiver.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db import connections
from django.db.models import QuerySet
from django.db.models.functions import Left

from nateq_webhooks.admin.dashboard.acknowledgements import GroupSize, acknowledgements, has_grown
from nateq_webhooks.admin.permissions import ALL_ROWS, RowScope
from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.holds import read_holds
from nateq_webhooks.models import Run
from nateq_webhooks.models.failure_acknowledgement import FailureAcknowledgement
from nateq_webhooks.models.redaction import text_masks
from nateq_webhooks.models.run import NOT_PARKED, has_later_round

MAX_RUNS_READ: Final = 10_000
"""Runs that are grouped for one receiver: so many that were given up, and so many that will be tried again."""

MAX_RUNS_OF_ALL: Final = 2_000
"""The same for the lines of all receivers together, which the dashboard shows each time it is loaded."""

MAX_RECEIVERS: Final = 50
"""Receivers whose runs of one status are read."""

MAX_HOLDS: Final = 20
"""Pauses and rate limits whose runs are read."""

MAX_GROUPS: Final = 20
"""Groups that are returned, the largest ones."""

ERROR_CHARS: Final = 160
"""Characters of an error that are read and shown."""

_CLASS: Final = re.compile(r"([A-Za-z_][\w.<>]*): ?")
"""The beginning of a run's error: dispatch writes the exception's class before its text."""

_NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))

_PARTICULAR: Final = re.compile(r"'[^']*'|\"[^\"]*\"|\b\w*\d[\w-]*")
"""What may differ between failures of one group: quoted text, numbers, ids."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """Runs of one receiver that failed alike."""

    receiver: str
    status: str
    "`dead` or `failed`."
    exception: str
    "The name of the exception's class; empty if none was raised: the worker died."
    error: str
    "The newest error, for users who may see payloads; otherwise empty."
    number: int
    is_capped: bool
    "Whether more runs of this receiver and status have failed than were read: there may be more like these."
    newest: datetime | None
    "When the newest try ended."
    key: str
    "Identifies the group in an address."
    runs: tuple[int, ...]
    "The keys of the runs."
    sizes: tuple[GroupSize, ...]
    "The group as it is acknowledged: for users who may not see payloads it has several, which they don't tell apart."


@dataclass(frozen=True, kw_only=True, slots=True)
class Failures:
    """The groups, the largest first, and what is left out."""

    groups: tuple[Failure, ...]
    is_capped: bool
    "Whether more runs have failed than were read."
    more_groups: int
    "How many groups are not among these."
    acknowledged: tuple[FailureAcknowledgement, ...] = ()
    "The acknowledgements of the groups that are left out, the latest first."


_Failed = tuple[str, str, str, datetime | None, int]
"""Receiver, status, the error's beginning, the end of the last try, the run's key: too many for objects."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Read:
    """The runs of one status that were read."""

    runs: Sequence[_Failed]
    capped: frozenset[str]
    "The receivers that have more of them."
    is_capped: bool
    "Whether there may be more, of any receiver."


_Kind = tuple[str, str, str, str]
"""Receiver, status, the exception's class, the error without what is particular to a run."""


def failures(
    *, with_text: bool, among: RowScope = ALL_ROWS, receiver: str | None = None, limit: int | None = None
) -> Failures:
    """Group the failed runs that the user may see: of all receivers, or of one.

    Without `with_text` they are grouped by the exception's class only, and errors are left out. `limit` is how many
    runs of each status are read; by default `MAX_RUNS_READ`.
    """
    limit = limit or MAX_RUNS_READ
    rows = among.of(Run).order_by().select_related(None)
    read = [_given_up(rows, receiver, limit)]
    read.append(_to_retry(rows, limit) if receiver is None else _to_retry_of(rows, receiver, limit))
    groups, acknowledged = _grouped(read, with_text=with_text)
    return Failures(
        groups=tuple(_masked(rows.db, groups[:MAX_GROUPS]) if with_text else groups[:MAX_GROUPS]),
        is_capped=any(each.is_capped for each in read),
        more_groups=max(0, len(groups) - MAX_GROUPS),
        acknowledged=tuple(sorted(acknowledged, key=lambda each: each.at, reverse=True)),
    )


def _masked(alias: str, groups: Sequence[Failure]) -> list[Failure]:
    """Return the groups with errors as they may be shown (`REDACT`)."""
    newest = {group.runs[0] for group in groups} if settings().redaction else ()
    runs = Run.objects.using(alias).filter(pk__in=newest).values_list("pk", "delivery_id") if newest else ()
    delivery_of = dict(runs)
    masks = text_masks(alias, set(delivery_of.values()))
    return [
        replace(group, error=masks[delivery_of[group.runs[0]]].masked(group.error))
        if group.runs[0] in delivery_of
        else group
        for group in groups
    ]


def find_group(key: str, *, with_text: bool, among: RowScope, receiver: str | None = None) -> Failure | None:
    """Return a group of failures by its key; None if there is none, or not any more, or it is acknowledged."""
    found = failures(with_text=with_text, among=among, receiver=receiver).groups
    return next((each for each in found if each.key == key), None)


def _given_up(rows: QuerySet[Run], receiver: str | None, limit: int) -> _Read:
    """Return the newest runs that were given up, each receiver's quota of them.

    A run that a later run of the same delivery and receiver replaced does not count. That is checked for the rows that
    were found: as a filter it could make the database read all runs that were ever replayed.
    """
    receivers = receivers_with(rows, Run.Status.DEAD) if receiver is None else [receiver]
    numbers = {receiver: _number_of_dead(rows, receiver, limit) for receiver in receivers}
    found: list[_Failed] = []
    quotas = _quotas(numbers, limit)
    for receiver, quota in quotas.items():
        dead = newest_first(rows, Run.Status.DEAD, receiver)
        newest = _columns(dead.annotate(is_replaced=has_later_round()), "is_replaced")[:quota]
        found += [tuple(row) for *row, is_replaced in newest if row[0] == receiver and not is_replaced]
    capped = frozenset(name for name, quota in quotas.items() if quota < numbers[name])
    return _Read(runs=found, capped=capped, is_capped=bool(capped) or len(numbers) == MAX_RECEIVERS)


def _quotas(numbers: Mapping[str, int], limit: int) -> dict[str, int]:
    """Divide `limit` among the receivers: those with few runs leave the rest to the others."""
    quotas, remaining = {}, limit
    for index, receiver in enumerate(sorted(numbers, key=numbers.__getitem__)):
        quotas[receiver] = min(numbers[receiver], remaining // (len(numbers) - index))
        remaining -= quotas[receiver]
    return quotas


def _number_of_dead(rows: QuerySet[Run], receiver: str, limit: int) -> int:
    """Count the given-up runs of a receiver, up to one more than are read, with an index-only scan."""
    dead = rows.filter(status=Run.Status.DEAD, receiver=receiver)
    return dead.values("receiver")[: limit + 1].count()


def receivers_with(rows: QuerySet[Run], status: str) -> Iterator[str]:
    """Yield the names of the receivers with runs of this status, `MAX_RECEIVERS` at most, each with one lookup."""
    found = rows.filter(status=status).order_by("receiver").values_list("receiver", flat=True)
    name = found.first()
    for _number in range(MAX_RECEIVERS):
        if name is None:
            return
        yield name
        name = found.filter(receiver__gt=name).first()


def _to_retry(rows: QuerySet[Run], limit: int) -> _Read:
    """Return the runs that failed and will be tried again.

    The latest `next_try_at` of each hold first: runs that have not been tried yet are due earlier.
    """
    hold_pks = read_holds(rows.db).used_pks
    failed: list[_Failed] = []
    is_capped = len(hold_pks) > MAX_HOLDS
    for held_by in hold_pks[:MAX_HOLDS]:
        if len(failed) == limit:
            is_capped = True
            break
        waiting = rows.filter(NOT_PARKED, held_by=held_by).order_by("-next_try_at")
        found = list(_columns(waiting)[: limit - len(failed)])
        is_capped = is_capped or len(found) == limit - len(failed)
        failed += [row for row in found if row[1] == Run.Status.FAILED]
    return _Read(runs=failed, capped=frozenset(row[0] for row in failed if is_capped), is_capped=is_capped)


def _to_retry_of(rows: QuerySet[Run], receiver: str, limit: int) -> _Read:
    """Return the runs of one receiver that failed and will be tried again, the newest first."""
    found = list(_columns(newest_first(rows, Run.Status.FAILED, receiver))[:limit])
    is_capped = len(found) == limit and found[-1][0] == receiver
    failed = [row for row in found if row[0] == receiver]
    return _Read(runs=failed, capped=frozenset([receiver] if is_capped else ()), is_capped=is_capped)


def newest_first(rows: QuerySet[Run], status: str, receiver: str) -> QuerySet[Run]:
    """Return the runs of a status and receiver, the newest first; those of other receivers may follow.

    The index is read from the receiver's end, and only as far as needed. PostgreSQL needs the order of the index and no
    equality for that: it would read the primary key from its end. MariaDB needs the equality: without it, it reads the
    receivers that come later in the index.
    """
    if connections[rows.db].vendor == "mysql":
        return rows.filter(status=status, receiver=receiver).order_by("-pk")
    return rows.filter(status=status, receiver__lte=receiver).order_by("-receiver", "-pk")


def _columns(runs: QuerySet[Run], *more: str) -> QuerySet[Run, tuple[Any, ...]]:
    beginning = runs.annotate(beginning=Left("error", ERROR_CHARS))
    return beginning.values_list("receiver", "status", "beginning", "finished_at", "pk", *more)


def _grouped(read: Iterable[_Read], *, with_text: bool) -> tuple[list[Failure], list[FailureAcknowledgement]]:
    """Group runs by what their errors have in common, the largest group first, each with its newest run first.

    Return the acknowledgements of those that are left out, too.
    """
    by_kind = _by_kind(run for each in read for run in each.runs)
    capped = {(run[0], run[1]) for each in read for run in each.runs if run[0] in each.capped}
    seen = acknowledgements() if by_kind else {}
    sizes = {kind: _size(kind, group) for kind, group in by_kind.items()}
    hidden = [seen[size.key] for size in sizes.values() if size.key in seen and not has_grown(size, seen[size.key])]
    hidden_keys = {each.key for each in hidden}
    merged: dict[_Kind, list[_Kind]] = {}
    for kind, size in sizes.items():
        if size.key not in hidden_keys:
            merged.setdefault(kind if with_text else (*kind[:3], ""), []).append(kind)
    groups = [
        _failure(
            kind,
            [run for part in parts for run in by_kind[part]],
            [sizes[part] for part in parts],
            with_text=with_text,
            is_capped=kind[:2] in capped,
        )
        for kind, parts in merged.items()
    ]
    return sorted(groups, key=lambda failure: -failure.number), hidden


def _by_kind(runs: Iterable[_Failed]) -> dict[_Kind, list[_Failed]]:
    by_text: dict[tuple[str, str, str], list[_Failed]] = {}
    for run in runs:  # most differ by numbers only, which is quick to compare
        by_text.setdefault((run[0], run[1], run[2].translate(_NO_DIGITS)), []).append(run)
    by_kind: dict[_Kind, list[_Failed]] = {}
    for group in by_text.values():
        receiver, status, error = group[0][:3]
        found = _CLASS.match(error)
        text = _PARTICULAR.sub("#", error)
        by_kind.setdefault((receiver, status, found[1] if found else "", text), []).extend(group)
    return by_kind


def _size(kind: _Kind, runs: Sequence[_Failed]) -> GroupSize:
    return GroupSize(
        key=_key(kind),
        receiver=kind[0],
        status=kind[1],
        number=len(runs),
        newest=max((run[3] for run in runs if run[3] is not None), default=None),
        newest_run=max(run[4] for run in runs),
    )


def _key(kind: _Kind) -> str:
    return hashlib.sha256("\0".join(kind).encode(errors="surrogatepass")).hexdigest()[:16]


def _failure(
    kind: _Kind, runs: Sequence[_Failed], sizes: Sequence[GroupSize], *, with_text: bool, is_capped: bool
) -> Failure:
    receiver, status, exception, _text = kind
    return Failure(
        receiver=receiver,
        status=status,
        exception=exception,
        error=runs[0][2] if with_text else "",
        number=len(runs),
        is_capped=is_capped,
        newest=max((size.newest for size in sizes if size.newest is not None), default=None),
        key=_key(kind),
        runs=tuple(run[4] for run in runs),
        sizes=tuple(sizes),
    )
