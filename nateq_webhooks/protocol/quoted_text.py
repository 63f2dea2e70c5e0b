"""Finding values in a text that quotes them: as they are, or as JSON, Python, URLs and HTML write them, also nested.

Both the value and the text are brought into one plain form: escapes are decoded, backslashes are left out, what
separates words is one space, and an accent or a vowel mark is a character of its own (Unicode's NFD). So `repr()` of
the bytes of a JSON text quotes a value just as the value itself does.
"""

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

MIN_CHARS: Final = 4
"""A shorter value is found only where it is a word of its own: 1 is in nearly every traceback. A shorter piece of a
value is not found at the end of a text that was cut."""

_BACKSLASHES: Final = r"(?:\\|%5[Cc])+"
_TOKEN: Final = re.compile(
    r"""
      (?P<bytes>(?:BS x[89a-f][0-9a-f])+)
    | (?P<percent>(?:%[89a-f][0-9a-f])+)
    | BS u(?P<high>d[89ab][0-9a-f]{2})BS u(?P<low>d[c-f][0-9a-f]{2})
    | (?:BS (?-i:u)(?P<u4>[0-9a-f]{4})|BS (?-i:U)(?P<u8>[0-9a-f]{8})|BS x(?P<x2>[0-7][0-9a-f]))
    | (?P<space>BS [nrtbfv]|\r?\n[ \t|]*)
    | (?P<backslashes>BS)
    | %(?P<p2>[0-7][0-9a-f])
    | (?P<entity>&(?:amp|lt|gt|quot|\#[0-9]{1,7}|\#x[0-9a-f]{1,6});)
    """.replace("BS", _BACKSLASHES),
    re.VERBOSE | re.IGNORECASE,
)
_ESCAPE: Final = re.compile(r"\\[\\uUx'\"/]|%[0-9A-Fa-f]{2}|&(?:amp|lt|gt|quot|#)")
_CUT_ESCAPE: Final = re.compile(r"(?:\\{1,80}(?:u[0-9a-f]{0,3}|x[0-9a-f]?)?|%[0-9a-f]?|&\#?\w{0,6})\Z", re.IGNORECASE)
_MAX_ESCAPE_CHARS: Final = 80
_MAX_NESTED: Final = 5
"""How often a text is decoded. JSON and Python in each other count once, however deep they are."""

_SPACES: Final = re.compile(r"[\s+]+")
_BYTE: Final = re.compile(r"x([0-9a-f]{2})", re.IGNORECASE)
_BYTE_OF_URL: Final = re.compile(r"%([0-9a-f]{2})", re.IGNORECASE)

_FIRST_COMPOSED: Final = "\u00c0"
"""No character before it consists of others, or is written on the one before it."""

_Piece = tuple[str, int, int]
"""A character of the plain form, and where the text has it."""


class PlainText:
    """A text in its plain form."""

    def __init__(self, text: str) -> None:
        self._text = text
        pieces = list(_decomposed(_one_space(_decoded_to_the_end(text))))
        self.plain = "".join(character for character, _start, _end in pieces)
        self._places = [(start, end) for _character, start, end in pieces]
        self._whole = self._end_of_whole_escapes()

    def masked(self, values: Iterable[str], mask: str) -> str:
        """Return the text with `mask` in the place of each value, given in their plain form.

        So is a piece of one that the text begins or ends with, because it may have been cut.
        """
        return self._replaced({place for value in values for place in (*self._found(value), *self._cut(value))}, mask)

    def otherwise_written_replaced(self, pattern: "re.Pattern[str]", mask: str) -> str:
        """Return the text with `mask` in the place of what matches in the plain form, but is written otherwise."""
        places = (match.span() for match in pattern.finditer(self.plain))
        return self._replaced({place for place in places if self._is_otherwise_written(*place)}, mask)

    def _is_otherwise_written(self, first: int, end: int) -> bool:
        """Return whether a place has an escape, or composed characters; not half a character: "Andre" in "André"."""
        places = self._places
        if end < len(places) and places[end] == places[end - 1]:
            return False
        written = self._text[places[first][0] : places[end - 1][1]]
        return any(mark in written for mark in "\\%&") or not unicodedata.is_normalized("NFD", written)

    def _replaced(self, places: Iterable[tuple[int, int]], mask: str) -> str:
        kept: list[str] = []
        start = 0
        for first, end in _joined(sorted(places)):
            kept += (self._text[start : self._places[first][0]], mask)
            start = self._places[end - 1][1]
        return "".join((*kept, self._text[start:]))

    def _found(self, value: str) -> Iterator[tuple[int, int]]:
        plain, size = self.plain, len(value)
        first = plain.find(value)
        while first >= 0:
            end = first + size
            if size >= MIN_CHARS or not (_is_word(plain[first - 1 : first]) or _is_word(plain[end : end + 1])):
                yield first, end
            first = plain.find(value, end)

    def _cut(self, value: str) -> Iterator[tuple[int, int]]:
        for size in range(min(len(value) - 1, self._whole), MIN_CHARS - 1, -1):
            if self.plain.startswith(value[:size], self._whole - size):
                yield self._whole - size, len(self.plain)
                break
        for size in range(min(len(value) - 1, len(self.plain)), MIN_CHARS - 1, -1):
            if self.plain.startswith(value[-size:]):
                yield 0, size
                break

    def _end_of_whole_escapes(self) -> int:
        """Return where an escape begins in the plain form that the text ends in the middle of; else its end."""
        cut = _CUT_ESCAPE.search(self._text, max(0, len(self._text) - _MAX_ESCAPE_CHARS))
        end = len(self._places)
        while cut is not None and end and self._places[end - 1][0] >= cut.start():
            end -= 1
        return end


def has_escapes(text: str) -> bool:
    """Return whether the plain form of a text differs from it by more than white space."""
    return _ESCAPE.search(text) is not None


def is_mixed(text: str) -> bool:
    """Return whether a text has some characters composed and others not, or marks in another order than Unicode's."""
    return not (text.isascii() or any(unicodedata.is_normalized(form, text) for form in ("NFC", "NFD")))


def canonical(text: str) -> str:
    """Return the text with each accent and vowel mark as a character of its own, in Unicode's order."""
    return unicodedata.normalize("NFD", text)


def plain_form(value: str) -> str:
    """Return a value in its plain form, without spaces around it."""
    decoded = "".join(character for character, _start, _end in _decoded_to_the_end(value))
    return canonical(_SPACES.sub(" ", decoded)).strip(" ")


def _decoded_to_the_end(text: str) -> list[_Piece]:
    """Decode a text until no escape is left: what a URL has may have been quoted in another URL, or as HTML."""
    pieces = list(_decoded(text))
    for _again in range(_MAX_NESTED - 1):
        decoded = "".join(character for character, _start, _end in pieces)
        if not has_escapes(decoded):
            break
        pieces = [(character, pieces[start][1], pieces[end - 1][2]) for character, start, end in _decoded(decoded)]
    return pieces


def _decoded(text: str) -> Iterator[_Piece]:
    position = 0
    for token in _TOKEN.finditer(text):
        for index in range(position, token.start()):
            yield text[index], index, index + 1
        position = token.end()
        yield from _pieces_of(token)
    for index in range(position, len(text)):
        yield text[index], index, index + 1


def _pieces_of(token: "re.Match[str]") -> Iterator[_Piece]:
    start, end, kind = token.start(), token.end(), token.lastgroup
    if kind in ("bytes", "percent"):
        yield from _characters_of_bytes(token)
    elif kind == "low":
        high, low = int(token["high"], 16), int(token["low"], 16)
        yield chr(0x10000 + ((high - 0xD800) << 10) + low - 0xDC00), start, end
    elif kind in ("u4", "u8", "x2", "p2"):
        code = int(token[kind], 16)
        yield chr(code) if code <= 0x10FFFF else " ", start, end
    elif kind == "space":
        yield " ", start, end
    elif kind == "entity":
        for character in html.unescape(token[0]):  # none for a code that is no character
            yield character, start, end


def _characters_of_bytes(token: "re.Match[str]") -> Iterator[_Piece]:
    """Decode escaped bytes as UTF-8, or as Latin-1 if they are no UTF-8. A character's escapes are its place."""
    escapes = list((_BYTE_OF_URL if token.lastgroup == "percent" else _BYTE).finditer(token[0]))
    ends = [token.start() + escape.end() for escape in escapes]
    raw = bytes(int(escape[1], 16) for escape in escapes)
    try:
        characters = raw.decode()
    except UnicodeDecodeError:
        characters, sizes = raw.decode("latin-1"), [1] * len(raw)
    else:
        sizes = [len(character.encode()) for character in characters]
    start, index = token.start(), -1
    for character, size in zip(characters, sizes, strict=True):
        index += size
        yield character, start, ends[index]
        start = ends[index]


def _one_space(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """Make one space of each run of what separates words; URLs write a space as a plus sign."""
    was_space = False
    for character, start, end in pieces:
        is_space = character == "+" or character.isspace()
        if not (is_space and was_space):
            yield " " if is_space else character, start, end
        was_space = is_space


def _decomposed(pieces: Iterable[_Piece]) -> Iterator[_Piece]:
    """Make of each character those that it consists of, marks in Unicode's order; all have the place of the whole."""
    group: list[_Piece] = []
    for piece in pieces:
        character = piece[0]
        if group and (character < _FIRST_COMPOSED or not unicodedata.combining(canonical(character)[0])):
            yield from _decomposed_one(group)
            group = []
        group.append(piece)
    if group:
        yield from _decomposed_one(group)


def _decomposed_one(group: list[_Piece]) -> Iterator[_Piece]:
    if len(group) == 1 and group[0][0] < _FIRST_COMPOSED:
        yield group[0]
        return
    start, end = group[0][1], group[-1][2]
    for character in canonical("".join(character for character, _start, _end in group)):
        yield character, start, end


def _joined(places: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Join the places that overlap."""
    if not places:
        return
    start, end = places[0]
    for first, last in places[1:]:
        if first < end:
            end = max(end, last)
        else:
            yield start, end
            start, end = first, last
    yield start, end


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"
