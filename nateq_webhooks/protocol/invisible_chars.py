"""Invisible characters in untrusted text: with them a line could be read as another one."""

import re
from typing import Final

_INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""Controls, zero-width, bidirectional, halves of surrogate pairs. Joiners stay, as emoji and scripts need them."""


def visible(value: str) -> str:
    """Return the text with invisible characters written as JSON escapes."""
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def one_line(value: str) -> str:
    """Return the text as `visible` does, with line breaks and tabs escaped, too."""
    return visible(value).replace("\n", "\\n").replace("\t", "\\t")
