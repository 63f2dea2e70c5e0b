"""Values in the columns and fields of the admin: statuses, times, durations, untrusted text. All are escaped."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.timesince import timesince
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.protocol.invisible_chars import visible as visible

DATE_FORMAT: Final = "Y-m-d"
TIME_FORMAT: Final = "H:i:s"
"""To the second, and the same in every language; Django's formats omit the seconds."""

JUST_NOW: Final = timedelta(minutes=1)
"""Up to this age a time is "just now"; Django's words begin with minutes."""


_NAME_PART: Final = re.compile(r"(?<=\w)([._])(?=\w)")
"""A dot or an underscore within a name."""


@dataclass(frozen=True, slots=True)
class StatusStyle:
    """The appearance of a status: a symbol, because colour alone is not accessible, and a class of the style sheet."""

    symbol: str
    level: str
    "`good`, `warn`, `bad`, `busy` or `quiet`: the class is this with `nateq-` before it."


STATUS_STYLES: Final[dict[str, StatusStyle]] = {
    Delivery.Status.RECEIVED: StatusStyle("…", "busy"),
    Delivery.Status.PROCESSED: StatusStyle("✓", "good"),
    Delivery.Status.FAILED: StatusStyle("↻", "warn"),
    Delivery.Status.DEAD: StatusStyle("✕", "bad"),
    Delivery.Status.IGNORED: StatusStyle("⊘", "quiet"),
    Delivery.Status.INVALID: StatusStyle("!", "bad"),
    Run.Status.WAITING: StatusStyle("…", "busy"),
    Run.Status.RUNNING: StatusStyle("▸", "busy"),
    Run.Status.SUCCEEDED: StatusStyle("✓", "good"),
    Run.Status.FAILED: StatusStyle("↻", "warn"),
    Run.Status.DEAD: StatusStyle("✕", "bad"),
    Run.Status.DROPPED: StatusStyle("⊘", "quiet"),
}
"""The style of each status of a delivery and of a run; a status that both have means the same."""

NO_RECEIVER: Final = StatusStyle("⊘", "warn")
"""The style of a delivery for which no receiver ran."""

_UNKNOWN: Final = StatusStyle("?", "quiet")


def number(value: float) -> str:
    """Return a number as the user's language writes it, with its thousands grouped."""
    return number_format(value, force_grouping=True)


def size(value: int) -> str:
    """Return a number of bytes in words."""
    return ngettext("%(number)s byte", "%(number)s bytes", value) % {"number": number(value)}


def capped(value: int, *, is_capped: bool) -> str:
    """Return a number of rows that were counted up to a limit: "more than" it, if there are more."""
    shown = number(value)
    return _("more than %(number)s") % {"number": shown} if is_capped else shown


def badge(record: Delivery | Run) -> SafeString:
    """Return the record's status as coloured text with a symbol."""
    return styled(STATUS_STYLES.get(record.status, _UNKNOWN), record.get_status_display())


def delivery_badge(delivery: Delivery, *, has_runs: bool) -> SafeString:
    """Return a delivery's status; "No receiver" for one that is processed because there was nothing to run."""
    if delivery.status == Delivery.Status.PROCESSED and not has_runs:
        return styled(NO_RECEIVER, _("No receiver"))
    return badge(delivery)


def styled(style: StatusStyle, label: str) -> SafeString:
    """Return a label as coloured text with a symbol."""
    return format_html(
        '<span class="nateq-badge nateq-{}"><span aria-hidden="true">{}</span> {}</span>',
        style.level,
        style.symbol,
        label,
    )


def moment(value: datetime | None) -> SafeString | None:
    """Return a moment in the user's time zone, to the second; None when there is none."""
    if value is None:
        return None
    local = timezone.localtime(value)
    return format_html(
        '<time class="nateq-moment" datetime="{}" dir="ltr"><span>{}</span> <span>{}</span></time>',
        value.isoformat(),
        date_format(local, DATE_FORMAT),
        date_format(local, TIME_FORMAT),
    )


def moment_text(value: datetime) -> str:
    """Return a moment within a sentence, in the user's time zone, to the second."""
    return date_format(timezone.localtime(value), f"{DATE_FORMAT} {TIME_FORMAT}")


def duration(value: timedelta | None) -> str | None:
    """Return a duration in milliseconds, or in seconds from one second on; None when there is none."""
    if value is None:
        return None
    seconds = value.total_seconds()
    if 0 < seconds < 0.001:
        return _("< 1 ms")
    if seconds < 1:
        return _("%(number)s ms") % {"number": number(round(seconds * 1000))}
    return _("%(number)s s") % {"number": number(round(seconds, 1))}


def text(value: str) -> SafeString | None:
    """Return text that a stranger chose: its direction ends where it ends."""
    return format_html('<bdi class="nateq-text">{}</bdi>', visible(value)) if value else None


def name(value: str) -> SafeString | None:
    """Return the name of an event or a webhook for a list: the style sheet cuts a long one, its title has all of it."""
    return format_html('<bdi class="nateq-text" title="{0}">{0}</bdi>', visible(value)) if value else None


def breakable(value: str) -> SafeString:
    """Return a name that breaks after a dot or an underscore, if it does not fit."""
    return mark_safe(_NAME_PART.sub(r"\1<wbr>", escape(visible(value))))  # noqa: S308 - escaped


def identifier(value: str) -> SafeString | None:
    """Return an id for a list: the style sheet cuts a long one, its title has all of it, and a script adds a button.

    An id with invisible characters, which no page contains as they are, has no button to copy it.
    """
    if not value:
        return None
    if visible(value) != value:
        return format_html('<bdi class="nateq-id" dir="ltr" title="{0}">{0}</bdi>', visible(value))
    return format_html('<bdi class="nateq-id" dir="ltr" title="{0}" data-nateq-copy-id="{0}">{0}</bdi>', value)


def name_link(url: str, label: str) -> SafeString:
    """Return a name that breaks after a dot or an underscore, as a link if there is a URL."""
    shown = format_html('<bdi class="nateq-text">{}</bdi>', breakable(label))
    return format_html('<a href="{}">{}</a>', url, shown) if url else shown


def link(url: str, label: str) -> SafeString:
    """Return a link, or the label alone when there is nowhere to go."""
    shown = format_html('<bdi class="nateq-text">{}</bdi>', visible(label))
    return format_html('<a href="{}">{}</a>', url, shown) if url else shown


def ago(value: datetime) -> SafeString:
    """Return a time relative to now, with the exact time in the user's time zone as its title."""
    local = timezone.localtime(value)
    return format_html(
        '<time class="nateq-moment" datetime="{}" title="{} {} {}">{}</time>',
        value.isoformat(),
        date_format(local, DATE_FORMAT),
        date_format(local, TIME_FORMAT),
        local.tzname() or "",
        _age(value),
    )


def _age(value: datetime) -> str:
    now = timezone.now()
    if now - value < JUST_NOW:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(value, now, depth=1)}
