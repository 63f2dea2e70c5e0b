"""A webhook's health as a page shows it: every figure as text, the chart ready to be drawn."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.chart import Chart, chart
from nateq_webhooks.admin.dashboard.statistics import HOURS, Health, Times

EMPTY: Final = "-"
"""What stands where there is no figure, as elsewhere in the admin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure: what it is called, what it is, what it means, and how it is meant: good, bad or neither."""

    label: str
    value: str
    meaning: str = ""
    tone: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures, the chart, and how the numbers came about when not by counting."""

    figures: Sequence[Figure]
    chart: Chart
    estimate: str
    hours: int


def summary(health: Health) -> Summary:
    """Put a webhook's health, or that of all, into words."""
    times = health.times
    timed = (
        _("From being stored until the last receiver was done; the newest %(number)s.") % {"number": times.number}
        if times
        else _("No receiver has finished lately.")
    )
    return Summary(
        figures=[
            Figure(label=_("Last delivery"), value=formatting.moment(health.last) or _("none lately")),
            Figure(label=_("Deliveries"), value=about(health.total, health.step)),
            Figure(
                label=_("Failed"),
                value=percent(health.share_failed),
                meaning=_("Some receiver failed: it will be tried again, or was given up."),
                tone="bad" if health.failed else "",
            ),
            Figure(label=_("Processing time, p50"), value=processing(times, "median"), meaning=timed),
            Figure(label=_("Processing time, p95"), value=processing(times, "p95"), meaning=timed),
        ],
        chart=chart(health),
        estimate=estimate(health.step),
        hours=HOURS,
    )


def processing(times: Times | None, which: Literal["median", "p95"]) -> str:
    """Return a processing time in short."""
    return (times and formatting.duration(getattr(times, which))) or EMPTY


def span(value: timedelta) -> str:
    """Return how long something has lasted, in words and two units at most."""
    if value < timedelta(minutes=1):
        return formatting.duration(value) or EMPTY
    now = timezone.now()
    return timesince(now - timedelta(seconds=round(value.total_seconds())), now)


def about(number: int, step: int) -> str:
    """Return a number, with a sign before it when it is an estimate."""
    shown = number_format(number)
    return shown if step == 1 else f"≈ {shown}"


def estimate(step: int) -> str:
    """Say how the numbers were estimated; empty when they were counted."""
    if step == 1:
        return ""
    return _("There are too many to count: estimated from every %(step)sth delivery.") % {"step": number_format(step)}


def percent(share: float | None) -> str:
    """Return a share in percent; a small one is never shown as none, nor a large one as all."""
    if share is None:
        return EMPTY
    if 0 < share < 0.001:
        return _("< 0.1 %")
    if 0.999 < share < 1:
        return _("> 99.9 %")
    digits = 0 if share in (0, 1) else 1
    return _("%(number)s %%") % {"number": number_format(round(share * 100, digits), digits)}
