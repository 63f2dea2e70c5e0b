"""The histogram over a list: how many of its rows came in each part of the shown period.

It is counted by keys, because they ascend with the time (date_ranges), and at a bounded cost: at most `MAX_KEYS`
entries of an index are read. Where there are more, the newest bars are counted; a list without filters shows the
differences of keys.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.period_filter import PeriodFilter
from nateq_webhooks.admin.changelists.search import NoSearch
from nateq_webhooks.database.keyset.date_ranges import first_keys, key_range_of
from nateq_webhooks.database.keyset.skip_scan import SkipScan

if TYPE_CHECKING:
    from nateq_webhooks.admin.changelists.changelist import KeysetChangeList

MAX_KEYS: Final = 20_000
"""Entries of an index that are read."""

MAX_BARS: Final = 30

DEFAULT_PERIOD: Final = timedelta(hours=24)
"""The period of a list that is not filtered by date."""

STEPS: Final = (
    *(timedelta(minutes=number) for number in (1, 5, 10, 15, 30)),
    *(timedelta(hours=number) for number in (1, 2, 3, 6, 12)),
    *(timedelta(days=number) for number in (1, 2, 7, 30, 90, 365)),
)
"""What a bar may stand for."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One part of the period."""

    url: str
    "The address of the list with this part only."
    label: str
    height: int
    "In percent of the largest bar; at least 1 if there are any."
    is_known: bool

    @property
    def top(self) -> int:
        """Where the bar begins, in percent from the top."""
        return 100 - self.height


@dataclass(frozen=True, slots=True)
class Histogram:
    """The bars of the shown period, the oldest first."""

    bars: Sequence[Bar]
    title: str
    note: str
    "What is not exact; empty if all is."
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class _Counts:
    """The number of rows of each bar; None where it is not counted."""

    numbers: Sequence[int | None]
    is_estimate: bool = False


def histogram(changelist: "KeysetChangeList") -> Histogram | None:
    """Return the histogram; None for a list whose rows can't be counted by key."""
    spec = next((each for each in changelist.filter_specs if isinstance(each, PeriodFilter)), None)
    query = changelist.list_query
    if spec is None or not isinstance(query.search, NoSearch) or query.is_narrow or not changelist.is_bounded:
        return None
    bounds = boundaries(spec.period.since, spec.period.until, timezone.now())
    if len(bounds) < 2:
        return None
    counts = _counts(changelist, spec, bounds)
    return None if counts is None else _drawn(changelist, spec, bounds, counts)


def boundaries(since: datetime | None, until: datetime | None, now: datetime) -> list[datetime]:
    """Return the ends of the bars, in steps that begin at full hours and days; empty for a period in the future."""
    end = now if until is None else min(until, now)
    begin = end - DEFAULT_PERIOD if since is None else since
    step = next((step for step in STEPS if (end - begin) / step <= MAX_BARS), None)
    if begin >= end or step is None:
        return []
    midnight = timezone.localtime(begin).replace(hour=0, minute=0, second=0, microsecond=0)
    first = begin - (begin - midnight) % step
    inner = [first + step * number for number in range(1, MAX_BARS + 2)]
    return [begin, *(moment for moment in inner if moment < end), end]


def _counts(changelist: "KeysetChangeList", spec: PeriodFilter, bounds: Sequence[datetime]) -> _Counts | None:
    query, model, column = changelist.list_query, changelist.model, spec.field.name
    manager: Any = model._meta.default_manager
    key_range = key_range_of(manager.using(query.rows.db))
    if key_range is None:
        return None
    keys = first_keys(model, query.rows.db, column, bounds, key_range)
    widths = [high - low for low, high in pairwise(keys)]
    rows = query.key_query(without=spec)
    is_filtered = any(each.selected_values() for each in query.column_filters())
    if not is_filtered and sum(widths) > MAX_KEYS:
        return _Counts(widths, is_estimate=True)
    if is_filtered and not isinstance(rows, SkipScan):
        return None  # too many combinations: the database might read the whole period
    within = rows.filter(Q(pk__gte=keys[0], pk__lt=keys[-1]))
    found, first_counted = within.some(MAX_KEYS + 1), 0
    if len(found) > MAX_KEYS:
        first_counted = _first_within_limit(widths)
        found = within.filter(Q(pk__gte=keys[first_counted])).some(MAX_KEYS + 1)
        if len(found) > MAX_KEYS:
            return None
    numbers = Counter(bisect_right(keys, key) - 1 for key in found)
    return _Counts([None if index < first_counted else numbers[index] for index in range(len(widths))])


def _first_within_limit(widths: Sequence[int]) -> int:
    """Return the oldest bar from which on there are at most `MAX_KEYS` keys."""
    total, first = 0, len(widths)
    while first > 0 and total + widths[first - 1] <= MAX_KEYS:
        first -= 1
        total += widths[first]
    return min(first, len(widths) - 1)


def _drawn(
    changelist: "KeysetChangeList", spec: PeriodFilter, bounds: Sequence[datetime], counts: _Counts
) -> Histogram:
    highest = max((number for number in counts.numbers if number is not None), default=0) or 1
    bars = []
    for (since, until), number in zip(pairwise(bounds), counts.numbers, strict=True):
        parameters = {spec.lookup_kwarg_since: since.isoformat(), spec.lookup_kwarg_until: until.isoformat()}
        period = {"since": formatting.moment_text(since), "until": formatting.moment_text(until)}
        bars.append(
            Bar(
                url=changelist.get_query_string(parameters),
                label=f"{_('%(since)s to %(until)s') % period}: {_number(number, is_estimate=counts.is_estimate)}",
                height=100 if number is None else max(round(100 * number / highest), 1 if number else 0),
                is_known=number is not None,
            )
        )
    return Histogram(
        bars=bars,
        title=_("Deliveries by time; the highest bar has %(number)s. A bar filters the list.")
        % {"number": formatting.number(highest if any(counts.numbers) else 0)},
        note=_note(counts),
        since=formatting.moment_text(bounds[0]),
        until=formatting.moment_text(bounds[-1]),
    )


def _number(number: int | None, *, is_estimate: bool) -> str:
    if number is None:
        return _("not counted")
    text = ngettext("%(number)s delivery", "%(number)s deliveries", number)
    if is_estimate:
        text = ngettext("about %(number)s delivery", "about %(number)s deliveries", number)
    return text % {"number": formatting.number(number)}


def _note(counts: _Counts) -> str:
    if counts.is_estimate:
        return _("The numbers are estimates, by the ids of the rows.")
    if None in counts.numbers:
        return _("There are too many to count all: the pale bars were not counted.")
    return ""
