"""Counts with a bounded cost: by statistics for a whole table, up to a limit for a part of it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from django.utils.translation import gettext as _

from nateq_webhooks.admin import formatting

LIMIT: Final = 10_000
"""The highest exact count of a list."""


class Kind(Enum):
    """How precise a count is."""

    EXACT = auto()
    ABOUT = auto()
    "From the database's statistics."
    MORE = auto()
    "Counting stopped at the limit."
    AT_LEAST = auto()
    "Counted among the newest rows only."
    UNKNOWN = auto()
    "Not counted."


@dataclass(frozen=True, slots=True)
class Count:
    """A number of rows, and how precise it is."""

    number: int
    kind: Kind = Kind.EXACT

    def __str__(self) -> str:
        return self.around(formatting.number(self.number))

    def around(self, shown: str) -> str:
        """Return the number, as it is shown (it may have a noun), with how precise it is."""
        words = {"number": shown}
        match self.kind:
            case Kind.ABOUT:
                return _("about %(number)s") % words
            case Kind.MORE:
                return _("more than %(number)s") % words
            case Kind.AT_LEAST:
                return _("%(number)s or more") % words
            case Kind.UNKNOWN:
                return "?"
        return shown


def capped(number: int, limit: int) -> Count:
    """Return the count for a number that was counted up to one above `limit`."""
    return Count(limit, Kind.MORE) if number > limit else Count(number)
