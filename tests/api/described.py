"""Holds answers to the description of the API: more strictly than it says, with no field that it does not name."""

import functools
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator

from nateq_webhooks.api.schema.generator import document

API: Final = "/api/v1"


def closed(node: Any) -> Any:
    """Return a schema whose objects have no other fields than those that it names."""
    if isinstance(node, list):
        return [closed(each) for each in node]
    if not isinstance(node, dict):
        return node
    found = {key: closed(value) for key, value in node.items()}
    return {"additionalProperties": False} | found if "properties" in node else found


@functools.cache
def _components() -> Any:
    return closed(document()["components"])


def complaints(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Return what a value breaks of a schema of the description."""
    validator = _validator(json.dumps(schema))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


@functools.cache
def _validator(schema: str) -> Any:
    root = {**closed(json.loads(schema)), "components": _components()}
    return Draft202012Validator(root, format_checker=Draft202012Validator.FORMAT_CHECKER)


def operation_at(method: str, path: str) -> dict[str, Any] | None:
    """Return what the description says of a request; None if it knows no such operation."""
    found = [
        methods
        for template, methods in sorted(document()["paths"].items(), key=lambda item: item[0].count("{"))
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path)
    ]
    return found[0].get(method.lower()) if found else None


def response_of(operation: Mapping[str, Any], status: int) -> Any:
    """Return what the description says of a status; None if the operation does not answer it."""
    response = operation["responses"].get(str(status), {})
    while "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response or None


def check_answer(method: str, path: str, response: Any) -> None:
    """Assert that an answer is as the description says."""
    if not path.startswith(f"{API}/"):
        return
    operation = operation_at("GET" if method == "HEAD" else method, path.removeprefix(API))
    if operation is None:  # another address or method, or a site without an entry for it, which a test finds
        return
    described = response_of(operation, response.status_code)
    assert described, f"{method} {path} answers {response.status_code}, which the description does not name"
    kind = response["Content-Type"].partition(";")[0]
    assert kind in described["content"], f"{method} {path} answers {kind}"
    assert all(response.has_header(name) for name in described["headers"] if name in ("X-Request-Id", "Retry-After"))
    if kind == "application/json" and method != "HEAD":
        found = complaints(described["content"][kind]["schema"], response.json())
        assert not found, f"{method} {path}: {found}"
