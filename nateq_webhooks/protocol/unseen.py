"""Characters that a reader can't see, in text that a stranger chose: a line with them could read as another."""

import re
from typing import Final

_UNSEEN: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]"
)
"""Controls, what has no width or turns the direction, halves of pairs; joiners stay: emoji and scripts need them."""


def visible(value: str) -> str:
    """Write what can't be seen as JSON's escapes, halves of surrogate pairs too, which no page can carry."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def one_line(value: str) -> str:
    """Write what can't be seen as `visible` does, line breaks and tabs, too: the text is one line."""
    return visible(value).replace("\n", "\\n").replace("\t", "\\t")
