"""An export of many in parts: each is a download that ends within a request's time, and can be taken again alone."""

from dataclasses import dataclass
from math import ceil
from typing import Final

from django.db.models import QuerySet

from nateq_webhooks.admin.biglist.cursor import MAX_KEY
from nateq_webhooks.admin.deliveries.selection_queries import ends_of_keys
from nateq_webhooks.dispatch import Selection
from nateq_webhooks.models import Delivery

KEYS_OF_A_PART: Final = 50_000
"""Keys of deliveries that a part looks through: some seconds' work, where servers give a request about thirty."""

MOST_PARTS: Final = 400
"""Parts that a page offers; of more deliveries than that each part is larger."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of keys, both ends included, and which of how many it is."""

    number: int
    total: int
    first: int
    last: int

    @property
    def value(self) -> str:
        """The part as a form hands it on."""
        return f"{self.number}-{self.total}-{self.first}-{self.last}"


def parts_of(selection: Selection, among: QuerySet[Delivery] | None = None) -> list[Part]:
    """Return the parts of a selection in the order the deliveries came; none where one download does.

    `among` are the rows that the user may see; None: all.
    """
    ends = ends_of_keys(selection, among)
    if ends is None or ends[1] - ends[0] < KEYS_OF_A_PART:
        return []
    lowest, highest = ends
    span = highest - lowest + 1
    size = max(KEYS_OF_A_PART, ceil(span / MOST_PARTS))
    total = ceil(span / size)
    starts = range(lowest, highest + 1, size)
    return [Part(number, total, start, min(start + size - 1, highest)) for number, start in enumerate(starts, 1)]


def part_of(value: str) -> Part | None:
    """Return the part that a form has handed on, None for the whole. Raises `ValueError` for what is neither."""
    if not value:
        return None
    number, total, first, last = (int(text) for text in value.split("-"))
    if not 0 < number <= total <= MOST_PARTS or not 0 < first <= last <= MAX_KEY:
        raise ValueError("This is no part of an export.")
    return Part(number, total, first, last)
