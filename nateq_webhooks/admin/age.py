"""Times relative to now, with the exact time on hover."""

from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext as _

from nateq_webhooks.admin.formatting import DATE_FORMAT, TIME_FORMAT

NOW: Final = timedelta(minutes=1)
"""Up to this age it is "just now"; Django's words begin with minutes."""


def ago(moment: datetime) -> SafeString:
    """Return a time relative to now, with the exact time in the user's time zone as its title."""
    local = timezone.localtime(moment)
    return format_html(
        '<time class="nateq-moment" datetime="{}" title="{} {} {}">{}</time>',
        moment.isoformat(),
        date_format(local, DATE_FORMAT),
        date_format(local, TIME_FORMAT),
        local.tzname() or "",
        _in_words(moment),
    )


def _in_words(moment: datetime) -> str:
    now = timezone.now()
    if now - moment < NOW:
        return _("just now")
    return _("%(time)s ago") % {"time": timesince(moment, now, depth=1)}
