"""The figures of a webhook as text, with its chart."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from django.utils import timezone
from django.utils.formats import number_format
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.dashboard.chart import Chart, chart, moment
from nateq_webhooks.admin.dashboard.health import Health
from nateq_webhooks.admin.dashboard.processing_times import ProcessingTimes

EMPTY: Final = "-"
"""Shown instead of a figure that does not exist, as elsewhere in the admin."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One figure with its label, its explanation and its level: good, bad or neither."""

    label: str
    value: str
    meaning: str = ""
    level: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The figures and the chart."""

    figures: Sequence[Figure]
    chart: Chart
    limit: str
    "What is not counted; empty if everything is."
    hours: int


def summary(health: Health) -> Summary:
    """Return the figures and the chart of one webhook, or of all of them."""
    times = health.times
    timed = (
        _("From storing until the last receiver finished; the newest %(number)s.")
        % {"number": formatting.number(times.number)}
        if times
        else _("No receiver has finished lately.")
    )
    return Summary(
        figures=[
            Figure(label=_("Last delivery"), value=last_delivery(health)),
            Figure(label=_("Deliveries"), value=formatting.number(health.total)),
            Figure(
                label=_("Failed"),
                value=percent(health.share_failed),
                meaning=_("A receiver failed: it will be tried again, or failed for good."),
                level="bad" if health.failed else "",
            ),
            Figure(label=_("Processing time, p50"), value=processing(times, "median"), meaning=timed),
            Figure(label=_("Processing time, p95"), value=processing(times, "p95"), meaning=timed),
        ],
        chart=chart(health),
        limit=_limit(health),
        hours=len(health.hours),
    )


def last_delivery(health: Health) -> str:
    """Return when the newest delivery came, or that none ever did."""
    return formatting.moment(health.last) or (_("never") if health.is_last_known else _("none lately"))


def processing(times: ProcessingTimes | None, which: Literal["median", "p95"]) -> str:
    """Return a processing time as short text."""
    return (times and formatting.duration(getattr(times, which))) or EMPTY


def span(value: timedelta) -> str:
    """Return a duration in words, with two units at most."""
    if value < timedelta(minutes=1):
        return formatting.duration(value) or EMPTY
    now = timezone.now()
    return timesince(now - timedelta(seconds=round(value.total_seconds())), now)


def _limit(health: Health) -> str:
    if health.counted_from is None:
        return ""
    text = _("There are too many to count all: these are the deliveries since %(time)s.")
    if health.is_unfinished:
        text = _("Counted since %(time)s; older hours are still being counted.")
    return text % {"time": moment(health.counted_from)}


def percent(share: float | None) -> str:
    """Return a share in percent; it is rounded neither to 0 % nor to 100 %."""
    if share is None:
        return EMPTY
    if 0 < share < 0.001:
        return _("< 0.1 %")
    if 0.999 < share < 1:
        return _("> 99.9 %")
    digits = 0 if share in (0, 1) else 1
    return _("%(number)s %%") % {"number": number_format(round(share * 100, digits), digits)}
