"""What a body says about one person, and the body without it.

A person is found by the value at a path, such as `data.requester.id`. The object that holds the path's last key is
taken for the person: its values are blanked, and its e-mail addresses, phone numbers and ids identify the person
elsewhere. Its names do not: other people may have them, too.
"""

import contextlib
import functools
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from nateq_webhooks.protocol import phone_numbers
from nateq_webhooks.protocol.envelope import load_document
from nateq_webhooks.protocol.quoted_text import canonical
from nateq_webhooks.protocol.quotes import ERASED, Quotes

Path = tuple[str, ...]

ANY: Final = "*"
"""The part of a path that stands for each element of a list, or each key of an object."""

_ADDRESSES: Final = ("mail", "phone", "mobile", "whatsapp")
"""How the keys of addresses and phone numbers end, without case, dashes and underscores: `work_email`."""

_NAMES: Final = frozenset(
    {
        *("name", "firstname", "middlename", "lastname", "fullname", "givenname", "familyname", "surname"),
        *("displayname", "nickname", "username"),
    }
)
"""The keys of a person's names; others that end so are names of something else: `company_name`, `file_name`."""

_ID: Final = "id"

_IDS: Final = re.compile(r"(?i:(?:^|[_-])(?:uu|gu)?ids?)$|[a-z](?:ID|Id)s?$")
"""The keys of ids: `id`, `user_id`, `user-ids`, `userId`; not `paid`."""

_MIN_DIGITS: Final = phone_numbers.MIN_DIGITS
"""A number with fewer digits does not identify a person by itself: prices, dates and order numbers have so many."""

_PHONE: Final = re.compile(r"\+\d[\d ().-]{6,}")
"""A phone number as it is written with its country."""

_QUOTE: Final = '"'
"""How a value begins that is written as JSON in a form's field."""

Holder = tuple[Any, Any]
"""An object or a list, and the key or the index of a value in it."""


def parse_path(text: str) -> Path:
    """Return the keys of a dotted path. Raises `ValueError` with what is wrong."""
    path = tuple(text.strip().split("."))
    if not all(path):
        raise ValueError(f"{text!r} is not a path: a key is empty. Write it like data.requester.id.")
    if set(path) == {ANY}:
        raise ValueError(f"{text!r} names no key. Write it like data.requester.id.")
    return path


@dataclass(frozen=True, slots=True)
class Person:
    """What a person is known by."""

    distinct: frozenset[str] = frozenset()
    "Ids, e-mail addresses and phone numbers: they are the person's wherever they are quoted."
    names: frozenset[str] = frozenset()
    "Names, short numbers, and other values that several people may have: the person's in what is about the person."
    others: frozenset[str] = frozenset()
    "Short values and names of one word: the person's in the person's own deliveries, as a whole value."

    def __or__(self, more: "Person") -> "Person":
        return Person(self.distinct | more.distinct, self.names | more.names, self.others | more.others)


def person_of(value: str, key: str) -> Person:
    """Return a value that was searched for under a key. A short number identifies nobody elsewhere."""
    one = frozenset({value})
    if not Quotes(one):
        return Person(others=one)
    return Person(distinct=one) if _is_distinct(value, key) else Person(names=one)


@dataclass(frozen=True, slots=True)
class Match:
    """A document, where it has the values that were searched for, and what identifies the person."""

    document: dict[str, Any]
    holders: Sequence[Holder]
    person: Person = field(default_factory=Person)
    said: frozenset[str] = frozenset()
    "What the document said of the person before values of it were masked."
    is_hidden: bool = False
    "Whether it is masked where it had the value, so that nothing tells which objects are the person's."

    @property
    def own_values(self) -> frozenset[str]:
        """Every text and number of the person's objects: an error of a receiver may quote any of them."""
        found: set[str] = set(self.said)
        for holder, key in self.holders:
            whole = holder if self._is_person(holder) else {key: holder[key]}
            found.update(_scalars_in(whole))
        return frozenset(found)

    def blank_person(self) -> None:
        """Blank the values of the objects in which the values were found."""
        for holder, key in self.holders:
            if self._is_person(holder):
                _blank_all(holder)
            elif isinstance(holder[key], (dict, list)):
                _blank_all(holder[key])
            else:
                holder[key] = _blank_value(holder[key])

    def _is_person(self, holder: Any) -> bool:
        """Return whether the object is the person, not the envelope or a list of plain values."""
        return isinstance(holder, dict) and not any(
            holder is part for part in (self.document, self.document.get("metadata"))
        )


def find(document: dict[str, Any], wanted: Mapping[Path, Collection[str]]) -> Match | None:
    """Return where the document has one of the wanted values, by path; None if it has none."""
    holders = [
        (holder, key)
        for path, values in wanted.items()
        for holder, key in _holders(document, path)
        if any(_is_one_of(value, values) for value in _scalars_of(holder[key]))
    ]
    if not holders:
        return None
    match = Match(document, holders)
    person = Person()
    for holder, key in holders:
        for value in _scalars_of(holder[key]):
            if any(_is_one_of(value, values) for values in wanted.values()):
                person |= person_of(_as_text(value), key if isinstance(key, str) else "")
        if match._is_person(holder):  # noqa: SLF001 - of this module
            person |= _identifying(holder, key)
    return Match(document, holders, person)


def may_have(body: bytes, values: Collection[str]) -> bool:
    """Return False if a body has none of the values, so that it need not be parsed: a fast test that may be wrong."""
    if b"\\" in body:
        return True
    numbers = _numbers(frozenset(values))
    if numbers:
        digits = phone_numbers.digits_in(text_of(body))
        if any(number in digits for number in numbers):
            return True
    if is_utf8(body) and all(value.isascii() for value in values):
        lowered = body.lower()  # twenty times as fast
        return any(value.lower().encode() in lowered for value in values)
    folded = canonical(text_of(body)).casefold()  # bytes.lower() knows the letters of ASCII only
    return any(canonical(value).casefold() in folded for value in values)


@functools.lru_cache(maxsize=16)
def _numbers(values: frozenset[str]) -> Sequence[str]:
    return phone_numbers.all_digits(values)


def text_of(body: bytes) -> str:
    """Return the text of a body to search in, which need not be JSON: as UTF-8, and as UTF-16 if it looks like that."""
    text = body.decode("utf-8", "replace")
    return text if is_utf8(body) else f"{text}\n{body.decode(json.detect_encoding(body), 'replace')}"


def is_utf8(body: bytes) -> bool:
    """Return whether a body does not look like UTF-16 or UTF-32."""
    return json.detect_encoding(body).startswith("utf-8")


def quotes_in(body: bytes, quotes: Quotes) -> bool:
    """Return whether a body quotes one of the values, as JSON or, if it is unreadable, as text."""
    if quotes.are_in(text_of(body)):
        return True
    document = load_document(body) if b"\\" in body else None
    return document is not None and any(quotes.are_in(text) for text in _texts_in(document))


def blank_quotes(document: Any, quotes: Quotes, others: Collection[str] = (), *, has_numbers: bool = True) -> bool:
    """Blank quoted values in every text and key of a document; return whether there were any.

    `others` are blanked where they are a whole text or number. Without `has_numbers` numbers stay.
    """
    whole = {canonical(value).lower() for value in (*others, *quotes.values)}
    found = False
    for container in _containers_in(document):
        for key in list(container) if isinstance(container, dict) else range(len(container)):
            value = container[key]
            blanked = value
            if isinstance(value, str):
                blanked = ERASED if canonical(value).lower() in whole else quotes.blanked(value)
            elif has_numbers and _is_scalar(value) and (_as_text(value) in whole or quotes.are_in(_as_text(value))):
                blanked = None
            if blanked is not value and blanked != value:
                container[key], found = blanked, True
        if isinstance(container, dict) and any(quotes.are_in(key) for key in container):
            renamed = {quotes.blanked(key): value for key, value in container.items()}
            container.clear()
            container.update(renamed)
            found = True
    return found


def blank_everything(document: dict[str, Any]) -> None:
    """Blank every value of the data of a document."""
    if isinstance(document.get("data"), (dict, list)):
        _blank_all(document["data"])
    elif "data" in document:
        document["data"] = _blank_value(document["data"])


def all_values(document: dict[str, Any]) -> frozenset[str]:
    """Return every text and number of the data of a document."""
    return frozenset(_scalars_in([document.get("data")]))


def as_body(document: Mapping[str, Any]) -> bytes:
    """Return a document as the bytes of a body."""
    return json.dumps(document, separators=(",", ":")).encode()


def offered(body: bytes) -> list[tuple[str, str]]:
    """Return the paths and values of a body by which a person may be searched for: ids, addresses and names in `data`.

    The id of an object only if it has an address or a name, too.
    """
    document = load_document(body)
    if document is None:
        return []
    found: list[tuple[str, str]] = []
    todo: list[tuple[str, Any]] = [("data", document.get("data"))]
    while todo:
        path, value = todo.pop(0)
        if isinstance(value, list):
            todo.extend((path, each) for each in value)
        elif isinstance(value, dict):
            names = [key for key, each in value.items() if _is_scalar(each) and _is_identifying(key)]
            keys = [key for key in value if _plain(key) == _ID and _is_scalar(value[key])] + names if names else []
            found += [(f"{path}.{key}", _as_text(value[key])) for key in keys if _is_key_of_path(key)]
            todo.extend((f"{path}.{key}", each) for key, each in value.items() if _is_key_of_path(key))
    return list(dict.fromkeys((path, value) for path, value in found if value))


def pair_of(path: str, value: str) -> str:
    """Return a path and a value in one text for a form; the value as JSON where a browser would change it."""
    is_plain = is_sent_back(value) and not value.startswith(_QUOTE)
    return f"{path}={value if is_plain else json.dumps(value)}"


def pair_from(text: str) -> tuple[str, str]:
    """Return the path and the value of such a text."""
    path, _equals, value = text.partition("=")
    if value.startswith(_QUOTE):
        with contextlib.suppress(ValueError):
            return path, str(json.loads(value))
    return path, value


def is_sent_back(text: str) -> bool:
    """Return whether a browser sends a text back as it is: line ends, NUL and lone surrogates it does not."""
    return not set(text) & set("\r\n\0") and text == text.encode("utf-8", "replace").decode()


def _holders(document: Any, path: Path) -> Iterator[Holder]:
    """Yield where a path leads to; lists on the way are gone through, whether the path has a `*` for them or not."""
    todo: list[tuple[Any, Path]] = [(document, path)]
    while todo:
        value, rest = todo.pop()
        if isinstance(value, list):
            if rest == (ANY,):
                yield from ((value, index) for index in range(len(value)))
            else:
                todo.extend((each, rest[1:] if rest[0] == ANY else rest) for each in value)
        elif isinstance(value, dict):
            for key in list(value) if rest[0] == ANY else [rest[0]] if rest[0] in value else []:
                if len(rest) == 1:
                    yield value, key
                else:
                    todo.append((value[key], rest[1:]))


def _identifying(person: dict[str, Any], searched: str) -> Person:
    """Return what identifies the person, of the values beside the one that was searched for.

    A name of one word is a word of many texts. An id beside a name is the person's if the name, or an address, was
    searched for.
    """
    found = Person()
    for key, each in person.items():
        if not (_is_identifying(key) or (_plain(key) == _ID and _is_identifying(searched))):
            continue
        for value in map(_as_text, _scalars_of(each)):
            one = frozenset({value})
            if _plain(key) in _NAMES and " " not in value.strip() and not _is_distinct(value, key):
                found |= Person(others=one if value.strip() else frozenset())
            elif value.strip():
                found |= person_of(value, key)
    return found


def _is_distinct(value: str, key: str) -> bool:
    """Return whether no two people have a value: an id, an e-mail address or a phone number, by the key or as written.

    A name is none, and neither is a town or a date of birth. A short number may be a price or a date elsewhere.
    """
    if value.isdigit() and len(value) < _MIN_DIGITS:
        return False
    is_address = _plain(key).endswith(_ADDRESSES) or _PHONE.fullmatch(value) is not None
    return is_address or bool(_IDS.search(key)) or ("@" in value and " " not in value.strip())


def _is_identifying(key: str) -> bool:
    return _plain(key) in _NAMES or _plain(key).endswith(_ADDRESSES)


def _is_key_of_path(key: str) -> bool:
    """Return whether a path can have the key, also where it is written `path=value`."""
    return bool(key.strip()) and key == key.strip() and key != ANY and not {".", "="} & set(key)


def _plain(key: str) -> str:
    return key.lower().replace("_", "").replace("-", "")


def _scalars_of(value: Any) -> Iterator[Any]:
    """Yield a value, or the values of a list of them; nothing for null and for objects."""
    for each in value if isinstance(value, list) else [value]:
        if _is_scalar(each):
            yield each


def _is_scalar(value: Any) -> bool:
    """Return whether a value may identify somebody: text or a number. True and false do not."""
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _is_one_of(value: Any, wanted: Collection[str]) -> bool:
    """Compare as text, or a number as JSON writes it. The case of e-mail addresses does not count."""
    text = _as_text(value)
    return text in wanted or any(_is_same(text, each) for each in wanted)


def _is_same(text: str, value: str) -> bool:
    """Return whether two texts are the same for a reader: with composed accents or others, or one phone number."""
    if "@" in text:
        text, value = text.lower(), value.lower()
    return canonical(text) == canonical(value) or phone_numbers.is_same(text, value)


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _containers_in(document: Any) -> Iterator[Any]:
    """Yield every object and list, without recursion; one is yielded before its members are read."""
    todo = [document]
    while todo:
        container = todo.pop()
        if isinstance(container, (dict, list)):
            yield container
            todo.extend(container.values() if isinstance(container, dict) else container)


def _texts_in(document: Any) -> Iterator[str]:
    """Yield every text and every key."""
    for container in _containers_in(document):
        if isinstance(container, dict):
            yield from container
        yield from (value for value in _values_of(container) if isinstance(value, str))


def _scalars_in(document: Any) -> Iterator[str]:
    """Yield every text and number, numbers as JSON and Python write them."""
    for container in _containers_in(document):
        yield from (_as_text(value) for value in _values_of(container) if _is_scalar(value))


def _values_of(container: Any) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def _blank_all(whole: Any) -> None:
    for container in _containers_in(whole):
        for key in container if isinstance(container, dict) else range(len(container)):
            if not isinstance(container[key], (dict, list)):
                container[key] = _blank_value(container[key])


def _blank_value(value: Any) -> Any:
    return ERASED if isinstance(value, str) else None
