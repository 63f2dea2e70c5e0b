"""The OpenAPI document, made with drf-spectacular from the table of operations and the views.

Nothing of it depends on the site: not `REST_FRAMEWORK`, `SPECTACULAR_SETTINGS` or `INSTALLED_APPS`. In turn the views
are left out of the schema that a site may make of its own API (`ContractView.schema`).
"""

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from django.urls import URLPattern
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import normalize_result_object
from drf_spectacular.renderers import OpenApiYamlRenderer
from rest_framework import serializers

from nateq_webhooks import __version__
from nateq_webhooks.api.access import Access
from nateq_webhooks.api.base import CursorField, MomentField
from nateq_webhooks.api.log import PositionField
from nateq_webhooks.api.schema.documents import DOCUMENTS
from nateq_webhooks.api.schema.errors import ERRORS, ErrorAnswer
from nateq_webhooks.api.schema.json_types import MAX_WHOLE, Schema, listing, moment, ref, text, whole, words
from nateq_webhooks.api.schema.operations import (
    JSON,
    OPERATIONS,
    PATH_PARAMETERS,
    TAGS,
    Operation,
    PathParameter,
)
from nateq_webhooks.api.urls import VERSION, urlpatterns
from nateq_webhooks.conf import session_cookie_name
from nateq_webhooks.protocol.api import (
    IDEMPOTENCY_KEY_HEADER,
    LIMIT_HEADER,
    REMAINING_HEADER,
    REPLAYED_HEADER,
    REQUEST_ID_HEADER,
    RETRY_AFTER_HEADER,
)
from nateq_webhooks.rest.parameters import Parameters, WholeNumberField

_KEY: Final = f"([0-9]{{1,18}}|[0-8][0-9]{{18}}|{MAX_WHOLE})"
"""A row's key in a cursor: those just below the largest number are accepted, too, but no row has one."""

_SAFE: Final = frozenset({"GET", "HEAD"})

_INTRODUCTION: Final = (
    "What came, what ran, and how the webhooks are set up. Answers are in an envelope: `success` with `data` and "
    "`meta`, or with `error`. Parameters and fields that are unknown are refused. Times are in UTC. A field that is "
    "not known is null. `HEAD` is like `GET`; every other method that an address does not have is a 405."
)

_HEADERS: Final[Mapping[str, tuple[str, Schema, str]]] = {
    REQUEST_ID_HEADER: ("The id of the answer, to quote.", text(), "req_5b8e1f2a90c34d7781aa02f4"),
    LIMIT_HEADER: ("Requests a minute that the caller may send.", whole(), "1000"),
    REMAINING_HEADER: ("How many of them are left.", whole(), "998"),
    RETRY_AFTER_HEADER: ("In how many seconds to come back.", whole(least=1), "43"),
    REPLAYED_HEADER: ("The answer was given before, to the same request with the same key.", text(), "true"),
    "WWW-Authenticate": ("How to authenticate.", text(), "Bearer"),
}

_OF_EVERY_ANSWER: Final = (REQUEST_ID_HEADER,)
_OF_A_KNOWN_CALLER: Final = (REQUEST_ID_HEADER, LIMIT_HEADER, REMAINING_HEADER)

_IDEMPOTENCY_KEY: Final = {
    "name": IDEMPOTENCY_KEY_HEADER,
    "in": "header",
    "required": False,
    "description": "With it the request is carried out once: for a day the same request gets the first answer again.",
    "schema": text(minLength=1, maxLength=200, pattern="^[!-~]([ -~]*[!-~])?$"),
    "example": "replay-5120-1",
}


class OperationSchema(AutoSchema):
    """Makes the description of one operation from its entry and its view."""

    def __init__(self, operation: Operation, access: Access, parameter: PathParameter | None) -> None:
        super().__init__()
        self._operation = operation
        self._access = access
        self._parameter = parameter
        self.bodies: dict[str, Schema] = {}
        "The schemas of bodies that were met, by their names in `components`."

    def get_operation_id(self) -> str:
        """Return the name of the operation."""
        return self._operation.id

    def get_summary(self) -> str:
        """Return what it does."""
        return self._operation.summary

    def get_description(self) -> str:
        """Return the rest."""
        return self._operation.description

    def get_tags(self) -> list[str]:
        """Return its group."""
        return [self._operation.tag.value]

    def get_auth(self) -> list[dict[str, list[str]]]:
        """Return who may do it: the scopes of a key, or the permissions of a staff user."""
        session = {"session": [" or ".join(group) for group in self._access.permissions]}
        if self.method not in _SAFE:
            session["csrf"] = []
        return [{"key": [scope.value for scope in self._access.scopes]}, session]

    def _get_parameters(self) -> list[dict[str, Any]]:
        found = [] if self._parameter is None else [_path_parameter(self._parameter)]
        for name, field in self._operation.parameters().fields.items():
            schema = self._field_schema(field)
            described = {"description": schema.pop("description")} if "description" in schema else {}
            found.append({"name": name, "in": "query", "required": field.required, **described, "schema": schema})
        return [*found, _IDEMPOTENCY_KEY] if self._operation.takes_idempotency_key else found

    def _get_request_body(self, direction: str = "request") -> dict[str, Any] | None:  # noqa: ARG002
        body = self._operation.body
        if body is None:
            return None
        name = body.__name__ if body is not Parameters else "NoFields"
        self.bodies[name] = self._body_schema(body)
        is_required = any(field.required for field in body().fields.values())
        example = {"example": self._operation.body_example} if self._operation.body_example else {}
        return {"required": is_required, "content": {JSON: {"schema": ref(name), **example}}}

    def _get_response_bodies(self, direction: str = "response") -> dict[str, Any]:  # noqa: ARG002
        answer = self._operation.answer
        example = {} if answer.example is None else {"example": answer.example}
        content = {kind: {"schema": schema, **example} for kind, schema in answer.media.items()}
        headers = [*_OF_A_KNOWN_CALLER, *([REPLAYED_HEADER] if self._operation.takes_idempotency_key else [])]
        success = {"description": answer.description, "headers": _header_refs(headers), "content": content}
        statuses = self._operation.errors(names_something=self._parameter is not None)
        errors = {str(status): {"$ref": f"#/components/responses/{ERRORS[status].name}"} for status in statuses}
        return {str(answer.status): success} | errors

    def _body_schema(self, body: type[Parameters]) -> Schema:
        found = body().fields
        schema: Schema = {
            "type": "object",
            "properties": {name: self._field_schema(field) for name, field in found.items()},
            "additionalProperties": False,
        }
        required = [name for name, field in found.items() if field.required]
        return schema | {"required": required} if required else schema

    def _field_schema(self, field: Any) -> Schema:
        schema: Schema = self._map_serializer_field(field, "request")
        self._insert_field_validators(field, schema)
        if isinstance(field, serializers.CharField) and not field.allow_blank:
            schema.setdefault("minLength", 1)
        if schema.pop("nullable", False):
            schema["type"] = [schema["type"], "null"]
        return schema

    def _map_serializer_field(self, field: Any, direction: str, bypass_extensions: bool = False) -> Any:  # noqa: FBT001, FBT002
        own = self._own_field(field)
        if own is None:
            return super()._map_serializer_field(field, direction, bypass_extensions)
        default = {"default": field.default} if isinstance(field.default, int | str) else {}
        described = {"description": str(field.help_text)} if field.help_text else {}
        return own | default | described

    def _own_field(self, field: Any) -> Schema | None:
        """Return the schema of a field of ours, or that drf-spectacular knows less of; None for any other."""
        match field:
            case WholeNumberField():
                return {"type": "integer", "minimum": field.least, "maximum": field.most}
            case CursorField():
                return text(pattern=f"^{_KEY}$")
            case PositionField():
                return text(pattern=f"^{_KEY}-{_KEY}$")
            case MomentField():
                return moment() | {"pattern": "^(19[7-9][0-9]|[2-8][0-9]{3})-"}
            case serializers.ChoiceField():
                return _choice(words(field.choices))
            case serializers.ListField():
                least = {} if field.allow_empty else {"minItems": 1}
                return listing(self._field_schema(field.child)) | least
        return None


class Generator(SchemaGenerator):
    """Makes the document, without the address that the site gives the API."""

    def __init__(self) -> None:
        super().__init__()
        self._bodies: dict[str, Schema] = {}

    def get_schema(self, request: Any = None, public: bool = True) -> dict[str, Any]:  # noqa: FBT001, FBT002
        """Return the document."""
        paths = self.parse(request, public)
        found: dict[str, Any] = normalize_result_object(
            {
                "openapi": "3.1.0",
                "info": {"title": "Nateq webhooks", "version": __version__, "description": _INTRODUCTION},
                "tags": [{"name": tag.value, "description": description} for tag, description in TAGS.items()],
                "paths": paths,
                "components": {
                    "schemas": {**DOCUMENTS, **dict(sorted(self._bodies.items()))},
                    "responses": {error.name: _error_response(status, error) for status, error in ERRORS.items()},
                    "headers": {name: _header(*parts) for name, parts in _HEADERS.items()},
                    "securitySchemes": _security(),
                },
            }
        )
        return found

    def parse(self, input_request: Any, public: bool) -> dict[str, Any]:  # noqa: ARG002, FBT001
        """Return the paths. An operation without an entry is left out: a test finds it."""
        paths: dict[str, dict[str, Any]] = {}
        for path, method, name, pattern in operations_of_urls():
            operation = OPERATIONS.get((method, name))
            if operation is None:
                continue
            view = pattern.callback.cls()  # type: ignore[attr-defined]
            inspector = OperationSchema(operation, view.access[method], _parameter_of(path))
            inspector.view = view
            made = inspector.get_operation(path, str(pattern.pattern), "", method, self.registry)
            self._bodies |= inspector.bodies
            paths.setdefault(path, {})[method.lower()] = made
        return paths


def operations_of_urls() -> Iterator[tuple[str, str, str, URLPattern]]:
    """Yield the path, the method and the name of each operation that there is, with its URL pattern."""
    for pattern in urlpatterns:
        if not pattern.name:
            continue  # every other address
        route = str(pattern.pattern).removeprefix(VERSION)
        found = PATH_PARAMETERS.get(route.split("/")[1])
        path = re.sub(r"<[a-z]+:\w+>", f"{{{found.name}}}", route) if found else route
        for method in pattern.callback.cls().allowed_methods:
            if method not in ("HEAD", "OPTIONS"):
                yield path, method, pattern.name, pattern


@functools.cache
def document() -> Mapping[str, Any]:
    """Return the document, without `servers`; made once in each process."""
    return Generator().get_schema()


@functools.lru_cache(maxsize=32)
def rendered(address: str, form: str) -> bytes:
    """Return the document of an API at an address (a path without a slash at its end), as JSON or YAML."""
    found = {"servers": [{"url": address}], **document()}
    if form == "yaml":
        return bytes(OpenApiYamlRenderer().render(found))
    return json.dumps(found, ensure_ascii=True, separators=(",", ":")).encode()


def _choice(schema: Schema) -> Schema:
    """Return a reference where a document has the same words, so that a generated client has one type for both."""
    same = (name for name, each in DOCUMENTS.items() if each.get("enum") == schema["enum"])
    name = next(same, None)
    return schema if name is None else ref(name)


def _parameter_of(path: str) -> PathParameter | None:
    return PATH_PARAMETERS[path.split("/")[1]] if "{" in path else None


def _path_parameter(parameter: PathParameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": "path",
        "required": True,
        "description": parameter.description,
        "schema": parameter.schema,
        "example": parameter.example,
    }


def _header(description: str, schema: Schema, example: str) -> dict[str, Any]:
    value: str | int = int(example) if schema["type"] == "integer" else example
    return {"description": description, "schema": schema, "example": value}


def _header_refs(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _error_response(status: int, error: ErrorAnswer) -> dict[str, Any]:
    headers = _OF_EVERY_ANSWER if status in (400, 401, 403, 413, 500) else _OF_A_KNOWN_CALLER
    examples = {name: {"value": body} for name, body in error.bodies()}
    return {
        "description": error.description,
        "headers": _header_refs([*headers, *error.headers]),
        "content": {JSON: {"schema": ref("ErrorAnswer"), "examples": examples}},
    }


def _security() -> dict[str, Any]:
    return {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key of this site. The names in an operation are the scopes that it needs.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": session_cookie_name(),
            "description": "The session of a staff user. The names in an operation are the permissions that it needs.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRFToken",
            "description": "Django's CSRF token, which a session needs for all but `GET` and `HEAD`.",
        },
    }
