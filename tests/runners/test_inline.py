"""In the request: the answer is sent after the receivers have run, and is 200 whatever they do."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.signals import delivery_received
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import (
    Configure,
    Connect,
    backend_id,
    elsewhere,
    kill_connection,
    make_due,
    names_written,
    write,
    written,
)
from tests.runners.processes import site
from tests.server import post

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _inline(configure: Configure) -> None:
    configure(DISPATCH="inline")


def test_receivers_have_run_before_the_answer_is_sent(sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: write("mine"))

    assert sender.post(envelope()).status_code == 200

    assert written("mine") == 1
    assert Delivery.objects.get().status == "processed"
    assert Run.objects.get().status == "succeeded"


def test_the_delivery_is_committed_before_any_receiver_runs(sender: Sender, connect: Connect) -> None:
    seen: list[int] = []
    connect(signals.ticket_created, lambda **kwargs: seen.append(elsewhere(Delivery.objects.count)))

    sender.post(envelope())

    assert seen == [1]


@pytest.mark.parametrize("error", [ValueError("broken"), SystemExit(1)], ids=repr)
def test_a_receiver_that_fails_does_not_change_the_answer(
    sender: Sender, connect: Connect, error: BaseException
) -> None:
    def fails(**kwargs: Any) -> None:
        write("mine")
        raise error

    connect(signals.ticket_created, fails)

    response = sender.post(envelope())

    assert (response.status_code, response.json()) == (200, {"status": "stored"})
    assert Delivery.objects.get().status == "failed"
    assert written("mine") == 0


def test_later_tries_are_for_the_worker(sender: Sender, connect: Connect) -> None:
    def fails_once(*, run: Run, **kwargs: Any) -> None:
        if run.tries == 1:
            raise ValueError("broken")
        write("mine")

    connect(signals.ticket_created, fails_once)
    sender.post(envelope())
    sender.post(envelope(attempt=2))
    assert Run.objects.get().tries == 1

    make_due()
    call_command("nateq_worker", "--once", verbosity=0)

    assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)
    assert written("mine") == 1


@pytest.mark.services
def test_a_database_that_goes_away_after_the_store_does_not_change_the_answer(
    sender: Sender, connect: Connect, configure: Configure, caplog: pytest.LogCaptureFixture
) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no connection that could be lost")
    configure(RUN_LEASE=timedelta(seconds=60))

    def loses(**kwargs: Any) -> None:
        elsewhere(partial(kill_connection, backend_id()))

    connect(signals.ticket_created, lambda **kwargs: write("mine"))
    delivery_received.connect(loses)
    try:
        response = sender.post(envelope())
    finally:
        delivery_received.disconnect(loses)
    connection.close()

    assert (response.status_code, response.json()) == (200, {"status": "stored"})
    assert "is stored, but its receivers could not be run now" in caplog.text
    delivery = Delivery.objects.get()
    assert (delivery.status, written("mine")) == ("received", 0)
    call_command("nateq_worker", "--once", verbosity=0)  # the request has released the run
    assert written("mine") == 1
    assert Delivery.objects.get().status == "processed"


class TestUnderGunicorn:
    """Its worker's main thread runs the receivers; what a receiver raises must not end it, what ends it must."""

    @pytest.fixture(autouse=True)
    def gunicorn(self) -> None:
        pytest.importorskip("gunicorn")

    def test_no_receiver_restarts_the_worker_or_changes_the_answer(self, sender: Sender) -> None:
        path = sender.webhook.get_absolute_url()
        with site("gunicorn sync", NATEQ_DISPATCH="inline") as port:
            for name in ("KeyboardInterrupt", "SystemExit", "GeneratorExit", "PanicError"):
                body, headers = signed(envelope("user.created", delivery_id=name, data={"raise": name}))
                assert post(port, path, body, headers)[0] == 200

        assert len(names_written()) == 4
        assert len(set(names_written())) == 1  # one process has run them all
        errors = dict(Run.objects.exclude(error="").values_list("delivery__delivery_id", "error"))
        assert len(errors) == 4
        for name, error in errors.items():
            assert error == f"{name}: as it was asked for"

    def test_the_end_of_the_worker_is_recorded_and_the_rest_given_back(self, sender: Sender, tmp_path: Path) -> None:
        path = sender.webhook.get_absolute_url()
        body, headers = signed(envelope("ticket.updated", data={"folder": str(tmp_path)}))
        with site("gunicorn sync", NATEQ_DISPATCH="inline") as port, ThreadPoolExecutor(1) as request:
            answer = request.submit(post, port, path, body, headers)
            wait_until((tmp_path / "began").exists)
            worker = int((tmp_path / "pid").read_text())
            os.kill(worker, signal.SIGQUIT)  # gunicorn's worker turns it into SystemExit
            with suppress(OSError, HTTPException):
                answer.result()
            wait_until(lambda: Run.objects.filter(status="failed").exists())
            wait_until(lambda: not is_alive(worker))

        assert list(Run.objects.values_list("receiver", "status", "tries")) == [
            ("tests.runners.site.receivers.wait", "failed", 1),
            ("tests.runners.site.receivers.come_after", "waiting", 0),
        ]
        assert Run.objects.get(status="failed").error.startswith("SystemExit")
        assert names_written() == []


def signed(document: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body of a delivery, and its headers."""
    body = json.dumps(document).encode()
    return body, {"X-Nateq-Signature": sign(body, SECRET)}


def is_alive(pid: int) -> bool:
    """Say whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("is_in_memory", [True, False])
def test_an_error_of_a_database_in_memory_says_how_to_give_the_tests_a_file(
    sender: Sender,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_in_memory: bool,
) -> None:
    def locked(*args: Any, **kwargs: Any) -> None:
        raise OperationalError("database table is locked")

    connect(signals.ticket_created, lambda **kwargs: write("mine"))
    monkeypatch.setattr(api, "run_inserted", locked)
    monkeypatch.setattr(connections["default"], "is_in_memory_db", lambda: is_in_memory, raising=False)

    assert sender.post(envelope()).status_code == 200

    assert "could not be run now: OperationalError." in caplog.text
    assert ('DATABASES[\'default\']["TEST"] = {"NAME": "test.sqlite3"}' in caplog.text) is is_in_memory
