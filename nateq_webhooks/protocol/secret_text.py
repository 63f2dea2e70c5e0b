"""A signing secret as text and as key: no repr shows it, and a rule says how long it must be to prove anything.

An error report prints the variables of every function on its way, so a secret is of a type that does not print itself
from the moment it comes in: from a form, from Nateq's API, from the database.
"""

import unicodedata
from typing import Any, Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of every secret, not a secret
"""What a generated secret starts with."""

MIN_SECRET_CHARS: Final = 16
"""Visible characters that a secret has at least, its prefix not counted; bytes, where it is decoded from base64."""

HIDDEN: Final = "<signing secret>"
"""What stands for a secret in a repr, an error report and a log."""

_VISIBLE: Final = frozenset("LNPS")
"""The first letters of the Unicode categories of what is seen: letters, numbers, punctuation, symbols."""

_BLANK: Final = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and symbols that are drawn as nothing."""


class SecretText(str):
    """A signing secret. A `str` in every other way, its repr does not show it; what is made of it is plain text."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN

    def __copy__(self) -> "SecretText":
        return self

    def __deepcopy__(self, memo: Any) -> "SecretText":
        return self


class SecretBytes(bytes):
    """The key that a signing secret makes. `bytes` in every other way, its repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def visible_chars(secret: str) -> int:
    """Count the characters of a secret that can be seen and are not its prefix, however often that is repeated."""
    while secret.startswith(SECRET_PREFIX):
        secret = SecretText(secret.removeprefix(SECRET_PREFIX))
    return sum(unicodedata.category(char)[0] in _VISIBLE and char not in _BLANK for char in secret)
