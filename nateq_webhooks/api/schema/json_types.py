"""Short forms for JSON Schema (2020-12, as OpenAPI 3.1 has it)."""

from collections.abc import Iterable
from typing import Any, Final

Schema = dict[str, Any]

MAX_WHOLE: Final = 2**63 - 1
"""The largest whole number that a column holds."""


def text(description: str = "", **more: Any) -> Schema:
    """Return the schema of a text."""
    return _described({"type": "string"} | more, description)


def words(values: Iterable[str], description: str = "") -> Schema:
    """Return the schema of a text that is one of these."""
    return _described({"type": "string", "enum": [str(value) for value in values]}, description)


def uuid(description: str = "") -> Schema:
    """Return the schema of a UUID."""
    return text(description, format="uuid")


def moment(description: str = "") -> Schema:
    """Return the schema of a time in ISO 8601."""
    return text(description, format="date-time")


def whole(description: str = "", least: int = 0) -> Schema:
    """Return the schema of a whole number."""
    return _described({"type": "integer", "minimum": least}, description)


def number(description: str = "") -> Schema:
    """Return the schema of a number that is not negative."""
    return _described({"type": "number", "minimum": 0}, description)


def flag(description: str = "") -> Schema:
    """Return the schema of true or false."""
    return _described({"type": "boolean"}, description)


def listing(items: Schema, description: str = "") -> Schema:
    """Return the schema of a list."""
    return _described({"type": "array", "items": items}, description)


def by_name(values: Schema, description: str = "") -> Schema:
    """Return the schema of an object whose names are data; an empty schema of values allows any."""
    return _described({"type": "object", "additionalProperties": values or True}, description)


def fields(description: str = "", /, **properties: Schema) -> Schema:
    """Return the schema of an object that has all of these fields."""
    return _described({"type": "object", "properties": properties, "required": list(properties)}, description)


def or_null(schema: Schema) -> Schema:
    """Return the schema of what may be null: a reference, or of one type and not a list of words."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    return schema | {"type": [schema["type"], "null"]}


def ref(name: str) -> Schema:
    """Return a reference to the schema of a document."""
    return {"$ref": f"#/components/schemas/{name}"}


def _described(schema: Schema, description: str) -> Schema:
    return schema | {"description": description} if description else schema
