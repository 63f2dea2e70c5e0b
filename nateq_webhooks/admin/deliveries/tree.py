"""A payload as a tree that unfolds, cut after `MAX_LINES` lines, with links to the rest.

A path says where a value is in the document: the index of each container's child, joined by dots, as in `3.0.12`. Keys
would not do: they may occur twice, or be a megabyte long.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import ngettext

from nateq_webhooks.admin import formatting
from nateq_webhooks.protocol.verbatim import Members, Number

MAX_LINES: Final = 400
"""Lines on a page. More makes a phone's browser stutter."""

LINE_CHARS: Final = 100
"""Characters of a line; a longer key or value counts as several."""

MAX_CHILDREN: Final = 100
"""Values of one list or object on a page."""

MAX_LEVELS: Final = 12
"""Levels on a page; what is nested deeper has a page of its own."""

MAX_TEXT: Final = 1_000
"""Characters of one value in the tree."""

MAX_TEXT_ALONE: Final = 20_000
"""Characters of a value that has a page of its own."""

MAX_KEY: Final = 400
"""Characters of a key."""

MAX_OPEN_LEVELS: Final = 4
MAX_OPEN_CHILDREN: Final = 30
"""Larger or deeper containers are folded."""

Path = tuple[int, ...]
UrlOf = Callable[[Path, int], str]
"""Returns the URL of the page that shows the value at a path, from its n-th child or character on."""

_PLAIN_KEY: Final = re.compile(r"[^\W\d][\w$-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One line of the tree: a value, the opening or the end of a container, or a link to what is not here."""

    kind: str
    """`open`, `close`, `value` or `rest`."""
    key: str = ""
    text: str = ""
    value_type: str = ""
    is_open: bool = False
    is_overridden: bool = False
    """Whether the same key comes again in its object: receivers see only the last one."""
    url: str = ""


def lines(document: Any, path: Path, first: int, url_of: UrlOf) -> list[Line]:
    """Return the children, from the `first`, of the container at `path`, as far as a page shows them.

    Raises `LookupError` if there is no container at `path`.
    """
    value = at(document, path)
    if not is_container(value):
        raise LookupError(f"There is no list or object at {path}.")
    return list(_TreePage(url_of).children(value, path, first))


class _TreePage:
    """Yields the lines of a page, and counts how many more it may have."""

    def __init__(self, url_of: UrlOf) -> None:
        self._url_of = url_of
        self._remaining = MAX_LINES

    def children(
        self, container: Any, path: Path, first: int = 0, *, level: int = 0, reserved: int = 0
    ) -> Iterator[Line]:
        """Yield the children of a container, and a link to those that are left out.

        `reserved` lines are kept for the containers around it, so that a long list does not push its siblings out.
        """
        shown = first
        if level < MAX_LEVELS:
            last = {key: n for n, (key, _child) in enumerate(container)} if isinstance(container, Members) else {}
            end = min(len(container), first + min(MAX_CHILDREN, max(0, self._remaining - reserved)))
            while shown < end and self._remaining > reserved:
                child_path = (*path, shown)
                is_overridden = bool(last) and last[container[shown][0]] != shown
                shown += 1
                yield from self._child(container, child_path, is_overridden, level, reserved + end - shown)
        rest = max(0, len(container) - shown)
        if rest:
            text = ngettext("Show the rest (%(number)s value)", "Show the rest (%(number)s values)", rest)
            yield Line(kind="rest", text=text % {"number": rest}, url=self._url_of(path, shown))

    def _child(self, container: Any, path: Path, is_overridden: bool, level: int, reserved: int) -> Iterator[Line]:  # noqa: FBT001
        value, key = at(container, path[-1:]), _key(container, path[-1])
        self._remaining -= 1 + (len(key) + min(length_of(value), MAX_TEXT)) // LINE_CHARS
        if not is_container(value):
            url = self._url_of(path, 0) if length_of(value) > MAX_TEXT else ""
            text = value_text(value, 0, MAX_TEXT)
            yield Line(
                kind="value", key=key, text=text, value_type=_value_type(value), is_overridden=is_overridden, url=url
            )
        elif not value:
            text = "{}" if isinstance(value, Members) else "[]"
            yield Line(kind="value", key=key, text=text, value_type="empty", is_overridden=is_overridden)
        else:
            is_open = level < MAX_OPEN_LEVELS and len(value) <= min(MAX_OPEN_CHILDREN, self._remaining - reserved)
            yield Line(kind="open", key=key, text=_count(value), is_open=is_open, is_overridden=is_overridden)
            yield from self.children(value, path, level=level + 1, reserved=reserved)
            yield Line(kind="close")


def at(document: Any, path: Path) -> Any:
    """Return the value at `path`. Raises `LookupError` if there is none."""
    value = document
    for index in path:
        if not is_container(value):
            raise LookupError(f"There is nothing at {path}.")
        child = value[index]
        value = child[1] if isinstance(value, Members) else child
    return value


def path_labels(document: Any, path: Path) -> list[str]:
    """Return the steps to `path` as people write them: keys, and `[n]` in lists."""
    value, found = document, []
    for index in path:
        found.append(_key(value, index))
        value = at(value, (index,))
    return found


def path_from_text(text: str) -> Path:
    """Return the path of an address. Raises `ValueError` if it is not valid."""
    if not re.fullmatch(r"(\d{1,9}(\.\d{1,9})*)?", text, re.ASCII):
        raise ValueError("A path is numbers joined by dots.")
    return tuple(int(part) for part in text.split(".")) if text else ()


def path_to_text(path: Path) -> str:
    """Return a path as an address names it."""
    return ".".join(map(str, path))


def is_container(value: Any) -> bool:
    """Return whether a value is a list or an object."""
    return isinstance(value, (list, Members))


def length_of(value: Any) -> int:
    """Return how many children a container has, or how many characters a text or a number has."""
    return len(value) if isinstance(value, (list, Members, str, Number)) else 0


def value_text(value: Any, start: int = 0, length: int = MAX_TEXT_ALONE) -> str:
    """Return a text, number or constant as JSON, or a part of a long one, with an ellipsis where it is cut.

    Characters that are invisible, change the direction of text or can't be encoded are written as JSON's escapes.
    """
    if not isinstance(value, (str, Number)):
        return json.dumps(value)
    part, is_cut = value[start : start + length], start + length < len(value)
    if isinstance(part, Number):
        return part.decode() + "…" * is_cut
    quoted = formatting.visible(json.dumps(part, ensure_ascii=False))
    return ("…" if start else '"') + quoted[1:-1] + ("…" if is_cut else '"')


def _value_type(value: Any) -> str:
    if isinstance(value, Number):
        return "number"
    return "text" if isinstance(value, str) else "word"


def _key(container: Any, index: int) -> str:
    """Return the label of a child: its index in a list, or its key in an object."""
    return key_text(container[index][0]) if isinstance(container, Members) else f"[{index}]"


def key_text(key: str) -> str:
    """Return the label of an object's key, cut if it is long."""
    if len(key) <= MAX_KEY and _PLAIN_KEY.fullmatch(key):
        return formatting.visible(key)
    return value_text(key, 0, MAX_KEY)


def _count(value: Any) -> str:
    number = len(value)
    if isinstance(value, Members):
        return "{} " + ngettext("%(number)s key", "%(number)s keys", number) % {"number": number}
    return "[] " + ngettext("%(number)s value", "%(number)s values", number) % {"number": number}
