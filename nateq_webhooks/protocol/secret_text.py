"""A signing secret as text and as key: its repr does not show it, and it has a minimum length.

An error report prints the variables of every function in the traceback, so a secret is converted to these types as
soon as it comes in: from a form, from Nateq's API, from the database.
"""

import unicodedata
from typing import Any, Final

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public prefix of every secret, not a secret
"""The prefix of a generated secret."""

MIN_SECRET_CHARS: Final = 16
"""Minimum of visible characters without the prefix; of bytes, if it is decoded from base64."""

ENCRYPTED_PREFIX: Final = "fernet:"
"""The prefix of a stored secret that is encrypted. No secret starts with it."""

REFERENCE_PREFIX: Final = "env:"
"""The prefix of a stored secret that names an environment variable with the secret. No secret starts with it."""

HIDDEN: Final = "<signing secret>"
"""Replaces a secret in a repr, an error report and a log."""

HIDDEN_KEY: Final = "<API key>"
"""Replaces an API key in a repr and an error report."""

_VISIBLE: Final = frozenset("LNPS")
"""The first letters of Unicode categories of visible characters: letters, numbers, punctuation, symbols."""

_BLANK: Final = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and symbols without a visible glyph."""


class SecretText(str):
    """A signing secret: a `str` whose repr does not show it. Its methods return plain `str`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN

    def __copy__(self) -> "SecretText":
        return self

    def __deepcopy__(self, memo: Any) -> "SecretText":
        return self


class KeyText(SecretText):
    """An API key: a `str` whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN_KEY


class SecretBytes(bytes):
    """The key of a signing secret: `bytes` whose repr does not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return HIDDEN


def visible_chars(secret: str) -> int:
    """Count the visible characters of a secret without its prefix, however often that is repeated."""
    while secret.startswith(SECRET_PREFIX):
        secret = SecretText(secret.removeprefix(SECRET_PREFIX))
    return sum(unicodedata.category(char)[0] in _VISIBLE and char not in _BLANK for char in secret)
