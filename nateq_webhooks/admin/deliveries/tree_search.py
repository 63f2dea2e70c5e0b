"""The search in one payload: which keys and values hold a text, and where."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.admin.deliveries import tree
from nateq_webhooks.protocol.verbatim import Members

MAX_MATCHES: Final = 50
"""Matches that are listed."""

MAX_VALUES: Final = 200_000
"""Values that are searched: about a fifth of a second."""

CONTEXT_CHARS: Final = 80
"""Characters shown of what was found, and before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """A place whose key or value holds what was searched for."""

    path: tree.Path
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Matches:
    """The first matches, and whether there may be more."""

    matches: Sequence[Match]
    is_cut: bool


def find(document: Any, term: str) -> Matches:
    """Return the matches of `term`, ignoring case, nearest to the root first."""
    folded = term.casefold()
    matches: list[Match] = []
    for number, (parent, index, key, value) in enumerate(_values(document)):
        if number == MAX_VALUES or len(matches) == MAX_MATCHES:
            return Matches(matches=matches, is_cut=True)
        text = "" if tree.is_container(value) else value if isinstance(value, str) else tree.value_text(value)
        if folded in text.casefold():
            matches.append(Match(path=(*parent, index), text=_excerpt(value, text.casefold().find(folded))))
        elif folded in key.casefold():
            matches.append(Match(path=(*parent, index), text="" if tree.is_container(value) else _excerpt(value, 0)))
    return Matches(matches=matches, is_cut=False)


def _values(document: Any) -> Iterator[tuple[tree.Path, int, str, Any]]:
    """Yield everything in the document, level by level: the parent's path, the index in it, key and value."""
    level: list[tuple[tree.Path, Any]] = [((), document)]
    while level:
        below = []
        for path, container in level:
            for index, child in enumerate(container):
                key, value = child if isinstance(container, Members) else ("", child)
                yield path, index, key, value
                if tree.is_container(value):
                    below.append(((*path, index), value))
        level = below


def _excerpt(value: Any, start_of_match: int) -> str:
    start = max(0, start_of_match - CONTEXT_CHARS)
    return tree.value_text(value, start, 3 * CONTEXT_CHARS)
