"""A body's JSON as it was written, for the eye: nothing is rounded, merged or left out.

Receivers get what `envelope` loads, where 1e22 is a float and of two equal keys the last counts. A person who looks
for what went wrong must see both keys, and the digits as they came.
"""

import json
from typing import Any, Final

Members = tuple  # type: ignore[type-arg]
"""An object: its pairs of key and value in the order they came, doubled keys included. An array is a list."""

Number = bytes
"""A number's own characters: `1.0`, `1e22`, ten thousand digits; also NaN and the infinities, which are no JSON."""


def load_verbatim(body: bytes) -> Any:
    """Load JSON from bytes (UTF-8) as `Members`, lists, `Number`s, text, booleans and None.

    Raises `ValueError` for input that is not UTF-8, not JSON, or nested deeper than Python reads.
    """
    try:
        return _DECODER.decode(body.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None


# Built-in types only, so that all of it is done in C: a class of ours for numbers takes twenty times as long.
_DECODER: Final = json.JSONDecoder(
    parse_int=str.encode, parse_float=str.encode, parse_constant=str.encode, object_pairs_hook=tuple
)
