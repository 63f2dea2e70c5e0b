"""Any text in any parameter or path is answered in the envelope, and never with a 500."""

import string
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nateq_webhooks.api.schema.formats import MEDIA_TYPES
from nateq_webhooks.models import Webhook
from tests.api.conftest import API, Program, issue
from tests.api.operations import OPERATIONS
from tests.builders import store_deliveries, store_rejection, store_run

pytestmark = [pytest.mark.django_db, pytest.mark.any_database]

ODD = [
    "\0", "a\0b", "x" * 10_000, "9" * 5000, str(2**63), str(2**63 - 1), str(2**64), "-1", "0", "1e400", "NaN", "\u0663",
    "\ud800", "\udfff", "\U0001f600", "\u202e", "", " ", "'", '"', "%", "_", "\\", "*", "[]", "{}", "null", "true",
    "9999-12-31T23:59:59-23:59", "0000-01-01", "2026-06-30T24:00:00", "2026-06-30T12:00:60Z", "1-1", f"{2**63}-1",
    "00000000-0000-0000-0000-000000000000", "dead", "ticket.created", "50", "last", "..", "a/b", "?", "#", "\r\n",
]  # fmt: skip

texts = st.one_of(
    st.sampled_from(ODD),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=60),
    st.text(alphabet=string.digits + "-:TZ+.", max_size=40),
    st.integers(-(2**70), 2**70).map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.uuids().map(str),
)
names = st.one_of(st.sampled_from(sorted({name for each in OPERATIONS for name in each.parameters})), texts)


def encoded(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="")


def check(response: Any) -> None:
    assert response.status_code < 500
    if response["Content-Type"] == "application/json":
        document = response.json()
        assert document["success"] is (response.status_code in (200, 201, 202))
    elif response["Content-Type"] == "application/octet-stream":
        assert response["Content-Disposition"].startswith("attachment")
    else:
        assert response["Content-Type"] in ("text/html; charset=utf-8", *MEDIA_TYPES.values())


@pytest.fixture
def programs(webhook: Webhook) -> list[Program]:
    deliveries = store_deliveries(webhook, 3)
    store_run(deliveries[0])
    store_rejection(webhook)
    plenty = {"requests_per_minute": 1_000_000}
    return [Program(issue(**plenty)), Program(issue(organization_id="org_1", **plenty))]  # type: ignore[arg-type]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_every_odd_text_in_every_parameter(programs: list[Program], webhook: Webhook, operation: Any) -> None:
    path = operation.at(webhook=webhook.pk, delivery=1)
    for program in programs:
        for name in (*operation.parameters, "unknown"):
            for text in ODD:
                check(program.generic(operation.method, f"{API}{path}?{name}={encoded(text)}"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_query(programs: list[Program], webhook: Webhook, data: st.DataObject) -> None:
    operation = data.draw(st.sampled_from(OPERATIONS))
    identity = data.draw(st.one_of(st.just(str(webhook.pk)), st.just("1"), texts.map(encoded)))
    path = operation.at(webhook=identity, delivery=identity, receiver=identity)
    own = st.sampled_from(operation.parameters or ("limit",))
    pairs = data.draw(st.lists(st.tuples(st.one_of(own, names), texts), max_size=6))
    query = "&".join(f"{encoded(name)}={encoded(text)}" for name, text in pairs)
    program = data.draw(st.sampled_from(programs))

    check(program.generic(operation.method, f"{API}{path}?{query}"))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(alphabet=st.characters(max_codepoint=255), max_size=80),
    scheme=st.sampled_from(["", "Bearer ", "bearer tg_live_"]),
)
def test_any_authorization(webhook: Webhook, text: str, scheme: str) -> None:
    response = Program().get(f"{API}/webhooks", headers={"Authorization": scheme + text})

    assert response.status_code == 401
    check(response)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=texts, method=st.sampled_from(["GET", "POST", "PATCH", "DELETE", "PUT"]), body=st.binary(max_size=60))
def test_any_address(programs: list[Program], path: str, method: str, body: bytes) -> None:
    response = programs[0].generic(method, f"{API}/{encoded(path)}", body, content_type="application/json")

    check(response)
    assert response.status_code in (404, 405)
