"""Finding values of a person in text: as they are, and as columns, JSON, Python, URLs and HTML write them.

Accents and vowel marks are found composed and as characters of their own, phone numbers with and without separators.
"""

import functools
import html
import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from nateq_webhooks.protocol import phone_numbers
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.quoted_text import PlainText, canonical, has_escapes, is_mixed, plain_form

ERASED: Final = "[erased]"
"""What stands in place of a text that was erased."""

MIN_CHARS: Final = 5
"""Shorter values are not searched for in text, and shorter pieces not at the end of a text that was cut."""

_MIN_DIGITS: Final = 8
"""A phone number is also searched for without its "+" if it has so many digits."""

_AFTER_ESCAPE: Final = (
    r"(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2})|(?<=\\[abfnrtv])|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4})"
)

_BEFORE: Final = rf"(?:(?<![A-Za-z0-9_])|{_AFTER_ESCAPE})"
"""No letter or digit before it, except those of an escape: `id%3Dusr_9`."""

_AFTER: Final = r"(?![A-Za-z0-9_])"

_BEFORE_ADDRESS: Final = rf"(?:(?<![A-Za-z0-9_])(?<![A-Za-z0-9_][.+-])|{_AFTER_ESCAPE})"
_AFTER_ADDRESS: Final = r"(?![A-Za-z0-9_]|[.-][A-Za-z0-9])"
"""An e-mail address with more before or after it is somebody else's: `omar.ali@example.com` for `ali@example.com`."""

_BEFORE_QUOTED_ADDRESS: Final = rf"(?:(?<![A-Za-z0-9_])(?<![A-Za-z0-9_][.-])|{_AFTER_ESCAPE})"
"""In a URL a plus is a space."""


_LETTERS: Final = re.compile(r"[a-z0-9]{2,}")
"""What is the same in every form of a value in lower case: no language escapes these letters and digits."""

_ESCAPED_LETTER: Final = re.compile(r"(?:\\|%(?:25)*5c)x[89a-f]|\\\\u|%(?:25)*5cu|%(?:25)*[89a-f][0-9a-f]|&(?:amp;)*#")
"""Escapes of letters that are in none of the forms, or not alone: bytes, JSON that is nested deep, URLs, HTML."""


class Quotes:
    """The values to search for. The case of letters does not count; a value inside a longer word is another one."""

    def __init__(self, values: Collection[str]) -> None:
        self.values = frozenset(value for value in values if len(unicodedata.normalize("NFC", value)) >= MIN_CHARS)
        written = {form for value in self.values for form in (value, *equivalents(value))}
        self._forms = _longest_first({form for value in written for form in _forms(value)})
        self._folded = sorted({form.casefold() for form in self._forms})
        self._runs = [_LETTERS.findall(unicodedata.normalize("NFC", value).lower()) for value in sorted(self.values)]
        self._canonical = sorted({canonical(value).casefold() for value in self.values if not value.isascii()})
        self._numbers = phone_numbers.all_digits(self.values)
        self._pattern = _any_of(self._forms, self.values) if self._forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def are_in(self, text: str) -> bool:
        """Return whether the text quotes a value."""
        return self._may_be_in(text) and self.blanked(text) != text

    def blanked(self, text: str, *, limit: int | None = None) -> str:
        """Return the text with `ERASED` in place of the values.

        A text of `limit` characters may have been cut: pieces of a value at its ends are erased, too.
        """
        if self._pattern is None:
            return text
        if self._may_be_in(text):
            text = self._pattern.sub(ERASED, text)
        if has_escapes(text) or self._may_be_mixed_in(text):
            text = PlainText(text).otherwise_written_replaced(self._plain_pattern, ERASED)
        return text if limit is None or len(text) < limit else self._without_pieces(text)

    @functools.cached_property
    def _plain_pattern(self) -> "re.Pattern[str]":
        """The pattern for a text in its plain form; few texts have an escape, so that it is needed."""
        return _any_of(_longest_first({plain_form(form) for form in self._forms} - {""}), self.values)

    def _may_be_in(self, text: str) -> bool:
        """Return False for nearly every text that quotes nothing: twenty times as fast as the pattern."""
        folded = text.casefold()
        return (
            any(form in folded for form in self._folded)
            or self._may_have_number(text)
            or self._may_be_escaped_in(folded)
            or self._may_be_mixed_in(text)
        )

    def _may_be_escaped_in(self, folded: str) -> bool:
        """Return whether a text has escapes, and all that nobody escapes of a value: forms may be nested or mixed."""
        if not any(mark in folded for mark in "\\%&"):
            return False
        return any(
            all(run in folded for run in runs) if runs else _ESCAPED_LETTER.search(folded) is not None
            for runs in self._runs
        )

    def _may_have_number(self, text: str) -> bool:
        digits = phone_numbers.digits_in(text) if self._numbers else ""
        return any(number in digits for number in self._numbers)

    def _may_be_mixed_in(self, text: str) -> bool:
        if not self._canonical or not is_mixed(text):
            return False
        folded = canonical(text).casefold()
        return any(value in folded for value in self._canonical)

    def _without_pieces(self, text: str) -> str:
        lowered = text.lower()
        for form in self._forms:
            for size in range(len(form) - 1, MIN_CHARS - 1, -1):
                if lowered.endswith(form[:size].lower()):
                    text = text[:-size] + ERASED
                    break
            for size in range(len(form) - 1, MIN_CHARS - 1, -1):
                if lowered.startswith(form[-size:].lower()):
                    text = ERASED + text[size:]
                    break
            lowered = text.lower()
        return text


def _longest_first(forms: Iterable[str]) -> list[str]:
    return sorted(forms, key=len, reverse=True)


def equivalents(value: str) -> set[str]:
    """Return a text with its accents and marks composed, and with each as a character of its own."""
    return {unicodedata.normalize(form, value) for form in ("NFC", "NFD")}


def _any_of(forms: Iterable[str], values: Iterable[str]) -> "re.Pattern[str]":
    numbers = (phone_numbers.separated(value, _BEFORE, _AFTER) for value in sorted(values))
    return re.compile("|".join([*map(_bounded, forms), *filter(None, numbers)]), re.IGNORECASE)


def _bounded(form: str) -> str:
    """Return the pattern of a form; letters of other scripts may stand beside it: Arabic joins words like "and"."""
    before, after = _BEFORE, _AFTER
    if "@" in form:
        before, after = _BEFORE_ADDRESS, _AFTER_ADDRESS
    elif "%40" in form:
        before, after = _BEFORE_QUOTED_ADDRESS, _AFTER_ADDRESS
    return (before if _is_word(form[0]) else "") + re.escape(form) + (after if _is_word(form[-1]) else "")


def _is_word(character: str) -> bool:
    return character.isascii() and (character.isalnum() or character == "_")


def _forms(value: str) -> Iterator[str]:
    """Yield the value in each form in which a text may quote it."""
    plain = [value]
    digits = "".join(filter(str.isdigit, value))
    if value.startswith("+") and len(digits) >= _MIN_DIGITS:
        plain += [digits, f"00{digits}"]
    for form in plain:
        yield form
        yield column_text(form, len(form))
        in_json = json.dumps(form)[1:-1]
        yield in_json
        yield in_json.replace("/", r"\/")  # as PHP writes it
        yield json.dumps(in_json)[1:-1]  # JSON in JSON
        yield in_json.replace("\\", r"\\")  # JSON in Python's repr()
        yield json.dumps(form, ensure_ascii=False)[1:-1]
        yield repr(form)[1:-1]
        yield form.encode("ascii", "backslashreplace").decode()
        yield html.escape(form)
        yield quote(form, safe="", errors="replace")
        yield quote_plus(form, errors="replace")
