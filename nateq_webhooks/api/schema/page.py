"""The description as a page: made here from the document, so that it needs no JavaScript and nothing of other sites.

What the page says itself is translated; what the document says is in English, as the messages of the API are.
"""

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.template.backends.django import DjangoTemplates
from django.utils import translation
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language_bidi
from django.utils.translation import gettext as _

from nateq_webhooks.api.schema.errors import ERRORS
from nateq_webhooks.api.schema.formats import MEDIA_TYPES
from nateq_webhooks.api.schema.generator import document
from nateq_webhooks.api.schema.json_types import MAX_WHOLE, Schema
from nateq_webhooks.api.schema.operations import JSON, OPERATIONS, PATH_PARAMETERS

_TEMPLATE: Final = "nateq_webhooks/api.html"


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """A parameter, or a field of a document."""

    name: str
    kind: str
    "Its type, in words."
    link: str
    "The document that it is or has; empty: none."
    description: SafeString
    where: str = ""
    is_required: bool = False
    is_nullable: bool = False
    default: str = ""
    values: Sequence[str] = ()
    "What it may be; empty: whatever its type allows."


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """A body."""

    name: str
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Shown:
    """An operation as the page shows it."""

    name: str
    method: str
    path: str
    summary: str
    description: SafeString
    scopes: Sequence[str]
    permissions: Sequence[str]
    curl: str
    parameters: Sequence[Entry]
    fields: Sequence[Entry]
    status: str
    answer: SafeString
    kinds: Sequence[str]
    "Media types that are not JSON."
    data: Entry | None
    "What the answer has."
    example: str
    errors: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Operations of one kind."""

    name: str
    description: str
    operations: Sequence[Shown]


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorShown:
    """An error as the page shows it."""

    status: str
    description: SafeString
    codes: Sequence[str]
    examples: Sequence[Example]


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentShown:
    """A document as the page shows it."""

    name: str
    description: SafeString
    fields: Sequence[Entry]
    values: Sequence[str]


@functools.lru_cache(maxsize=32)
def render_page(address: str, language: str) -> str:
    """Return the page of the API at an absolute address, in a language; kept for the next reader."""
    with translation.override(language):
        return _render(address, language)


def _render(address: str, language: str) -> str:
    found = document()
    context = {
        "address": address,
        "language": language,
        "direction": "rtl" if get_language_bidi() else "ltr",
        "title": found["info"]["title"],
        "version": found["info"]["version"],
        "introduction": marked_up(found["info"]["description"]),
        "forms": list(MEDIA_TYPES),
        "groups": list(_groups(found, address)),
        "headers": [
            _entry(name, header["schema"] | {"description": header["description"]})
            for name, header in found["components"]["headers"].items()
        ],
        "errors": list(_errors(found)),
        "documents": list(_documents(found)),
    }
    page: str = _engine().get_template(_TEMPLATE).render(context)
    return page


@functools.cache
def _engine() -> DjangoTemplates:
    """Return an engine of our own: the page does not depend on how the site sets templates up, or whether."""
    return DjangoTemplates({"NAME": "nateq_webhooks", "DIRS": [], "APP_DIRS": True, "OPTIONS": {}})


def marked_up(text: str) -> SafeString:
    """Return a text as HTML: what is between backquotes is code."""
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text)))
    return mark_safe(html)  # noqa: S308 - escaped above


def _groups(found: Mapping[str, Any], address: str) -> Iterator[Group]:
    for tag in found["tags"]:
        operations = [
            _shown(path, method, operation, address)
            for path, methods in found["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
        if operations:
            yield Group(name=tag["name"], description=tag["description"], operations=operations)


def _shown(path: str, method: str, operation: Mapping[str, Any], address: str) -> Shown:
    key, session = operation["security"][:2]
    body = operation.get("requestBody", {}).get("content", {}).get(JSON, {})
    status, answer = next(iter(operation["responses"].items()))
    content = answer.get("content", {})
    media = content.get(JSON, {})
    data = media.get("schema", {}).get("properties", {}).get("data")
    return Shown(
        name=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation["summary"],
        description=marked_up(operation.get("description", "")),
        scopes=key["key"],
        permissions=session["session"],
        curl=_curl(address, path, method.upper(), body.get("example")),
        parameters=[_parameter(each) for each in operation.get("parameters", [])],
        fields=list(_fields(_resolved(body.get("schema", {})))),
        status=status,
        answer=marked_up(answer["description"]),
        kinds=[kind for kind in content if kind != JSON],
        data=None if data is None else _entry("data", data),
        example=_json(media["example"]) if "example" in media else "",
        errors=[each for each in operation["responses"] if each != status],
    )


def _curl(address: str, path: str, method: str, body: Any) -> str:
    """Return a command that asks for it; the key is in a variable, so that it is in no history."""
    named = {each.name: each.example for each in PATH_PARAMETERS.values()}
    parts = ["curl", '-H "Authorization: Bearer $NATEQ_KEY"']
    if method != "GET":
        parts.append(f"-X {method}")
    if body is not None:
        parts += ['-H "Content-Type: application/json"', f"-d {shlex.quote(json.dumps(body))}"]
    return " ".join([*parts, shlex.quote(address + path.format(**named))])


def _parameter(parameter: Mapping[str, Any]) -> Entry:
    where = {"path": _("in the address"), "query": _("in the query"), "header": _("a header")}
    return _entry(
        parameter["name"],
        parameter["schema"] | {"description": parameter["description"]},
        is_required=parameter["required"],
        where=where[parameter["in"]],
    )


def _fields(schema: Schema) -> Iterator[Entry]:
    for name, field in schema.get("properties", {}).items():
        yield _entry(name, field, is_required=name in schema.get("required", ()))


def _entry(name: str, schema: Schema, *, is_required: bool = False, where: str = "") -> Entry:
    types = schema.get("type", "")
    is_nullable = "oneOf" in schema or not isinstance(types, str)
    one = schema["oneOf"][0] if "oneOf" in schema else schema | ({"type": types[0]} if is_nullable else {})
    kind, link = _kind(one)
    return Entry(
        name=name,
        kind=kind,
        link=link,
        where=where,
        description=marked_up(schema.get("description") or _resolved(one).get("description", "")),
        is_required=is_required,
        is_nullable=is_nullable,
        default=json.dumps(schema["default"]) if "default" in schema else "",
        values=schema.get("enum", ()),
    )


def _kind(schema: Schema) -> tuple[str, str]:
    """Return the type of a value in words, and the name of the document that it is or has."""
    if "$ref" in schema:
        return "", _name(schema)
    match schema.get("type"):
        case "array":
            kind, link = _kind(schema["items"])
            return " ".join(filter(None, (_("list of"), kind))), link
        case "object":
            values = schema.get("additionalProperties")
            if isinstance(values, dict) and "$ref" in values:
                return _("object, each value is"), _name(values)
            return _("object"), ""
        case "integer" | "number" if schema.get("maximum", MAX_WHOLE) < MAX_WHOLE:
            return _("number from %(least)s to %(most)s") % {"least": schema["minimum"], "most": schema["maximum"]}, ""
        case "integer":
            return _("whole number"), ""
        case "number":
            return _("number"), ""
        case "boolean":
            return _("true or false"), ""
        case "string":
            formats = {"uuid": _("UUID"), "date-time": _("time (ISO 8601)"), "binary": _("bytes")}
            return formats.get(schema.get("format", ""), _("text")), ""
    return _("any value"), ""


def _errors(found: Mapping[str, Any]) -> Iterator[ErrorShown]:
    for status, answer in ERRORS.items():
        response = found["components"]["responses"][answer.name]
        bodies = [example["value"] for example in response["content"][JSON]["examples"].values()]
        codes = [body["error"]["code"] for body in bodies]
        yield ErrorShown(
            status=str(status),
            description=marked_up(response["description"]),
            codes=list(dict.fromkeys(codes)),
            examples=[Example(name=body["error"]["code"], text=_json(body)) for body in bodies],
        )


def _documents(found: Mapping[str, Any]) -> Iterator[DocumentShown]:
    bodies = {operation.body.__name__ for operation in OPERATIONS.values() if operation.body is not None}
    for name, schema in found["components"]["schemas"].items():
        if name not in bodies and name != "NoFields":
            yield DocumentShown(
                name=name,
                description=marked_up(schema["description"]),
                fields=list(_fields(schema)),
                values=schema.get("enum", ()),
            )


def _resolved(schema: Schema) -> Schema:
    found: Schema = document()["components"]["schemas"][_name(schema)] if "$ref" in schema else schema
    return found


def _name(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
