"""The search in one payload: which keys and values hold a text, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.admin.deliveries import tree
from nateq_webhooks.protocol.verbatim import Members

MAX_FOUND: Final = 50
"""Places listed."""

MAX_LOOKED_AT: Final = 200_000
"""Values looked at: about a fifth of a second."""

AROUND: Final = 80
"""Characters shown of what was found, and before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A place whose key or value holds what was searched for."""

    path: tree.Path
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The first matches, and whether there may be more."""

    places: Sequence[Match]
    is_cut: bool


def find(document: Any, wanted: str) -> Matches:
    """Return the places of `wanted`, ignoring case, nearest to the root first."""
    folded = wanted.casefold()
    places: list[Match] = []
    for number, (parent, place, key, value) in enumerate(_values(document)):
        if number == MAX_LOOKED_AT or len(places) == MAX_FOUND:
            return Matches(places=places, is_cut=True)
        text = "" if tree.is_container(value) else value if isinstance(value, str) else tree.written(value)
        if folded in text.casefold():
            places.append(Match(path=(*parent, place), text=_around(value, text.casefold().find(folded))))
        elif folded in key.casefold():
            places.append(Match(path=(*parent, place), text="" if tree.is_container(value) else _around(value, 0)))
    return Matches(places=places, is_cut=False)


def _values(document: Any) -> Iterator[tuple[tree.Path, int, str, Any]]:
    """Yield everything in the document, level by level: the parent's path, the place in it, key and value."""
    level: list[tuple[tree.Path, Any]] = [((), document)]
    while level:
        below = []
        for path, container in level:
            for place, child in enumerate(container):
                key, value = child if isinstance(container, Members) else ("", child)
                yield path, place, key, value
                if tree.is_container(value):
                    below.append(((*path, place), value))
        level = below


def _around(value: Any, place: int) -> str:
    start = max(0, place - AROUND)
    return tree.written(value, start, 3 * AROUND)
