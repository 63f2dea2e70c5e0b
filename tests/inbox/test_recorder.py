"""The rejection recorder: a refusal costs no SQL, a thread stores once a second, and everything is bounded."""

import functools
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock, patch

import pytest
from django.db import connection, connections
from django.http import HttpResponse
from django.test.utils import CaptureQueriesContext
from django.urls import Resolver404, resolve
from django.utils import timezone

from nateq_webhooks import inbox, signals
from nateq_webhooks.inbox import configuration, diagnosis, rejections
from nateq_webhooks.inbox import recorder as module
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.diagnosis import Hint
from nateq_webhooks.inbox.recorder import (
    MAX_BUFFERED,
    MAX_BUFFERED_IN_ALL,
    MAX_SAMPLES,
    WRITE_SECONDS,
    RejectionRecorder,
)
from nateq_webhooks.inbox.request import MAX_HEADERS, MAX_NAME_CHARS, NO_MATCH, _name_of
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT
from nateq_webhooks.protocol.signatures import Reason as SignatureReason
from nateq_webhooks.threads import DaemonThread
from tests.conftest import Sender, envelope, wait_until
from tests.runners.processes import run
from tests.server import post, running


class Ticks:
    """Replaces the event that the thread waits on: a second passes when the test says so."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._waiting = threading.Semaphore(0)
        self._over = threading.Semaphore(0)
        self._ended = False

    def wait(self, timeout: float) -> None:
        self.waits.append(timeout)
        self._waiting.release()
        if not self._ended:
            assert self._over.acquire(timeout=120)

    def set(self) -> None:
        self._ended = True
        self._over.release()

    def pass_one(self) -> None:
        """Let a second be over; return when the thread waits for the next one, or has ended."""
        assert self._waiting.acquire(timeout=120)
        self._over.release()


@pytest.fixture
def ticks() -> Ticks:
    return Ticks()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch, ticks: Ticks) -> Iterator[RejectionRecorder]:
    """A recorder of the test's own, used by the receiver view."""
    made = RejectionRecorder()
    made._thread = DaemonThread(lambda _stop: made._write_until_empty(ticks), name=made._thread._name)  # type: ignore[arg-type]
    monkeypatch.setattr(rejections, "recorder", made)
    yield made
    made._take()
    ticks.set()
    made.finish()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each write: by which thread, and how many rows there are afterwards."""
    writes: list[tuple[str, int]] = []
    write = module._write

    def observed(buffers: module.Buffers) -> None:
        write(buffers)
        writes.append((threading.current_thread().name, Rejection.objects.count()))

    monkeypatch.setattr(module, "_write", observed)
    return writes


def refuse(
    recorder: RejectionRecorder,
    webhook: Webhook,
    count: int = 1,
    body: bytes | None = b"{}",
    reason: inbox.Reason = NO_MATCH,
) -> None:
    known = cache.get(webhook.pk)
    assert known is not None
    for _ in range(count):
        recorder.record(known, reason, meta={"HTTP_X_NATEQ_SIGNATURE": "0" * 64}, remote_addr=None, body=body)


def refuse_over_http(sender: Sender) -> None:
    """Post a body whose signature matches no secret."""
    assert sender.post(b"", secret="whsec_wrong_0123456789abcdef").status_code == 401


def has_ended(recorder: RejectionRecorder) -> Callable[[], bool]:
    return lambda: not recorder._thread.is_alive


@pytest.mark.django_db
class TestTheRequest:
    def test_a_refusal_is_stored_with_time_reason_address_size_and_header_names(self, sender: Sender) -> None:
        sender.post(
            b"{ }", secret="whsec_wrong_0123456789abcdef", REMOTE_ADDR="192.0.2.7", headers={"User-Agent": "nateq/1"}
        )
        module.recorder.flush()

        rejection = Rejection.objects.get()
        assert (rejection.webhook, rejection.reason) == (sender.webhook, "no_match")
        assert (rejection.remote_addr, rejection.size) == ("192.0.2.7", 3)
        assert "User-Agent" in rejection.header_names
        age = timezone.now() - rejection.received_at
        assert 0 <= age.total_seconds() < 10

    @pytest.mark.parametrize(
        ("status", "send"),
        [
            (401, lambda sender: sender.post(envelope(), secret="whsec_wrong_0123456789abcdef")),
            (401, lambda sender: sender.post(envelope(), signature="")),
            (403, lambda sender: sender.post(envelope(organization_id="org_2"))),
            (411, lambda sender: sender.post(b"", CONTENT_LENGTH="", HTTP_TRANSFER_ENCODING="chunked")),
            (413, lambda sender: sender.post(b"x" * 1_100_000)),
            (405, lambda sender: sender.client.get(sender.webhook.get_absolute_url())),
        ],
    )
    def test_a_refusal_costs_no_statement_and_is_recorded(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, status: int, send: Callable[[Sender], HttpResponse]
    ) -> None:
        monkeypatch.setattr(configuration, "REFRESH_SECONDS", 60)
        Webhook.objects.update(organization_id="org_1")
        cache.get(sender.webhook.pk)

        with CaptureQueriesContext(connection) as queries:
            answer = send(sender)

        assert answer.status_code == status
        assert len(queries) == 0
        module.recorder.flush()
        assert Rejection.objects.count() == 1

    def test_accepted_and_postponed_requests_and_gets_of_unknown_urls_are_not_recorded(self, sender: Sender) -> None:
        sender.post(envelope())
        sender.post(b"no JSON")
        sender.client.get(f"/nateq/{uuid.uuid4()}/")
        Webhook.objects.filter(pk=sender.webhook.pk).update(registration=Webhook.Registration.ROTATING)
        assert sender.post(envelope(), secret="whsec_new_0123456789abcdef").status_code == 503
        module.recorder.flush()

        assert module.recorder._buffers == {}
        assert not Rejection.objects.exists()

    def test_a_post_to_a_webhook_that_is_switched_off_is_recorded_without_its_body(self, db: None) -> None:
        off = Webhook.objects.create(name="off", is_active=False)

        assert Sender(off).post(envelope()).status_code == 404
        module.recorder.flush()

        rejection = Rejection.objects.get()
        assert (rejection.webhook, rejection.reason) == (off, "inactive")
        assert json.loads(rejection.hint) == {"code": "inactive", "details": {}}

    def test_a_post_to_an_unknown_url_is_recorded_with_the_id_and_costs_no_statement(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(configuration, "REFRESH_SECONDS", 60)
        cache.get(sender.webhook.pk)
        unknown = uuid.uuid4()

        with CaptureQueriesContext(connection) as queries:
            answer = sender.client.post(f"/nateq/{unknown}/", b"x" * 40, content_type="text/plain")

        assert (answer.status_code, len(queries)) == (404, 0)
        module.recorder.flush()
        rejection = Rejection.objects.get()
        assert (rejection.webhook_id, rejection.reason, rejection.size) == (None, "unknown_url", 40)
        assert json.loads(rejection.hint)["details"] == {"id": str(unknown)}

    @pytest.mark.parametrize("change", [lambda id: id[:-3], lambda id: id + "00", lambda id: id[:-1] + "-" + id[-1]])
    def test_a_post_to_a_mangled_url_is_recorded(self, sender: Sender, change: Callable[[str], str]) -> None:
        mangled = change(str(sender.webhook.pk))

        for end in ("", "/"):
            assert sender.client.post(f"/nateq/{mangled}{end}", b"", content_type="text/plain").status_code == 404
        assert sender.client.get(f"/nateq/{mangled}/").status_code == 404
        module.recorder.flush()

        rejections = Rejection.objects.all()
        assert {(each.webhook_id, each.reason) for each in rejections} == {(None, "unknown_url")}
        assert [Hint.read(each.hint).details for each in rejections] == [{"id": mangled}] * 2

    @pytest.mark.parametrize("path", ["2026-06-01", "a" * 40, "dead-beef-cafe", "x" * 36, "1-2-3-4", "a-" * 40 + "a"])
    def test_other_paths_under_the_prefix_are_left_to_the_site(self, sender: Sender, path: str) -> None:
        with pytest.raises(Resolver404):
            resolve(f"/nateq/{path}/")

    def test_unknown_urls_have_the_limits_of_one_webhook_together(self, sender: Sender) -> None:
        for _ in range(15):
            for _ in range(MAX_BUFFERED):
                sender.client.post(f"/nateq/{uuid.uuid4()}/", b"", content_type="text/plain")
            sender.client.post(f"/nateq/{uuid.uuid4()}/", b"", content_type="text/plain")
            refuse_over_http(sender)
            module.recorder.flush()

        unknown = Rejection.objects.filter(webhook=None)
        assert unknown.count() == MAX_REJECTIONS_KEPT
        assert Hint.read(unknown.order_by("-pk")[0].hint).dropped == 1
        assert Rejection.objects.filter(webhook=sender.webhook).count() == 15

    def test_methods_other_than_get_are_not_recorded(self, sender: Sender) -> None:
        url = sender.webhook.get_absolute_url()
        for method in (sender.client.head, sender.client.options, sender.client.delete):
            assert method(url).status_code == 405

        assert module.recorder._buffers == {}

    def test_the_signal_is_sent_for_refusals_and_not_for_a_get(self, sender: Sender) -> None:
        listener = Mock()
        signals.delivery_rejected.connect(listener)
        try:
            refuse_over_http(sender)
            sender.client.get(sender.webhook.get_absolute_url())
        finally:
            signals.delivery_rejected.disconnect(listener)

        listener.assert_called_once_with(
            signal=signals.delivery_rejected,
            sender=Delivery,
            webhook_id=sender.webhook.pk,
            reason="no_match",
            remote_addr="127.0.0.1",
        )

    @pytest.mark.parametrize(
        ("declared", "size"), [("1234567", 1_234_567), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5_000, None)]
    )
    def test_an_unread_body_has_its_declared_size_if_that_is_possible(
        self, webhook: Webhook, declared: str, size: int | None
    ) -> None:
        known = cache.get(webhook.pk)
        assert known is not None
        meta = {"CONTENT_LENGTH": declared}
        inbox.refuse(known, inbox.Refusal.TOO_LARGE, meta=meta)
        module.recorder.flush()

        assert Rejection.objects.get().size == size

    def test_the_names_of_many_and_long_headers_are_limited(self, sender: Sender) -> None:
        headers = {f"X-{number}-{'a' * 200}\x00": "value" for number in range(300)}
        sender.post(b"", secret="whsec_wrong_0123456789abcdef", headers=headers)
        module.recorder.flush()

        names = Rejection.objects.get().header_names
        assert len(names) == MAX_HEADERS
        assert max(map(len, names)) == MAX_NAME_CHARS
        assert "value" not in "".join(names)

    def test_no_thread_is_started_inside_a_transaction(self, sender: Sender) -> None:
        refuse_over_http(sender)

        assert not module.recorder._thread.is_alive

    def test_a_request_is_answered_if_no_thread_can_be_started(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "is_private", lambda alias: False)
        monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))

        refuse_over_http(sender)

        assert "can't start new thread" in caplog.text


@pytest.mark.django_db(transaction=True)
class TestTheThread:
    def test_it_stores_on_a_connection_that_it_closes(self, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
        left: list[object] = []
        close_all = connections.close_all

        def observed() -> None:
            assert connection.connection is not None  # this thread's, with which it wrote
            close_all()
            left.append(connection.connection)

        monkeypatch.setattr(connections, "close_all", observed)

        refuse_over_http(sender)
        thread = module.recorder._thread
        assert thread.is_alive

        wait_until(lambda: Rejection.objects.exists())
        wait_until(lambda: not thread.is_alive)
        assert left == [None]

    def test_refusals_of_a_test_are_never_stored_in_the_sites_own_database(
        self,
        webhook: Webhook,
        recorder: RejectionRecorder,
        ticks: Ticks,
        written: list[Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        refuse(recorder, webhook, 30)
        monkeypatch.setattr(module, "_database", lambda: "the site's own")  # as after the last test
        ticks.pass_one()

        wait_until(has_ended(recorder))
        assert written == []
        assert not recorder._buffers

    def test_in_a_flood_it_stores_a_few_per_webhook_once_a_second_and_counts_the_rest(
        self,
        sender: Sender,
        ticks: Ticks,
        recorder: RejectionRecorder,
        written: list[Any],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        other = Webhook.objects.create(name="support")
        cache.get(sender.webhook.pk)

        def flood(_number: int) -> None:
            try:
                for _ in range(25):
                    refuse_over_http(Sender(sender.webhook))
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as senders:
            list(senders.map(flood, range(8)))
        refuse(recorder, other, 2)
        assert written == []
        ticks.pass_one()
        wait_until(lambda: len(written) == 1)
        refuse(recorder, sender.webhook, 30)
        ticks.pass_one()
        wait_until(lambda: len(written) == 2)

        assert written == [
            ("nateq_webhooks rejection recorder", MAX_BUFFERED + 2),
            ("nateq_webhooks rejection recorder", 2 * MAX_BUFFERED + 2),
        ]
        assert set(ticks.waits) == {WRITE_SECONDS} == {1.0}
        hints = [
            json.loads(hint) for hint in sender.webhook.rejections.order_by("pk").values_list("hint", flat=True) if hint
        ]
        assert [hint.get("dropped") for hint in hints if "dropped" in hint] == [200 - MAX_BUFFERED, 30 - MAX_BUFFERED]
        assert (
            "180 more refused requests were only counted: at most 20 per second, webhook and reason are recorded."
            in caplog.text
        )

    def test_it_ends_when_the_buffer_is_empty_and_the_next_refusal_starts_another(
        self, webhook: Webhook, ticks: Ticks, recorder: RejectionRecorder, written: list[Any]
    ) -> None:
        refuse(recorder, webhook)
        first = recorder._thread._thread
        ticks.pass_one()
        ticks.pass_one()
        wait_until(has_ended(recorder))
        assert len(written) == 1

        refuse(recorder, webhook)
        assert recorder._thread._thread is not first
        ticks.pass_one()
        wait_until(lambda: len(written) == 2)
        assert ticks.waits[:3] == [1.0] * 3

    def test_without_a_database_refusals_are_counted_and_logged_and_requests_answered(
        self,
        sender: Sender,
        ticks: Ticks,
        recorder: RejectionRecorder,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for _ in range(3):
            refuse_over_http(sender)
        with monkeypatch.context() as patched:
            patched.setattr(module, "_database", functools.cache(module._database))  # it is the same one, but away
            module._database()
            for name, value in {"NAME": "/nowhere/at.all", "HOST": "127.0.0.1", "PORT": "1"}.items():
                patched.setitem(connections.settings["default"], name, value)
            ticks.pass_one()
            wait_until(lambda: "could not be recorded" in caplog.text, seconds=120)
        assert "3 refused requests could not be recorded: OperationalError" in caplog.text
        assert not Rejection.objects.exists()

        assert sender.post(envelope()).status_code == 200
        refuse_over_http(sender)
        ticks.pass_one()
        wait_until(lambda: Rejection.objects.exists())
        assert json.loads(Rejection.objects.get().hint)["dropped"] == 3

    def test_the_thread_logs_any_error_and_continues(
        self, webhook: Webhook, ticks: Ticks, recorder: RejectionRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        refuse(recorder, webhook)
        with patch.object(diagnosis, "diagnose", side_effect=ZeroDivisionError("not to be shown")):
            ticks.pass_one()
            wait_until(lambda: "could not be recorded" in caplog.text)
        refuse(recorder, webhook)
        ticks.pass_one()

        wait_until(lambda: Rejection.objects.exists())
        assert "1 refused requests could not be recorded: ZeroDivisionError" in caplog.text
        assert "not to be shown" not in caplog.text

    def test_refusals_of_a_deleted_webhook_are_left_out(
        self, webhook: Webhook, ticks: Ticks, recorder: RejectionRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone = Webhook.objects.create(name="gone")
        refuse(recorder, gone)
        refuse(recorder, webhook)
        gone.delete()

        ticks.pass_one()

        wait_until(lambda: Rejection.objects.exists())
        assert [rejection.webhook for rejection in Rejection.objects.all()] == [webhook]
        assert "could not be recorded" not in caplog.text

    def test_it_stores_at_once_when_the_process_ends(self, webhook: Webhook) -> None:
        recorder = RejectionRecorder()
        refuse(recorder, webhook)

        recorder.finish()

        assert Rejection.objects.count() == 1


@pytest.mark.django_db
class TestBounds:
    def test_a_flood_of_one_webhook_does_not_displace_the_others(
        self, webhook: Webhook, recorder: RejectionRecorder
    ) -> None:
        other = Webhook.objects.create(name="support")
        refuse(recorder, webhook, 10_000, body=b"x" * 60_000)
        refuse(recorder, other)

        flooded = recorder._buffers["", webhook.pk]
        assert (len(flooded.entries), flooded.only_counted.total()) == (MAX_BUFFERED, 10_000 - MAX_BUFFERED)
        assert sum(entry.sample is not None for entry in flooded.entries) == 1
        assert len(recorder._buffers["", other.pk].entries) == 1

    def test_many_webhooks_share_a_bounded_buffer(self, db: None, recorder: RejectionRecorder) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(30))
        for webhook in webhooks:
            refuse(recorder, webhook, 50)

        entries = [entry for buffer in recorder._buffers.values() for entry in buffer.entries]
        assert len(entries) == MAX_BUFFERED_IN_ALL
        assert (
            sum(buffer.only_counted.total() for buffer in recorder._buffers.values()) == 30 * 50 - MAX_BUFFERED_IN_ALL
        )

    def test_bodies_are_held_for_a_few_webhooks_only(self, db: None, recorder: RejectionRecorder) -> None:
        for webhook in Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(30)):
            refuse(recorder, webhook)

        held = [buffer.entries[0].sample is not None for buffer in recorder._buffers.values()]
        assert (len(held), sum(held)) == (30, MAX_SAMPLES)

    def test_nothing_is_held_after_a_write(self, webhook: Webhook, recorder: RejectionRecorder) -> None:
        refuse(recorder, webhook, 50)
        recorder.flush()

        assert (recorder._buffers, recorder._buffered.total(), recorder._samples) == ({}, 0, 0)


@pytest.mark.django_db
class TestEachReason:
    """No reason displaces another: the GETs of an uptime monitor leave the wrong signatures visible."""

    def test_each_reason_has_its_own_limit_in_memory(self, db: None, recorder: RejectionRecorder) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(20))
        for webhook in webhooks:
            refuse(recorder, webhook, 500, reason=inbox.Refusal.NOT_POST, body=None)
        for webhook in webhooks[:3]:
            refuse(recorder, webhook, 5)
        recorder.flush()

        assert Rejection.objects.filter(reason="not_post").count() == MAX_BUFFERED_IN_ALL
        assert Rejection.objects.filter(reason="no_match").count() == 15

    def test_each_reason_is_diagnosed(self, webhook: Webhook, recorder: RejectionRecorder) -> None:
        refuse(recorder, webhook, 30, reason=SignatureReason.MISSING)
        refuse(recorder, webhook, 30)
        recorder.flush()

        found = {
            reason: json.loads(hint)["code"]
            for reason, hint in webhook.rejections.values_list("reason", "hint")
            if hint and "code" in json.loads(hint)
        }
        assert found == {"missing": "missing_header", "no_match": "unknown_secret"}

    def test_a_count_without_a_row_waits_for_the_next_row_of_the_webhook_and_reason(
        self, db: None, recorder: RejectionRecorder
    ) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(11))
        for webhook in webhooks:
            refuse(recorder, webhook, MAX_BUFFERED)
        last = webhooks[-1]
        refuse(recorder, last, MAX_BUFFERED + 3, reason=inbox.Refusal.NOT_POST)
        recorder.flush()
        refuse(recorder, last)
        recorder.flush()

        dropped = [
            (reason, json.loads(hint).get("dropped")) for reason, hint in last.rejections.values_list("reason", "hint")
        ]
        assert [each for each in dropped if each[1]] == [("no_match", MAX_BUFFERED), ("not_post", 3)]

    def test_refusals_that_could_not_be_stored_are_counted_by_reason(
        self, webhook: Webhook, recorder: RejectionRecorder
    ) -> None:
        refuse(recorder, webhook, 25)
        refuse(recorder, webhook, 2, reason=inbox.Refusal.NOT_POST)
        recorder._only_count(recorder._take())

        assert recorder._buffers["", webhook.pk].only_counted == {NO_MATCH: 25, inbox.Refusal.NOT_POST: 2}

    def test_a_flood_of_long_header_names_takes_little_memory(
        self, webhook: Webhook, recorder: RejectionRecorder
    ) -> None:
        known = cache.get(webhook.pk)
        assert known is not None
        for number in range(2_000):
            meta = {f"HTTP_{'A' * 60_000}_{number}_{header}": "x" for header in range(3)}
            recorder.record(known, SignatureReason.MISSING, meta=meta, remote_addr=None, body=None)

        names = {name for entry in recorder._buffers["", webhook.pk].entries for name in entry.header_names}
        assert sum(map(len, names)) <= MAX_NAME_CHARS * 3
        assert _name_of.cache_info().currsize <= 256


SCRIPT = """
import os, sys, django
django.setup()
from django.db import connection
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.inbox.request import NO_MATCH
from nateq_webhooks.models import Rejection, Webhook
from tests.conftest import wait_until

def refuse(address):
    webhook = cache.get(Webhook.objects.get().pk)
    recorder.record(webhook, NO_MATCH, meta={}, remote_addr=address, body=b"")

def recorded():
    return sorted(Rejection.objects.values_list("remote_addr", flat=True))
"""

FORK = """
refuse("parent")
lock = recorder._lock
lock.acquire()  # as another thread of the parent might hold it
connection.close()
child = os.fork()
if child == 0:
    refuse("child")
    wait_until(lambda: "child" in recorded())
    os._exit(0)
lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
wait_until(lambda: "parent" in recorded())
print(recorded(), flush=True)
"""

EXIT = """
refuse("the last one")
"""

MEMORY = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
Webhook.objects.create(name="shop")
refuse("in memory")
assert not recorder._thread.is_alive
recorder.flush()
print(recorded())
"""


@pytest.mark.django_db(transaction=True)
class TestProcesses:
    def test_a_forked_process_starts_with_an_empty_buffer(self, webhook: Webhook) -> None:
        assert "['child', 'parent']" in run("-W", "ignore", "-c", SCRIPT + FORK)

    def test_the_last_refusals_are_stored_when_the_process_ends(self, webhook: Webhook) -> None:
        run("-c", SCRIPT + EXIT)

        assert Rejection.objects.get().remote_addr == "the last one"

    def test_in_sqlites_memory_it_is_stored_on_request_only(self) -> None:
        environment = {"DATABASE_URL": "sqlite://:memory:", "DJANGO_SETTINGS_MODULE": "tests.settings"}

        assert "['in memory']" in run("-c", SCRIPT + MEMORY, **environment)

    def test_workers_of_gunicorn_store_their_own_with_the_application_preloaded(self, webhook: Webhook) -> None:
        pytest.importorskip("gunicorn")
        path = webhook.get_absolute_url()
        with running("preloaded") as port:
            with ThreadPoolExecutor(8) as senders:
                answers = list(senders.map(lambda _: post(port, path, b"{}", {})[0], range(300)))
            wait_until(lambda: Rejection.objects.exists())
        assert set(answers) == {401}
        rows = list(Rejection.objects.all())
        dropped = sum(json.loads(row.hint).get("dropped", 0) for row in rows if row.hint)
        assert len(rows) + dropped == 300
        assert len(rows) < 300
