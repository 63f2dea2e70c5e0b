"""The count of a list in words, with the right form of its noun: Arabic has six."""

from collections.abc import Callable
from typing import Final

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.changelists.counts import Count

_NOUNS: Final[dict[str, Callable[[int], str]]] = {
    "delivery": lambda number: ngettext("%(number)s delivery", "%(number)s deliveries", number),
    "run": lambda number: ngettext("%(number)s run", "%(number)s runs", number),
    "replay": lambda number: ngettext("%(number)s replay", "%(number)s replays", number),
    "rejection": lambda number: ngettext("%(number)s refused request", "%(number)s refused requests", number),
    "auditentry": lambda number: ngettext("%(number)s entry", "%(number)s entries", number),
}
"""The number and the noun of each model with such a list."""


def in_words(count: Count, model_name: str | None) -> str:
    """Return a count of rows of a model, such as "more than 10,000 deliveries"."""
    noun = _NOUNS[model_name](count.number) if model_name in _NOUNS else "%(number)s"
    return count.around(noun % {"number": formatting.number(count.number)})


def found_on_page(number: int) -> str:
    """Return the number of rows of one page of a search that reads rows one by one."""
    return _("Found on this page: %(number)s") % {"number": formatting.number(number)}
