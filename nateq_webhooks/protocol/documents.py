"""JSON from outside, where a document is expected and anything else is an error to report."""

import json
from typing import Any


def load_object(body: bytes) -> dict[str, Any]:
    """Load a JSON object from bytes (UTF-8).

    Raises `ValueError` for whatever else comes: no UTF-8, no JSON, no object, nested or written too deep to read.
    """
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("The JSON is nested too deep to be read.") from None
    except UnicodeDecodeError:
        raise ValueError("The JSON is not UTF-8.") from None
    if not isinstance(document, dict):
        raise ValueError(f"A JSON object was expected, not {_kind(document)}.")
    return document


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "a list"}
    return names.get(type(value), "a number")
