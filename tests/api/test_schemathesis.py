"""Schemathesis against a live server, as each kind of caller: no 5xx, and every answer is as the description says.

It makes requests from the description: valid ones, and ones that break it in one place, which must be refused. Only a
key that may do everything gets all of them. CI has callers that differ in how they are let in; a key of one scope or
of one organization, whose rights are in test_matrix and test_callers, is for `nox -s long`. NATEQ_EXAMPLES=100
makes so many for each operation, as every caller, and NATEQ_SEED=2 others than usual.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from django.middleware.csrf import get_token
from django.test import Client, RequestFactory

from example_project.board.server import serving
from nateq_webhooks.api.base import ApiView
from nateq_webhooks.api.schema.generator import rendered
from nateq_webhooks.api.schema.operations import OPERATIONS
from nateq_webhooks.models import Delivery, Replay, Webhook
from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, LIVE_KEY_PREFIX, Scope
from nateq_webhooks.signals import ticket_created
from tests.api.conftest import issue, staff
from tests.api.test_matrix import OURS
from tests.builders import store_deliveries, store_rejection, store_run
from tests.conftest import Connect

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

EXAMPLES: Final = os.environ.get("NATEQ_EXAMPLES", "")
SEED: Final = os.environ.get("NATEQ_SEED", "1")

CONFIGURATION: Final = """
[warnings]
enabled = false

# What the description can't say: a name that is in use, a receiver that is not connected, a key of another request.
[[operations]]
include-method = ["POST", "PATCH", "DELETE"]
checks.positive_data_acceptance.expected-statuses = ["2xx", 401, 403, 404, 409, 422]
"""

Headers = dict[str, str]


def _key(*scopes: str, **columns: Any) -> Headers:
    return {"Authorization": f"Bearer {issue(*scopes, requests_per_minute=1_000_000, **columns)}"}


def _session() -> Headers:
    client: Client = staff(*OURS)
    token = get_token(RequestFactory().get("/"))
    cookies = {"sessionid": client.cookies["sessionid"].value, "csrftoken": token}
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()), "X-CSRFToken": token}


OF_ONE_SCOPE: Final[dict[str, Callable[[], Headers]]] = {
    scope.value: lambda scope=scope: _key(scope)  # type: ignore[misc]
    for scope in Scope
}
NARROW: Final[dict[str, Callable[[], Headers]]] = {
    **OF_ONE_SCOPE,
    "one organization": lambda: _key(organization_id="org_1"),
}
CALLERS: Final[dict[str, Callable[[], Headers]]] = {
    **NARROW,
    "all scopes": _key,
    "staff": _session,
    "nobody": dict,
}


@pytest.fixture
def rows(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """Rows to ask for: by the name of the part of an address that names them."""
    monkeypatch.setitem(LIMIT_PER_MINUTE, LIVE_KEY_PREFIX, 1_000_000)  # the limit of a staff user
    connect(ticket_created, lambda **kwargs: None, "shop.send")
    webhooks = [Webhook.objects.create(name=f"shop {number}", organization_id="org_1") for number in range(3)]
    deliveries = store_deliveries(webhooks[0], 5)
    Delivery.objects.filter(pk=deliveries[0].pk).update(status="dead", payload=None, timestamp=None, remote_addr=None)
    store_run(deliveries[0], status="dead")
    store_rejection(webhooks[0])
    return {
        "webhook": [str(webhook.pk) for webhook in webhooks],
        "delivery": [delivery.pk for delivery in deliveries],
        "receiver": ["shop.send"],
        "replay": [Replay.objects.create(is_cancelled=cancelled).pk for cancelled in (True, False)],
    }


def description(rows: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the description, with what there is beside what there might be."""
    found: dict[str, Any] = json.loads(rendered("/api/v1", "json"))
    for operation in (each for methods in found["paths"].values() for each in methods.values()):
        for parameter in operation.get("parameters", ()):
            if parameter["in"] == "path":
                there = rows[parameter["name"]]
                parameter["example"] = there[0]
                parameter["schema"] = {"anyOf": [{"enum": there}, parameter["schema"]]}
    return found


@pytest.fixture
def succeeded(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """The operations that succeeded: the method and the name of the URL of each."""
    found: set[tuple[str, str]] = set()
    dispatch = ApiView.dispatch

    def note(view: ApiView, request: Any, *args: Any, **kwargs: Any) -> Any:
        response = dispatch(view, request, *args, **kwargs)
        if response.status_code < 300:
            found.add((request.method, request.resolver_match.url_name))
        return response

    monkeypatch.setattr(ApiView, "dispatch", note)
    return found


@pytest.fixture(autouse=True)
def _no_log_of_refusals(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("django.request", "django.server"):
        caplog.set_level("ERROR", name)


def schemathesis(home: Path, rows: dict[str, list[Any]], headers: Headers, *options: str) -> tuple[int, str]:
    """Run it against a live server; return its exit code and what it printed."""
    (home / "nateq.json").write_text(json.dumps(description(rows)))
    (home / "schemathesis.toml").write_text(CONFIGURATION)
    program = str(Path(sys.executable).with_name("schemathesis"))
    command = [program, "run", "nateq.json", "--seed", SEED, "--generation-database", "none", "--no-color", *options]
    # A busy machine is slow, and that is no failure.
    command += ["--suppress-health-check", "all", "--request-timeout", "120"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    with serving(0) as port:
        command += ["--url", f"http://127.0.0.1:{port}/api/v1"]
        done = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(
    "caller", [pytest.param(name, marks=pytest.mark.long if name in NARROW else ()) for name in CALLERS]
)
def test_no_request_breaks_the_description(
    caller: str,
    rows: dict[str, list[Any]],
    succeeded: set[tuple[str, str]],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    may_do_everything = caller == "all scopes"
    options = ["--max-examples", EXAMPLES or ("8" if may_do_everything else "3")]
    if not EXAMPLES and not may_do_everything:
        options += ["--phases", "examples,fuzzing"]
    if caller == "staff":  # its session is accepted whatever key is made up beside it, if that is empty
        options += ["--exclude-checks", "ignored_auth"]

    code, printed = schemathesis(tmp_path, rows, CALLERS[caller](), *options)

    assert code == 0, printed[-20_000:]
    record_property("cases", re.findall(r"[0-9]+ generated.*", printed))
    record_property("succeeded", sorted(succeeded))
    assert not may_do_everything or set(OPERATIONS) - succeeded == set()
    assert ("GET", "schema") in succeeded or caller == "nobody"


def test_a_server_error_and_an_answer_that_is_not_described_would_be_found(
    rows: dict[str, list[Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--phases", "examples,fuzzing", "--max-examples", "1", "--include-path", "/webhooks/events")
    headers = _key()

    monkeypatch.setattr("nateq_webhooks.api.webhooks.known_events", lambda: {"ticket.created": 1})
    wrong = schemathesis(tmp_path, rows, headers, *options)
    monkeypatch.setattr("nateq_webhooks.api.webhooks.known_events", None)
    failing = schemathesis(tmp_path, rows, headers, *options)

    assert (wrong[0], failing[0]) == (1, 1)
    assert "Response violates schema" in wrong[1]
    assert "Server error" in failing[1]
