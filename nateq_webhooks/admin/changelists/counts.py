"""Counts with a bounded cost: by statistics for a whole table, up to a limit for a part of it."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final

from django.db import connections
from django.db.models import QuerySet
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
        shown = {"number": formatting.number(self.number)}
        match self.kind:
            case Kind.ABOUT:
                return _("about %(number)s") % shown
            case Kind.MORE:
                return _("more than %(number)s") % shown
            case Kind.AT_LEAST:
                return _("%(number)s or more") % shown
            case Kind.UNKNOWN:
                return "?"
        return shown["number"]


def capped(number: int, limit: int) -> Count:
    """Return the count for a number that was counted up to one above `limit`."""
    return Count(limit, Kind.MORE) if number > limit else Count(number)


def estimate(rows: QuerySet[Any]) -> int | None:
    """Return the number of rows from the database's statistics; None if it keeps none."""
    connection = connections[rows.db]
    if connection.vendor == "postgresql":
        sql = "SELECT reltuples FROM pg_class WHERE oid = %s::regclass"
    elif connection.vendor == "mysql":
        sql = "SELECT table_rows FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = %s"
    else:
        return None
    with connection.cursor() as cursor:
        cursor.execute(sql, [rows.model._meta.db_table])
        found = cursor.fetchone()
    return round(found[0]) if found and found[0] is not None and found[0] >= 0 else None
