"""JSON objects from outside; any other input is a `ValueError` with a message for the user."""

import json
from typing import Any


def load_object(body: bytes) -> dict[str, Any]:
    """Load a JSON object from bytes (UTF-8).

    Raises `ValueError` for other input: not UTF-8, not JSON, not an object, a number too long or nested too deeply.
    """
    try:
        document = json.loads(body.decode("utf-8-sig"))
    except RecursionError:
        raise ValueError("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise ValueError("The JSON is not UTF-8.") from None
    if not isinstance(document, dict):
        raise ValueError(f"A JSON object was expected, not {_kind(document)}.")
    return document


def _kind(value: object) -> str:
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "a list"}
    return names.get(type(value), "a number")
