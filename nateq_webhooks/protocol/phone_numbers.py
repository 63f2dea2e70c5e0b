"""Phone numbers, however they are written: with spaces, dashes, dots and brackets between their digits, or without."""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

MIN_DIGITS: Final = 10
"""A number with fewer digits is no phone number by itself."""

_MIN_DIGITS_AFTER_PLUS: Final = 8

_MARKS: Final = "\u200e\u200f\u202a-\u202e\u2066-\u2069"
"""Marks of direction, which Arabic texts have around numbers."""

_SEPARATOR: Final = rf"[ \u00a0\u2009\u202f.()\[\]\u2010-\u2015{_MARKS}-]"
_GAP: Final = _SEPARATOR + "{0,4}"
_WRITTEN: Final = re.compile(rf"\+?{_GAP}\d(?:{_GAP}\d)*")
_SEPARATORS: Final = "".join(char for code in range(0x2070) if re.fullmatch(_SEPARATOR, char := chr(code)))

_DIGITS: Final = {str(digit): f"[{digit}{chr(0x660 + digit)}{chr(0x6F0 + digit)}]" for digit in range(10)}
"""A digit in its three forms: the Arabic ones, too."""

_TO_DIGITS: Final[dict[int, int | None]] = {
    **{ord(char): None for char in f"{_SEPARATORS}+"},
    **{first + digit: 0x30 + digit for digit in range(10) for first in (0x660, 0x6F0)},
}

_NO_DECIMAL: Final = rf"(?!\d+\.\d+(?!\d|{_GAP}\d))"
"""Digits with one dot among them are a decimal number."""


def digits_of(value: str) -> str:
    """Return the digits of a phone number; empty for anything else."""
    value = _bare(value)
    if not _WRITTEN.fullmatch(value):
        return ""
    digits = "".join(str(unicodedata.decimal(char)) for char in value if char.isdecimal())
    least = _MIN_DIGITS_AFTER_PLUS if value.startswith("+") else MIN_DIGITS
    return digits if len(digits) >= least else ""


def digits_in(text: str) -> str:
    """Return a text without what may separate the digits of a phone number, to see quickly that it has none."""
    return text.translate(_TO_DIGITS)


def separated(value: str, before: str, after: str) -> str:
    """Return the pattern of a phone number with separators; empty for any other value.

    `before` and `after` are what must be around it. A number with more digits beside it is a longer one, unless it
    begins with its plus: then it is known where it ends.
    """
    digits = digits_of(value)
    if not digits:
        return ""
    body = _GAP.join(_DIGITS[digit] for digit in digits)
    prefix = rf"(?:{_DIGITS['0']}{_GAP}{_DIGITS['0']}{_GAP})?" if _bare(value).startswith("+") else ""
    alone = rf"{before}(?<!\d{_SEPARATOR}){_NO_DECIMAL}{prefix}{body}{after}(?!{_SEPARATOR}\d)"
    return rf"\+{_GAP}{body}{after}|{alone}"


def _bare(value: str) -> str:
    """Return a value without what may stand around it: white space, a bracket before the plus."""
    return value.strip().strip(_SEPARATORS)


@functools.lru_cache(maxsize=64)
def _pattern(value: str) -> "re.Pattern[str] | None":
    found = separated(value, "", "")
    return re.compile(found) if found else None


def is_same(text: str, value: str) -> bool:
    """Return whether a text is the phone number `value`, written in any way."""
    pattern = _pattern(value)
    return pattern is not None and pattern.fullmatch(_bare(text)) is not None


def all_digits(values: Iterable[str]) -> Sequence[str]:
    """Return the digits of those values that are phone numbers."""
    return sorted({digits for value in values if (digits := digits_of(value))})
