"""The chart of a webhook's hours: stacked bars by status in SVG, and the same as a table.

All values are text: a template would format numbers for the user's language, and SVG has no decimal comma.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.health import Health, Hour
from nateq_webhooks.admin.formatting import STATUS_STYLES
from nateq_webhooks.models import Delivery

STATUSES: Final = (
    Delivery.Status.PROCESSED,
    Delivery.Status.RECEIVED,
    Delivery.Status.IGNORED,
    Delivery.Status.INVALID,
    Delivery.Status.FAILED,
    Delivery.Status.DEAD,
)
"""The statuses from the bottom of a bar to its top, where failures are seen best."""

BAR_WIDTH: Final = 10
"""The width of an hour, including the gap to the next one."""

GAP: Final = 2
HEIGHT: Final = 100
LEAST: Final = 3
"""The minimum height of a status: one failure among ten thousand deliveries must be visible."""

DAY_FORMAT: Final = "Y-m-d"
HOUR_FORMAT: Final = "H:i"


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """The parts of all bars with one status, as one outline: a template renders that faster than many elements."""

    status: str
    outline: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """An hour: where its column begins, and its tooltip."""

    x: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LegendEntry:
    """A line of the legend: a status, its symbol, and its number of deliveries."""

    status: str
    symbol: str
    label: str
    number: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An hour of the table: its time, a number for each entry of the legend, and their sum."""

    hour: str
    numbers: Sequence[str]
    total: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """A chart with its description, its legend, and its table, which leaves out hours without a delivery."""

    view_box: str
    hour_width: str
    height: str
    description: str
    first: str
    last: str
    highest: str
    shapes: Sequence[Shape]
    columns: Sequence[Column]
    legend: Sequence[LegendEntry]
    rows: Sequence[Row]


def chart(health: Health, *, is_small: bool = False) -> Chart:
    """Return the chart of one webhook, or of all of them. A small one has no tooltips, no legend and no table."""
    highest = max((hour.total for hour in health.hours), default=0)
    entries = [_entry(status, health.numbers[status]) for status in STATUSES if health.numbers.get(status)]
    hours = [] if is_small else health.hours
    return Chart(
        view_box=f"0 0 {BAR_WIDTH * len(health.hours)} {HEIGHT}",
        hour_width=str(BAR_WIDTH),
        height=str(HEIGHT),
        description=_description(health, highest),
        first=moment(health.hours[0].start),
        last=moment(health.hours[-1].start),
        highest=formatting.number(highest),
        shapes=_shapes(health.hours, highest),
        columns=[
            Column(x=str(place * BAR_WIDTH), text=_tooltip(hour)) for place, hour in enumerate(hours) if hour.total
        ],
        legend=[] if is_small else entries,
        rows=[_row(hour, entries) for hour in reversed(hours) if hour.total],
    )


def moment(start: datetime) -> str:
    """Return the beginning of an hour, in the user's time zone."""
    local = timezone.localtime(start)
    return f"{date_format(local, DAY_FORMAT)} {date_format(local, HOUR_FORMAT)}"


def _entry(status: Delivery.Status, number: int) -> LegendEntry:
    return LegendEntry(
        status=status,
        symbol=STATUS_STYLES[status].symbol,
        label=str(status.label),
        number=formatting.number(number),
    )


def _row(hour: Hour, entries: Sequence[LegendEntry]) -> Row:
    return Row(
        hour=moment(hour.start),
        numbers=[formatting.number(hour.numbers.get(entry.status, 0)) for entry in entries],
        total=formatting.number(hour.total),
    )


def _shapes(hours: Sequence[Hour], highest: int) -> list[Shape]:
    """Stack the statuses of each hour; return the rectangles of each status as one outline."""
    outlines: dict[str, list[str]] = {}
    width = BAR_WIDTH - GAP
    for place, hour in enumerate(hours):
        top, x = HEIGHT, place * BAR_WIDTH + GAP // 2
        for status, height in _heights(hour.numbers, highest).items():
            top -= height
            outlines.setdefault(status, []).append(f"M{x} {top}h{width}v{height}h-{width}z")
    return [Shape(status=status, outline="".join(parts)) for status, parts in outlines.items()]


def _heights(numbers: Mapping[str, int], highest: int) -> dict[str, int]:
    """Return the height of each status, together at most `HEIGHT`: the largest one is lowered if others were raised."""
    heights = {
        status: max(LEAST, round(HEIGHT * numbers[status] / highest)) for status in STATUSES if numbers.get(status)
    }
    excess = sum(heights.values()) - HEIGHT
    if excess > 0:
        largest = max(heights, key=heights.__getitem__)
        heights[largest] -= excess
    return {str(status): height for status, height in heights.items()}


def _tooltip(hour: Hour) -> str:
    """Return an hour in words, for its tooltip."""
    parts = [
        _("%(number)s %(status)s") % {"number": formatting.number(hour.numbers[status]), "status": status.label}
        for status in STATUSES
        if hour.numbers.get(status)
    ]
    return f"{moment(hour.start)}: {_(', ').join(parts)}"


def _description(health: Health, highest: int) -> str:
    """Return the chart in a sentence, for screen readers."""
    if not health.total:
        return _("No delivery came.")
    total = ngettext("%(number)s delivery", "%(number)s deliveries", health.total) % {
        "number": formatting.number(health.total)
    }
    return _("%(total)s, of which %(failed)s failed; at most %(highest)s in an hour.") % {
        "total": total,
        "failed": formatting.number(health.failed),
        "highest": formatting.number(highest),
    }
