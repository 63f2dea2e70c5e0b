"""Which failed runs are to be retried: those that no later round has replaced, by receiver, error and time.

The same conditions select the rows of a list, count them, and decide in each batch of a replay.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Case, CharField, Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value, When

from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.selection_queries import key_range_of_selection
from nateq_webhooks.dispatch.unfinished_runs import Pair
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import has_later_round
from nateq_webhooks.receivers import ANY_EVENT, registry


@dataclass(frozen=True, kw_only=True, slots=True)
class FailedPairs:
    """Deliveries with a receiver whose run has failed, by what became of it since."""

    to_retry: frozenset[Pair]
    "The failed run is the latest one, or a later round has not finished."
    resolved: frozenset[Pair]
    "A later round has succeeded, or was dropped."


def failing(selection: Selection, runs: QuerySet[Run]) -> QuerySet[Run]:
    """Return those of the runs that have failed and fulfil the selection's conditions on runs."""
    rows = runs.filter(status__in=[selection.run_status] if selection.run_status else Run.FAILING)
    return rows.filter(selection.of_runs())


def to_retry(selection: Selection, runs: QuerySet[Run], receivers: Collection[str] | None = None) -> QuerySet[Run]:
    """Return those of the runs that a replay of `selection` with `only_failed` retries: the latest of their receiver.

    `receivers`: only theirs; None: of all.
    """
    return _of_selection(selection, runs, receivers).filter(~has_later_round())


def _of_selection(selection: Selection, runs: QuerySet[Run], receivers: Collection[str] | None) -> QuerySet[Run]:
    """Return the failed runs of a selection, replaced ones, too."""
    rows = failing(selection, runs)
    if receivers is not None:
        rows = rows.filter(receiver__in=receivers)
    if selection.is_about_deliveries:
        rows = rows.filter(Exists(selection.of_deliveries(Delivery.objects.filter(pk=OuterRef("delivery_id")))))
    return rows


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryCount:
    """How many failed runs a replay would retry."""

    given_up: int
    "They run again, as new runs."
    pending: int
    "They are brought forward: they, or the later round that waits in their place, would be tried by themselves."
    resolved: int
    "Of how many deliveries and receivers failed runs are left alone, because a later round has succeeded or runs."
    without_content: int = 0
    "Failed runs that are left out, because the delivery's content was removed."
    disconnected: int = 0
    "Failed runs that are left alone, because their receiver is not connected to the delivery's event."
    is_capped: bool = False
    "Whether more have failed than were looked at: each number is then at least that."

    @property
    def total(self) -> int:
        """How many are retried."""
        return self.given_up + self.pending


def count_to_retry(
    selection: Selection, runs: QuerySet[Run], receivers: Collection[str] | None = None, limit: int | None = None
) -> RetryCount:
    """Count what a replay of `selection` with `only_failed` would do, now, among `limit` failed runs at most.

    `receivers`: only their runs are counted; None: those of all, also of receivers that are not connected any more.
    The deliveries of a period are a range of keys, so that not all failed runs are read.
    """
    keys = key_range_of_selection(selection, Delivery.objects.using(runs.db))
    if keys is None:
        return RetryCount(given_up=0, pending=0, resolved=0)
    rows = runs.order_by()
    if selection.since is not None or selection.until is not None:
        rows = rows.filter(delivery_id__gte=keys.lowest, delivery_id__lte=keys.highest)
    latest = to_retry(selection, rows, receivers)
    fate = _fate(F("status"))
    wanted = {"given_up": Run.Status.DEAD.value, "pending": Run.Status.FAILED.value}
    wanted |= {"without_content": _LOST, "disconnected": _DISCONNECTED}
    numbers = {name: Count("fate", filter=Q(fate=value)) for name, value in wanted.items()}
    found: dict[str, int] = latest.annotate(fate=fate).values("fate")[:limit].aggregate(**numbers)
    is_capped = limit is not None and sum(found.values()) == limit
    waiting, resolved = _count_replaced(selection, rows, receivers, limit)
    found["pending"] += waiting
    return RetryCount(resolved=resolved, is_capped=is_capped, **found)


def _fate(status: F | Subquery) -> Case:
    """Return what becomes of a failed run that is retried: the status that decides it, unless it is left out."""
    return Case(
        When(delivery__content_change__in=Delivery.CONTENT_LOST, then=Value(_LOST)),
        When(_is_connected(), then=status),
        default=Value(_DISCONNECTED),
        output_field=CharField(),
    )


def _count_replaced(
    selection: Selection, rows: QuerySet[Run], receivers: Collection[str] | None, limit: int | None
) -> tuple[int, int]:
    """Count the deliveries and receivers whose selected failed runs later rounds have replaced, as `failed_pairs` does.

    Return of how many the latest round waits, and of how many it has succeeded, was dropped, or runs. One row stands
    for each: the last failed one that is selected.
    """
    of_pair = Run.objects.filter(delivery_id=OuterRef("delivery_id"), receiver=OuterRef("receiver"))
    later = failing(selection, of_pair.filter(round__gt=OuterRef("round")))
    last = _of_selection(selection, rows, receivers).filter(has_later_round()).exclude(Exists(later))
    fate = _fate(Subquery(of_pair.order_by("-round").values("status")[:1]))
    found = last.annotate(fate=fate).values("fate")[:limit]
    left_alone = (*Run.RESOLVED, Run.Status.RUNNING)
    numbers: dict[str, int] = found.aggregate(
        waiting=Count("fate", filter=Q(fate=Run.Status.WAITING)),
        resolved=Count("fate", filter=Q(fate__in=left_alone)),
    )
    return numbers["waiting"], numbers["resolved"]


_LOST: Final = "lost"
_DISCONNECTED: Final = "disconnected"


def _is_connected() -> Q:
    """Return the condition that a run's receiver is connected, to any event or to that of its delivery."""
    found = Q(pk__in=())
    for receiver in registry:
        events = registry.events_of(receiver.name)
        is_of_event = Q() if ANY_EVENT in events else Q(delivery__event__in=sorted(events))
        found |= Q(receiver=receiver.name) & is_of_event
    return found


def unknown_receivers(selection: Selection, runs: QuerySet[Run], known: Collection[str], limit: int) -> list[str]:
    """Return the receivers, `limit` at most, that are not among `known` and have failed runs of `selection`."""
    rows = to_retry(selection, runs).exclude(receiver__in=known).order_by("receiver")
    return list(rows.values_list("receiver", flat=True).distinct()[:limit])


def failed_pairs(alias: str, pks: Sequence[int], selection: Selection) -> FailedPairs:
    """Return what has failed of some deliveries. Call it when they are locked, so that no replay adds a run."""
    runs = Run.objects.using(alias).filter(delivery_id__in=pks)
    rows = failing(selection, runs).annotate(is_replaced=has_later_round()).order_by()
    latest: set[Pair] = set()
    replaced: set[Pair] = set()
    for pk, name, is_replaced in rows.values_list("delivery_id", "receiver", "is_replaced"):
        (replaced if is_replaced else latest).add((pk, name))
    replaced -= latest
    if not replaced:
        return FailedPairs(to_retry=frozenset(latest), resolved=frozenset())
    later = runs.filter(receiver__in={name for _pk, name in replaced}).latest_rounds().order_by()
    status = {(pk, name): state for pk, name, state in later.values_list("delivery_id", "receiver", "status")}
    open_again = {pair for pair in replaced if status.get(pair) in (Run.Status.WAITING, Run.Status.RUNNING)}
    resolved = {pair for pair in replaced if status.get(pair) in Run.RESOLVED}
    return FailedPairs(to_retry=frozenset(latest | open_again), resolved=frozenset(resolved))


def failed_receivers(alias: str, pk: int) -> set[str]:
    """Return the receivers whose last run of a delivery has failed."""
    rows = Run.objects.using(alias).filter(delivery_id=pk, status__in=Run.FAILING).latest_rounds()
    return set(rows.order_by().values_list("receiver", flat=True))
