"""A body's JSON as it was written, for the eye: nothing is rounded, merged or left out.

Receivers get what `envelope` loads, where 1e22 is a float and of two equal keys the last counts. A person who looks
for what went wrong must see both keys, and the digits as they came.
"""

import json
from typing import Any


class Number(str):
    """A number's own characters: `1.0`, `1e22`, ten thousand digits; also NaN and the infinities, which are no JSON."""

    __slots__ = ()


class Members(list[tuple[str, Any]]):
    """An object's keys and values in the order they came, doubled keys included."""

    __slots__ = ()


def load_verbatim(body: bytes) -> Any:
    """Load JSON from bytes (UTF-8) as `Members`, lists, `Number`s, text, booleans and None.

    Raises `ValueError` for what is no UTF-8, no JSON, or nested deeper than Python reads.
    """
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("The JSON is nested too deep to be read.") from None


# All of it is done in C: one pass over 1 MiB takes some ten milliseconds.
_DECODER = json.JSONDecoder(parse_int=Number, parse_float=Number, parse_constant=Number, object_pairs_hook=Members)
