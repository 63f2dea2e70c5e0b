"""Masking the values at some paths of a JSON document: in a body's bytes, in a parsed document, and in other texts.

A path is a list of names: `data.requester.email`. A `*` stands for any key, and for any index of a list. A path that
leads through a list applies to each of its elements; a number is an index, too. Whatever is at a path is masked as a
whole, of any type.
"""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Final

from nateq_webhooks.protocol.quoted_text import PlainText, plain_form

MASK: Final = "[redacted]"
"""What is shown, or stored, in the place of a value."""

ANY: Final = "*"
"""The segment of a path that stands for any key or index."""

Path = tuple[str, ...]

MAX_VALUES: Final = 1_000
"""Values of a document that are looked for in other texts. If there are more, the whole text is masked."""

MAX_NUMBER_CHARS: Final = 300
"""Longer numbers are looked for as the JSON text writes them; Python would write some of them in another way."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_MASK_JSON: Final = json.dumps(MASK)
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_JSON_TOKEN: Final = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*+")(?P<colon>[ \t\n\r]*+:)?|(?P<number>-?[0-9][0-9.eE+-]*+)', re.DOTALL
)
_DECODER: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
"""Numbers stay text: they may have more digits than Python converts."""


def parse_path(text: str) -> Path | None:
    """Return the path that a text names; None if it names none."""
    names = tuple(text.split("."))
    return names if all(names) else None


@dataclass(slots=True)
class _Node:
    """A place in the tree of the paths."""

    children: "dict[str, _Node]" = field(default_factory=dict)
    is_end: bool = False


_Places = tuple[_Node, ...]
"""Where the paths are that lead to a value; none of them ends there."""


class Redaction:
    """Some paths, and what is masked by them."""

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._root = _Node()
        for path in paths:
            node = self._root
            for name in path:
                node = node.children.setdefault(name, _Node())
            node.is_end = True

    def __bool__(self) -> bool:
        return bool(self._root.children)

    def covers(self, path: Sequence[str]) -> bool:
        """Return whether a search at a path would compare a value that is masked."""
        places: _Places = (self._root,)
        for name in path:
            below = _below(places, name)
            if any(node.is_end for node in below):
                return True
            places = (*below, *places) if name.isdecimal() or name == ANY else below
        return False

    def masked(self, document: Any) -> Any:
        """Return a document with the values masked. It shares what is not on a path with the given one."""
        if not self:
            return document
        top: list[Any] = [document]
        todo: list[tuple[Any, Any, Any, _Places]] = [(top, 0, document, (self._root,))]
        while todo:
            parent, key, value, places = todo.pop()
            if not isinstance(value, (dict, list)):
                continue
            parent[key] = copied = value.copy()
            for name, child in _members(value):
                below = _places_of(places, name, in_list=isinstance(value, list))
                if below is None:
                    copied[name] = MASK
                elif below:
                    todo.append((copied, name, child, below))
        return top[0]

    def quoted_values(self, text: str) -> Iterator[str]:
        """Yield what a JSON text has at the paths, as other texts may quote it: texts, numbers, and keys.

        Numbers come as the text writes them and as Python does; true, false and null don't come. Keys are those of a
        masked object, unless they are names as programs use them: `email`, `first_name`. Raises as `masked_json` does.
        """
        for first, end in _spans(text, (self._root,)):
            yield from _quotable(text[first:end])

    def masked_json(self, text: str) -> str:
        """Return a JSON text with the values masked; everything else is exactly as it was.

        All of two equal keys are masked. Raises `ValueError` for a text that is not JSON, and `RecursionError` for one
        that is nested deeper than Python reads.
        """
        kept: list[str] = []
        start = 0
        for first, end in _spans(text, (self._root,)):
            kept += (text[start:first], _MASK_JSON)
            start = end
        return "".join((*kept, text[start:]))

    def text_mask(self, text: str) -> "TextMask":
        """Return what masks the values of a JSON text in other texts. Raises as `masked_json` does."""
        return TextMask(self.quoted_values(text))


def masked_body(redaction: Redaction, body: bytes) -> bytes | None:
    """Return a body with the values masked, in bytes that are otherwise the same; None if it is not a JSON object."""
    try:
        text = body.removeprefix(BOM_UTF8).decode()
        if not text.lstrip(" \t\n\r").startswith("{"):
            return None
        masked = redaction.masked_json(text).encode()
        return BOM_UTF8 + masked if body.startswith(BOM_UTF8) else masked
    except (ValueError, RecursionError):
        return None


class TextMask:
    """Masks some values in any text, such as an error that quotes them."""

    def __init__(self, values: Iterable[str]) -> None:
        plain: set[str] = set()
        for value in values:
            plain.add(plain_form(value))
            if len(plain) > MAX_VALUES:
                break
        self._masks_everything = len(plain) > MAX_VALUES
        self._values = sorted(plain - {""})

    def __bool__(self) -> bool:
        """Return whether there is anything to mask."""
        return self._masks_everything or bool(self._values)

    def masked(self, text: str) -> str:
        """Return the text with each of the values masked, also one that the text begins or ends in the middle of."""
        if self._masks_everything:
            return MASK if text else text
        return PlainText(text).masked(self._values, MASK) if self._values and text else text


def _quotable(json_text: str) -> Iterator[str]:
    """Yield the texts, numbers and keys of a legal JSON text."""
    for token in _JSON_TOKEN.finditer(json_text):
        if (written := token["text"]) is not None:
            value, _end = scanstring(written, 1, True)  # noqa: FBT003 - json's own
            if token["colon"] is None or not _IDENTIFIER.fullmatch(value):
                yield value
        elif (number := token["number"]) is not None:
            yield number
            if len(number) <= MAX_NUMBER_CHARS:
                yield str(json.loads(number))


def _members(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value)


def _below(places: _Places, name: str) -> _Places:
    return tuple(node for place in places for node in (place.children.get(name), place.children.get(ANY)) if node)


def _places_of(places: _Places, name: object, *, in_list: bool) -> _Places | None:
    """Return where the paths are at a child of a container; None if one ends there, empty if none leads there."""
    below = _below(places, str(name))
    if any(node.is_end for node in below):
        return None
    return (*below, *places) if in_list else below


def _spans(text: str, root: _Places) -> Iterator[tuple[int, int]]:
    """Yield where the masked values are in a JSON text, in their order. Raises as `Redaction.masked_json` does."""
    position = _skip_space(text, 0)
    if text[position : position + 1] not in ("{", "["):
        _value, end = _DECODER.raw_decode(text, position)
        _refuse_rest(text, end)
        return
    open_containers: list[tuple[_Places, bool, int]] = [(root, text[position] == "[", 0)]
    position = _skip_space(text, position + 1)
    is_first = True
    while open_containers:
        places, is_list, index = open_containers[-1]
        closing = "]" if is_list else "}"
        if text[position : position + 1] == closing:
            open_containers.pop()
            position, is_first = _skip_space(text, position + 1), False
            continue
        if not is_first:
            position = _after(text, position, ",")
        name: object = index
        if not is_list:
            _expect(text, position, '"')
            name, position = scanstring(text, position + 1, True)  # noqa: FBT003 - json's own
            position = _after(text, _skip_space(text, position), ":")
        open_containers[-1] = (places, is_list, index + 1)
        below = _places_of(places, name, in_list=is_list)
        is_first = False
        if below and text[position : position + 1] in ("{", "["):
            open_containers.append((below, text[position] == "[", 0))
            position, is_first = _skip_space(text, position + 1), True
            continue
        _value, end = _DECODER.raw_decode(text, position)
        if below is None:
            yield position, end
        position = _skip_space(text, end)
    _refuse_rest(text, position)


def _skip_space(text: str, position: int) -> int:
    found = _SPACE.match(text, position)
    return position if found is None else found.end()


def _expect(text: str, position: int, character: str) -> None:
    if text[position : position + 1] != character:
        raise ValueError(f"The JSON has no {character} at character {position}.")


def _after(text: str, position: int, character: str) -> int:
    _expect(text, position, character)
    return _skip_space(text, position + 1)


def _refuse_rest(text: str, position: int) -> None:
    if _skip_space(text, position) != len(text):
        raise ValueError(f"The JSON ends at character {position}, and more follows.")
