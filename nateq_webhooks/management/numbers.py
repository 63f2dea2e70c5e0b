"""Numbers given to a command: one that is not finite or too small is refused, with what it is."""

import math
from typing import Final

from django.utils.translation import gettext as _

from nateq_webhooks.management.terminal import usage_error

MAX_SECONDS: Final = 10.0**9
"""About 31 years: what a timedelta holds, and no more than anybody means."""


def require_number(option: str, value: float | None, *, least: float = 0, is_above: bool = False) -> None:
    """Raise `CommandError` for a number below `least` (or equal to it with `is_above`), above `MAX_SECONDS`, or nan."""
    if value is None or (math.isfinite(value) and least <= value <= MAX_SECONDS and not (is_above and value == least)):
        return
    text = (
        _("%(option)s is %(value)s. It must be a number above %(least)s, up to %(most)s.")
        if is_above
        else _("%(option)s is %(value)s. It must be a number from %(least)s to %(most)s.")
    )
    words = {"option": option, "value": value, "least": f"{least:g}", "most": f"{MAX_SECONDS:.0f}"}
    raise usage_error(text % words)
