"""A payload as a tree that unfolds: only so much of it as a page holds, with links to the rest.

Where a value is in the document is told by its path: the place of each container's child, counted from 0 and joined by
dots, as `3.0.12`. Keys can't tell it: they may be doubled, or a megabyte long.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.protocol.verbatim import Members, Number

MAX_LINES: Final = 400
"""Values on a page. More makes a phone's browser stutter."""

MAX_CHILDREN: Final = 100
"""Values of one list or object on a page, so that a long one does not push the others out."""

MAX_LEVELS: Final = 12
"""Levels on a page; what is nested deeper has a page of its own."""

MAX_TEXT: Final = 1_000
"""Characters of one value in the tree."""

MAX_TEXT_ALONE: Final = 20_000
"""Characters of a value that has a page of its own."""

MAX_CHARS: Final = 20_000
"""Characters of all keys and values together; once they are used up, `SCANT_TEXT` of each."""

SCANT_TEXT: Final = 20

MAX_KEY: Final = 400
"""Characters of a key."""

MAX_OPEN_LEVELS: Final = 4
MAX_OPEN_CHILDREN: Final = 30
"""What is larger or deeper comes folded."""

Path = tuple[int, ...]
Address = Callable[[Path, int], str]
"""Gives the URL of the page that shows the value at a path, from its n-th child or character on."""

_PLAIN_KEY: Final = re.compile(r"[^\W\d][\w$-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the tree: a value, the opening or the end of a container, or a link to what is not here."""

    kind: str
    """`open`, `close`, `value` or `rest`."""
    key: str = ""
    text: str = ""
    tone: str = ""
    is_open: bool = False
    is_overridden: bool = False
    """The same key comes again in its object: receivers see the last one only."""
    url: str = ""


@dataclass(slots=True)
class _Node:
    """A value that the page shows, and those of its children that fit."""

    value: Any
    path: Path
    is_overridden: bool = False
    first: int = 0
    children: list["_Node"] = field(default_factory=list)


def lines(document: Any, path: Path, first: int, address: Address) -> list[Line]:
    """Return the children, from the `first`, of the container at `path`: the page's share of the tree.

    The work does not grow with the document. Raises `LookupError` when there is no container at `path`.
    """
    value = at(document, path)
    if not is_container(value):
        raise LookupError(f"There is no list or object at {path}.")
    root = _Node(value=value, path=path, first=first)
    _grow(root)
    return list(_inside(root, address, _Allowance(MAX_CHARS), level=0))


def at(document: Any, path: Path) -> Any:
    """Return the value at `path`. Raises `LookupError` when there is none."""
    value = document
    for place in path:
        if not is_container(value):
            raise LookupError(f"There is nothing at {path}.")
        child = value[place]
        value = child[1] if isinstance(value, Members) else child
    return value


def keys_to(document: Any, path: Path) -> list[str]:
    """Return how a person calls the way to `path`: keys, and `[n]` for the places in lists."""
    value, found = document, []
    for place in path:
        found.append(_key(value, place))
        value = at(value, (place,))
    return found


def parsed_path(text: str) -> Path:
    """Return the path that an address names. Raises `ValueError` for what is none."""
    if not re.fullmatch(r"(\d{1,9}(\.\d{1,9})*)?", text, re.ASCII):
        raise ValueError("A path is numbers joined by dots.")
    return tuple(int(part) for part in text.split(".")) if text else ()


def written_path(path: Path) -> str:
    """Return a path as an address names it."""
    return ".".join(map(str, path))


def is_container(value: Any) -> bool:
    """Say whether a value holds others."""
    return isinstance(value, (list, Members))


def length_of(value: Any) -> int:
    """Return how many children a container has, or how many characters a text or a number has."""
    return len(value) if isinstance(value, (list, Members, str, Number)) else 0


def written(value: Any, start: int = 0, length: int = MAX_TEXT_ALONE) -> str:
    """Return a value that holds no others as JSON, or a part of a long one: then a dash stands where it goes on.

    What can't be seen, turns text around or can't be sent is written as JSON's escapes.
    """
    if not isinstance(value, (str, Number)):
        return json.dumps(value)
    part, is_cut = value[start : start + length], start + length < len(value)
    if isinstance(part, Number):
        return part.decode() + "…" * is_cut
    quoted = formatting.visible(json.dumps(part, ensure_ascii=False))
    return ("…" if start else '"') + quoted[1:-1] + ("…" if is_cut else '"')


def _grow(root: _Node) -> None:
    """Give each container its children, level by level, so that the lines go to what is near the root."""
    left = MAX_LINES
    queue = deque([root])
    while queue and left:
        node = queue.popleft()
        if len(node.path) - len(root.path) >= MAX_LEVELS:
            continue
        last = {key: place for place, (key, _value) in enumerate(node.value)} if isinstance(node.value, Members) else {}
        for place in range(node.first, min(len(node.value), node.first + min(MAX_CHILDREN, left))):
            child = _Node(value=at(node.value, (place,)), path=(*node.path, place))
            child.is_overridden = bool(last) and last[node.value[place][0]] != place
            node.children.append(child)
            if is_container(child.value) and child.value:
                queue.append(child)
        left -= len(node.children)


@dataclass(slots=True)
class _Allowance:
    """How many characters of values the page may still show."""

    left: int

    def take(self, wanted: int, most: int) -> int:
        """Return how many of the characters wanted may be shown: `most`, while there are any left."""
        given = min(wanted, most, max(self.left, SCANT_TEXT))
        self.left -= given
        return given


def _inside(node: _Node, address: Address, allowance: _Allowance, *, level: int) -> Iterator[Line]:
    """Yield the lines of a container's children, and the link to those that are not here."""
    for child in node.children:
        place = child.path[-1]
        key = _key(node.value, place, allowance.take(_key_length(node.value, place), MAX_KEY))
        if not is_container(child.value):
            yield _value_line(child, key, address, allowance)
        elif not child.value:
            text = _brackets(child.value)
            yield Line(kind="value", key=key, text=text, tone="empty", is_overridden=child.is_overridden)
        else:
            is_open = level < MAX_OPEN_LEVELS and len(child.children) == len(child.value) <= MAX_OPEN_CHILDREN
            text, is_overridden = _count(child.value), child.is_overridden
            yield Line(kind="open", key=key, text=text, is_open=is_open, is_overridden=is_overridden)
            yield from _inside(child, address, allowance, level=level + 1)
            yield Line(kind="close")
    next_place = node.first + len(node.children)
    rest = len(node.value) - next_place
    if rest > 0:
        text = ngettext("Show the rest (%(number)s value)", "Show the rest (%(number)s values)", rest)
        yield Line(kind="rest", text=text % {"number": rest}, url=address(node.path, next_place))


def _value_line(node: _Node, key: str, address: Address, allowance: _Allowance) -> Line:
    wanted = length_of(node.value)
    given = allowance.take(wanted, MAX_TEXT)
    return Line(
        kind="value",
        key=key,
        text=written(node.value, 0, given),
        tone=_tone(node.value),
        is_overridden=node.is_overridden,
        url=address(node.path, 0) if given < wanted else "",
    )


def _tone(value: Any) -> str:
    if isinstance(value, Number):
        return "number"
    return "text" if isinstance(value, str) else "word"


def _key(container: Any, place: int, length: int = MAX_KEY) -> str:
    """Return what stands before a child: an object's key, or its beginning, or the place in a list."""
    if not isinstance(container, Members):
        return f"[{place}]"
    key = container[place][0]
    if len(key) <= length and _PLAIN_KEY.fullmatch(key):
        return formatting.visible(key)
    return written(key, 0, length)


def _key_length(container: Any, place: int) -> int:
    return len(container[place][0]) if isinstance(container, Members) else 0


def _brackets(value: Any) -> str:
    return "{}" if isinstance(value, Members) else "[]"


def _count(value: Any) -> str:
    number = len(value)
    if isinstance(value, Members):
        return "{} " + ngettext("%(number)s key", "%(number)s keys", number) % {"number": number}
    return "[] " + ngettext("%(number)s value", "%(number)s values", number) % {"number": number}
