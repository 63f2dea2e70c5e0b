"""A sender that signs like Nateq, receivers that remember, and clean registries."""

import http.server
import json
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, TransactionTestCase
from django.utils import timezone

from nateq_webhooks.dispatch import holds
from nateq_webhooks.dispatch.due_range import due_ranges
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.inbox import configuration
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.signals import EventSignal
from tests import emptying
from tests.waiting import wait_until as wait_until

if TYPE_CHECKING:
    from nateq_webhooks.sandbox import Sandbox

SECRET = "whsec_test_0123456789abcdef"


def envelope(event: str = "ticket.created", *, delivery_id: object = "dlv_1", attempt: object = 1, **over: Any) -> Any:
    """The envelope of Nateq's page, with whatever a test wants different."""
    return {
        "event": event,
        "timestamp": "2026-06-30T12:00:00Z",
        "organization_id": "org_1",
        "data": {"id": "tkt_1", "subject": "Help"},
        "metadata": {"delivery_id": delivery_id, "attempt": attempt, "version": "1.0"},
    } | over


@dataclass
class Sender:
    """Posts to one webhook through Django's test client."""

    webhook: Webhook
    client: Client = field(default_factory=lambda: Client(raise_request_exception=True))

    def post(self, body: bytes | Any, *, secret: str = SECRET, signature: str | None = None, **extra: Any) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"X-Nateq-Signature": sign(raw, secret) if signature is None else signature} | extra.pop(
            "headers", {}
        )
        return self.client.post(
            self.webhook.get_absolute_url(), raw, content_type="application/json", headers=headers, **extra
        )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Answer `-n auto`: half as many again as there are cores, as many tests wait for a process or a moment."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return (3 * cores + 1) // 2


@pytest.fixture(autouse=True, scope="session")
def _empty_tables_fast() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", emptying.fixture_teardown)
        yield


@pytest.fixture(autouse=True)
def _measure_few_processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have coverage measure the processes of the sandbox's own tests only: each takes about twice the time to start."""
    if not request.path.is_relative_to(Path(__file__).parent / "sandbox"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


class SharedSandbox(Protocol):
    """Returns a sandbox with these options, as it was at its start."""

    def __call__(self, **options: Any) -> "Sandbox": ...


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[SharedSandbox]:
    """Start one sandbox for all tests that want the same options: its process takes longer to start than a test."""
    from nateq_webhooks.sandbox import Sandbox

    started: dict[str, Sandbox] = {}
    with ExitStack() as stack:

        def shared(**options: Any) -> Sandbox:
            named = repr(sorted(options.items()))
            if named in started:
                started[named].reset()
            else:
                started[named] = stack.enter_context(Sandbox(**options))
            return started[named]

        yield shared


@pytest.fixture
def webhook(db: None) -> Webhook:
    return Webhook.objects.create(name="shop", secret=SECRET)


@pytest.fixture
def sender(webhook: Webhook) -> Sender:
    return Sender(webhook)


@pytest.fixture
def boss(db: None) -> Client:
    """A superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("boss", "boss@shop.example", "tests only"))
    return client


@pytest.fixture(autouse=True)
def _fresh_configuration() -> None:
    cache.invalidate()
    hold_cache.invalidate()
    due_ranges.forget()


@pytest.fixture
def caches_stay_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cached rows become old while a test counts statements: a slow machine would refresh them in between."""
    monkeypatch.setattr(configuration, "REFRESH_SECONDS", 3_600.0)
    monkeypatch.setattr(holds, "REFRESH_SECONDS", 3_600.0)


@pytest.fixture(scope="session", autouse=True)
def _sqlite_has_been_asked_for_json(request: pytest.FixtureRequest) -> None:
    """Django 6.1 asks SQLite once a process, in the first check: in a test without a database that is an error."""
    if connection.vendor == "sqlite":
        request.getfixturevalue("django_db_setup")
        with request.getfixturevalue("django_db_blocker").unblock():
            assert connection.features.supports_json_field


_COUNTERS: Final = frozenset({"django_assert_num_queries", "django_assert_max_num_queries"})


@pytest.fixture(autouse=True)
def _caches_stay_fresh_while_statements_are_counted(request: pytest.FixtureRequest) -> None:
    if _COUNTERS & set(request.fixturenames):
        request.getfixturevalue("caches_stay_fresh")


@pytest.fixture
def time_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hour ends while a test counts statements: the first page afterwards would count it and store what it found."""
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)


@pytest.fixture(autouse=True)
def _empty_recorder() -> Iterator[None]:
    """What one test refused is not written during the next one, and no thread of it is left."""
    yield
    recorder._take()
    recorder.finish()
    recorder.forget()


class Connect(Protocol):
    """Connects a receiver to a signal, under a name of its own unless one is given."""

    def __call__(
        self, signal: EventSignal, function: Callable[..., Any], name: str = "", *, atomic: bool = True
    ) -> None: ...


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect receivers for the length of a test."""
    connected: list[tuple[EventSignal, str]] = []

    def connect_one(signal: EventSignal, function: Callable[..., Any], name: str = "", *, atomic: bool = True) -> None:
        uid = name or f"test.{uuid.uuid4().hex}"
        signal.connect(function, dispatch_uid=uid, weak=False, atomic=atomic)
        connected.append((signal, uid))

    yield connect_one
    for signal, uid in connected:
        signal.disconnect(dispatch_uid=uid)


def is_mysql() -> bool:
    return connection.vendor == "mysql"


class KeepsOpen(http.server.BaseHTTPRequestHandler):
    """Keeps connections open, as a service does, so that a client's pool has something to keep."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def service() -> Iterator[str]:
    """The URL of an HTTP service on this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeepsOpen) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
