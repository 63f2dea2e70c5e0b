"""The description of the API: it has every operation, says what is so, and needs its extra only when asked for."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from django.contrib.auth.models import User
from django.test import Client, override_settings
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from nateq_webhooks.api.schema.documents import DOCUMENTS
from nateq_webhooks.api.schema.errors import ERRORS
from nateq_webhooks.api.schema.generator import document, operations_of_urls, rendered
from nateq_webhooks.api.schema.operations import OPERATIONS as ENTRIES
from nateq_webhooks.models import Delivery
from nateq_webhooks.rest.parameters import Parameters
from tests.api.conftest import API, Program, issue, staff
from tests.api.described import complaints, operation_at, response_of
from tests.api.operations import OPERATIONS

pytestmark = pytest.mark.any_database

ROOT: Final = Path(__file__).resolve().parents[2]

DESCRIBED: Final = [
    (method, path, operation) for path, methods in document()["paths"].items() for method, operation in methods.items()
]

each_operation: Final = pytest.mark.parametrize(
    ("method", "path", "operation"), DESCRIBED, ids=[f"{method} {path}" for method, path, _operation in DESCRIBED]
)


def examples(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each example of a body, with its schema."""
    for media in content.values():
        if "example" in media:
            yield media["schema"], media["example"]
        for example in media.get("examples", {}).values():
            yield media["schema"], example["value"]


def test_every_operation_of_every_url_has_an_entry_and_no_other() -> None:
    """Add what is missing to OPERATIONS in api/schema/operations.py."""
    there = {(method, name) for _path, method, name, _pattern in operations_of_urls()}

    assert there - set(ENTRIES) == set()
    assert set(ENTRIES) - there == set()


def test_every_operation_is_described_and_named_once() -> None:
    assert {(method.upper(), path) for method, path, _operation in DESCRIBED} == {
        (each.method, each.path) for each in OPERATIONS
    }
    names = [operation["operationId"] for _method, _path, operation in DESCRIBED]
    assert len(set(names)) == len(names)


@each_operation
def test_every_example_is_as_its_schema_says(method: str, path: str, operation: Any) -> None:
    found = list(examples(operation.get("requestBody", {}).get("content", {})))
    for status in operation["responses"]:
        response = response_of(operation, int(status))
        own = list(examples(response["content"]))
        assert own or "application/json" not in response["content"]
        found += own
        for name in response["headers"]:
            header = document()["components"]["headers"][name]
            found.append((header["schema"], header["example"]))
    found += [(each["schema"], each["example"]) for each in operation.get("parameters", []) if "example" in each]

    assert [complaint for schema, example in found for complaint in complaints(schema, example)] == []


@each_operation
def test_every_part_of_an_operation_is_explained(method: str, path: str, operation: Any) -> None:
    assert operation["summary"]
    assert [each["name"] for each in operation.get("parameters", []) if not each.get("description")] == []
    assert {"400", "401", "403", "422", "429", "500"} <= set(operation["responses"])
    assert ("404" in operation["responses"]) is ("{" in path or path in ("/schema", "/docs"))
    assert [set(each) for each in operation["security"]] == [
        {"key"},
        {"session"} if method == "get" else {"session", "csrf"},
    ]


def test_every_field_of_every_document_is_explained() -> None:
    own = {name: schema for name, schema in document()["components"]["schemas"].items() if "properties" in schema}
    silent = [
        f"{name}.{field}"
        for name, schema in own.items()
        for field, of_field in schema["properties"].items()
        if not (of_field.get("description") or "$ref" in str(of_field))
    ]

    assert silent == []
    assert [name for name, schema in DOCUMENTS.items() if not schema.get("description")] == []


def test_what_is_described_is_used() -> None:
    text = rendered("/api/v1", "json").decode()
    parts = document()["components"]
    names = [f"{kind}/{name}" for kind in ("schemas", "responses", "headers") for name in parts[kind]]

    assert [name for name in names if f'"#/components/{name}"' not in text] == []
    assert set(re.findall(r'"#/components/(\w+/[\w-]+)"', text)) <= set(names)
    for schema in parts["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_it_is_a_valid_document_of_openapi() -> None:
    validate_schema(json.loads(rendered("/api/v1", "json")))


def test_every_error_has_its_own_status() -> None:
    for status, answer in ERRORS.items():
        assert {error.status for error in answer.examples.values()} == {status}


@pytest.mark.django_db
def test_a_view_reads_what_its_entry_names(program: Program, monkeypatch: pytest.MonkeyPatch, webhook: Any) -> None:
    from tests.builders import store_deliveries

    [delivery] = store_deliveries(webhook)
    read: dict[str, set[type[Parameters]]] = {}
    values = Parameters._values.__func__  # type: ignore[attr-defined]

    def note(cls: type[Parameters], given: Any, problems: Any, what: str) -> Any:
        read.setdefault(what, set()).add(cls)
        return values(cls, given, problems, what)

    monkeypatch.setattr(Parameters, "_values", classmethod(note))
    for path, method, name, _pattern in operations_of_urls():
        entry = ENTRIES[method, name]
        at = path.format(webhook=webhook.pk, delivery=delivery.pk, receiver="shop.send", replay=1)
        read.clear()
        program.generic(method, f"/api/v1{at}")
        expected = {"parameters": {entry.parameters}} | ({} if entry.body is None else {"fields": {entry.body}})
        assert read == expected, f"{method} {path}"


def test_a_cursor_that_is_described_is_one_that_is_read() -> None:
    largest = str(2**63 - 1)
    for path, texts in (
        ("/deliveries", ("0", "5120", largest)),
        ("/webhooks/{webhook}/logs", ("0-0", f"5120-{largest}", f"{largest}-7")),
    ):
        [schema] = [
            each["schema"] for each in document()["paths"][path]["get"]["parameters"] if each["name"] == "cursor"
        ]
        reader: Any = ENTRIES["GET", "deliveries" if path == "/deliveries" else "logs"].parameters
        for text in texts:
            assert complaints(schema, text) == []
            assert reader(data={"cursor": text}).is_valid()
        for text in ("", "-1", "last", str(2**63), "9" * 19, "1" * 20, f"0-{2**63}"):
            assert complaints(schema, text) != []
            assert not reader(data={"cursor": text}).is_valid()


@pytest.mark.django_db
class TestSchema:
    def test_it_has_the_address_of_the_api(self, program: Program) -> None:
        found = program.ask("/schema")

        assert found["Content-Type"] == "application/vnd.oai.openapi+json"
        assert found.json()["servers"] == [{"url": "/api/v1"}]
        assert found.json()["openapi"].startswith("3.1")

    def test_it_is_the_same_in_yaml(self, program: Program) -> None:
        found = program.ask("/schema", {"format": "yaml"})

        assert found["Content-Type"] == "application/vnd.oai.openapi"
        assert yaml.safe_load(found.content) == program.ask("/schema").json()
        assert program.error("/schema", {"format": "xml"}, status=422)["details"].keys() == {"format"}

    def test_it_is_made_once(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        program.ask("/schema")
        monkeypatch.setattr("nateq_webhooks.api.schema.generator.Generator.get_schema", None)

        first, second = program.ask("/schema"), program.ask("/schema")

        assert first.content == second.content

    def test_every_caller_may_read_it_and_nobody_else(self) -> None:
        for path in ("/schema", "/docs"):
            for caller in (Program(issue("payloads:read")), Program(issue(organization_id="org_1")), staff()):
                caller.ask(path)
            Program().error(path, status=401)
            staff(is_staff=False).error(path, status=403)

    def test_the_sites_own_settings_do_not_change_it(self) -> None:
        code = """
import json, sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="tests only", USE_TZ=True, ROOT_URLCONF="nateq_webhooks.api.urls",
    INSTALLED_APPS=["nateq_webhooks", "drf_spectacular"], LANGUAGE_CODE="ar",
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REST_FRAMEWORK={"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema", "DATETIME_INPUT_FORMATS": ["%Y"]},
    SPECTACULAR_SETTINGS={
        "OAS_VERSION": "3.0.3", "COMPONENT_SPLIT_REQUEST": True, "CAMELIZE_NAMES": True, "TITLE": "shop",
        "SCHEMA_PATH_PREFIX": "/api", "ENUM_GENERATE_CHOICE_DESCRIPTION": False, "APPEND_PATHS": {"/x": {}},
        "POSTPROCESSING_HOOKS": ["nothing.at.all"], "ENFORCE_NON_BLANK_FIELDS": True,
    },
)
django.setup()
from nateq_webhooks.api.schema.generator import rendered
sys.stdout.write(rendered("/api/v1", "json").decode())
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

        assert json.loads(done.stdout) == json.loads(rendered("/api/v1", "json"))

    def test_the_schema_of_the_site_leaves_the_api_out_and_is_made(self) -> None:
        code = """
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="tests only", USE_TZ=True, ROOT_URLCONF="site_urls",
    INSTALLED_APPS=["nateq_webhooks", "drf_spectacular"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REST_FRAMEWORK={"DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema"},
)
django.setup()
import sys, types
from django.urls import include, path
from rest_framework import serializers
from rest_framework.generics import GenericAPIView
class Shop(serializers.Serializer):
    name = serializers.CharField()
class ShopView(GenericAPIView):
    serializer_class = Shop
    def get(self, request): ...
urls = types.ModuleType("site_urls")
urls.urlpatterns = [path("api/", include("nateq_webhooks.api.urls")), path("shop", ShopView.as_view())]
sys.modules["site_urls"] = urls
from nateq_webhooks.api.schema.generator import document
assert "/deliveries" in document()["paths"]
from io import StringIO
from django.core.management import call_command
out = StringIO()
call_command("spectacular", "--fail-on-warn", "--validate", stdout=out)
assert "/shop" in out.getvalue() and "deliveries" not in out.getvalue()
"""
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stderr


@pytest.mark.django_db
def test_without_the_extra_the_description_says_what_to_install_and_the_rest_works(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "drf_spectacular", None)  # as if it were not installed

    for path in ("/schema", "/docs"):
        error = program.error(path, status=404)
        assert (error["code"], "pip install 'nateq-webhooks[openapi]'" in error["message"]) == ("NOT_FOUND", True)
    assert program.data("/deliveries") == []


@pytest.mark.django_db
def test_a_browser_without_a_session_logs_in_and_comes_back(client: Client) -> None:
    answer = client.get(f"{API}/docs", headers={"accept": "text/html,*/*;q=0.8"})
    assert (answer.status_code, answer["Location"]) == (302, f"/admin/login/?next={API}/docs")

    staff("view_delivery", name="ann").logout()
    client.force_login(User.objects.get(username="ann"))
    page = client.get(f"{API}/docs", headers={"accept": "text/html,*/*;q=0.8"})
    assert (page.status_code, page["Content-Type"]) == (200, "text/html; charset=utf-8")


@pytest.mark.django_db
@pytest.mark.parametrize("headers", [{}, {"accept": "text/html", "authorization": "Bearer no"}])
def test_a_program_without_a_good_key_is_not_sent_to_a_login(client: Client, headers: dict[str, str]) -> None:
    assert client.get(f"{API}/docs", headers=headers).status_code == 401


@pytest.mark.django_db
def test_without_an_admin_a_browser_is_told_what_is_missing(client: Client) -> None:
    with override_settings(ROOT_URLCONF="tests.api.urls_without_admin"):
        answer = client.get(f"{API}/docs", headers={"accept": "text/html"})
    assert answer.json()["error"]["code"] == "MISSING_API_KEY"


def test_the_api_does_not_load_the_extra() -> None:
    code = """
import sys
sys.modules["drf_spectacular"] = None
import os, django
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
django.setup()
import nateq_webhooks.api.urls, nateq_webhooks.api.schema.operations
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


@pytest.mark.django_db
def test_the_session_is_named_as_the_site_names_it() -> None:
    from nateq_webhooks.api.schema.generator import Generator

    with override_settings(SESSION_COOKIE_NAME="shop_session"):
        found = Generator().get_schema()

    assert found["components"]["securitySchemes"]["session"]["name"] == "shop_session"


@pytest.mark.django_db
class TestTheCheckOfEveryAnswer:
    """What would be found if an answer were not as it is described."""

    def test_a_field_that_is_not_described_is_found(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nateq_webhooks.api.webhooks.known_events", lambda: {"ticket.created": 1})

        with pytest.raises(AssertionError, match="is not of type 'string'"):
            program.ask("/webhooks/events")

    def test_an_additional_field_and_a_missing_one_are_found(self) -> None:
        schema = {"$ref": "#/components/schemas/EventType"}

        assert complaints(schema, {"name": "x", "description": "y"}) == []
        assert len(complaints(schema, {"name": "x", "description": "y", "more": 1})) == 1
        assert len(complaints(schema, {"name": "x"})) == 1

    def test_a_status_that_is_not_described_is_found(self, program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nateq_webhooks.api.webhooks.WebhooksView.answer", lambda *a: _teapot())

        with pytest.raises(AssertionError, match="answers 418"):
            program.ask("/webhooks")

    def test_addresses_are_found(self) -> None:
        events, webhook = operation_at("GET", "/webhooks/events"), operation_at("GET", "/webhooks/1")

        assert (events or {})["operationId"] == "list_events"
        assert (webhook or {})["operationId"] == "get_webhook"
        assert operation_at("GET", "/nothing") is None
        assert Delivery.objects.count() == 0


def _teapot() -> Any:
    from rest_framework.response import Response

    return Response({}, status=418)
