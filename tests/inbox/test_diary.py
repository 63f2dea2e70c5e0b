"""The diary: the request notes and costs no SQL, a thread writes once a second, and nothing grows."""

import functools
import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import inbox, signals
from nateq_webhooks.inbox import configuration, diagnosis
from nateq_webhooks.inbox import diary as module
from nateq_webhooks.inbox.arrival import MAX_HEADERS, MAX_NAME_CHARS, _name_of
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.diary import MAX_NOTED, MAX_NOTED_IN_ALL, MAX_SPECIMENS, WRITE_SECONDS, Diary
from nateq_webhooks.inbox.reasons import NO_MATCH
from nateq_webhooks.models import Delivery, Rejection, Webhook
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT
from nateq_webhooks.protocol.signatures import Reason as Bad
from tests.conftest import Sender, envelope, wait_until
from tests.runners.processes import run
from tests.server import post, running


class Ticks:
    """Stands for the event that a diary's thread waits on: a second is over when the test says so."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._waiting = threading.Semaphore(0)
        self._over = threading.Semaphore(0)
        self._ended = False

    def wait(self, timeout: float) -> None:
        self.waits.append(timeout)
        self._waiting.release()
        if not self._ended:
            assert self._over.acquire(timeout=20)

    def set(self) -> None:
        self._ended = True
        self._over.release()

    def pass_one(self) -> None:
        """Let a second be over; return when the thread waits for the next one, or has ended."""
        assert self._waiting.acquire(timeout=20)
        self._over.release()


@pytest.fixture
def diary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Diary]:
    """A diary of the test's own, at the door."""
    made = Diary()
    monkeypatch.setattr(inbox, "book", made)
    yield made
    made._take()
    made.finish()


@pytest.fixture
def ticks(diary: Diary) -> Ticks:
    ticks = Ticks()
    diary._end = ticks  # type: ignore[assignment]
    return ticks


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Each write: by which thread, and how many rows there are afterwards."""
    writes: list[tuple[str, int]] = []
    write = module._write

    def observed(pages: module.AllPages) -> None:
        write(pages)
        writes.append((threading.current_thread().name, Rejection.objects.count()))

    monkeypatch.setattr(module, "_write", observed)
    return writes


def note(
    diary: Diary, webhook: Webhook, count: int = 1, body: bytes | None = b"{}", reason: inbox.Reason = NO_MATCH
) -> None:
    known = cache.get(webhook.pk)
    assert known is not None
    for _ in range(count):
        diary.note(known, reason, meta={"HTTP_X_NATEQ_SIGNATURE": "0" * 64}, remote_addr=None, body=body)


def has_ended(diary: Diary) -> Callable[[], bool]:
    return lambda: diary._thread is None


@pytest.mark.django_db
class TestTheRequest:
    def test_a_refusal_is_in_the_diary_with_when_why_from_where_size_and_header_names(self, sender: Sender) -> None:
        sender.post(
            b"{ }", secret="whsec_wrong_0123456789abcdef", REMOTE_ADDR="192.0.2.7", headers={"User-Agent": "nateq/1"}
        )
        module.book.flush()

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
    def test_what_is_refused_costs_no_statement_and_is_noted(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, status: int, send: Callable[[Sender], HttpResponse]
    ) -> None:
        monkeypatch.setattr(configuration, "REFRESH_SECONDS", 60)
        Webhook.objects.update(organization_id="org_1")
        cache.get(sender.webhook.pk)

        with CaptureQueriesContext(connection) as queries:
            answer = send(sender)

        assert answer.status_code == status
        assert len(queries) == 0
        module.book.flush()
        assert Rejection.objects.count() == 1

    def test_what_is_accepted_or_put_off_or_unknown_or_switched_off_is_not_in_the_diary(self, sender: Sender) -> None:
        off = Webhook.objects.create(name="off", is_active=False)
        sender.post(envelope())
        sender.post(b"no JSON")
        sender.client.post(f"/nateq/{uuid.uuid4()}/", b"", content_type="text/plain")
        sender.client.get(f"/nateq/{uuid.uuid4()}/")
        Sender(off).post(envelope())
        Webhook.objects.filter(pk=sender.webhook.pk).update(registration=Webhook.Registration.ROTATING)
        assert sender.post(envelope(), secret="whsec_new_0123456789abcdef").status_code == 503
        module.book.flush()

        assert module.book._pages == {}
        assert not Rejection.objects.exists()

    def test_other_methods_than_get_are_nobodys_deliveries(self, sender: Sender) -> None:
        url = sender.webhook.get_absolute_url()
        for method in (sender.client.head, sender.client.options, sender.client.delete):
            assert method(url).status_code == 405

        assert module.book._pages == {}

    def test_monitoring_is_told_of_refusals_as_before_and_not_of_a_get(self, sender: Sender) -> None:
        told: list[dict[str, Any]] = []

        def listen(**kwargs: Any) -> None:
            told.append(kwargs)

        signals.delivery_rejected.connect(listen)
        try:
            sender.post(b"", secret="whsec_wrong_0123456789abcdef")
            sender.client.get(sender.webhook.get_absolute_url())
        finally:
            signals.delivery_rejected.disconnect(listen)

        (one,) = told
        assert set(one) == {"signal", "sender", "webhook_id", "reason", "remote_addr"}
        assert (one["sender"], one["webhook_id"], one["reason"]) == (Delivery, sender.webhook.pk, "no_match")

    @pytest.mark.parametrize(
        ("declared", "size"), [("1234567", 1_234_567), ("9" * 18, 10**18 - 1), ("9" * 19, None), ("9" * 5_000, None)]
    )
    def test_a_body_that_was_not_read_has_the_size_it_says_if_that_can_be_true(
        self, webhook: Webhook, declared: str, size: int | None
    ) -> None:
        known = cache.get(webhook.pk)
        assert known is not None
        meta = {"CONTENT_LENGTH": declared}
        inbox.refuse(known, inbox.Refusal.TOO_LARGE, meta=meta, remote_addr=None)
        module.book.flush()

        assert Rejection.objects.get().size == size

    def test_of_many_and_long_headers_few_names_are_kept_shortened(self, sender: Sender) -> None:
        headers = {f"X-{number}-{'a' * 200}\x00": "value" for number in range(300)}
        sender.post(b"", secret="whsec_wrong_0123456789abcdef", headers=headers)
        module.book.flush()

        names = Rejection.objects.get().header_names
        assert len(names) == MAX_HEADERS
        assert max(map(len, names)) == MAX_NAME_CHARS
        assert "value" not in "".join(names)

    def test_in_a_transaction_no_thread_is_started_for_it_would_see_nothing(self, sender: Sender) -> None:
        sender.post(b"", secret="whsec_wrong_0123456789abcdef")

        assert module.book._thread is None

    def test_that_no_thread_can_be_started_is_not_the_doors_business(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(module, "is_private", lambda alias: False)
        monkeypatch.setattr(threading.Thread, "start", fail)

        assert sender.post(b"", secret="whsec_wrong_0123456789abcdef").status_code == 401
        assert "can't start new thread" in caplog.text


@pytest.mark.django_db(transaction=True)
class TestTheThread:
    def test_it_writes_by_itself_on_a_connection_that_it_closes(
        self, sender: Sender, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        left: list[object] = []
        close_all = connections.close_all

        def observed() -> None:
            assert connection.connection is not None  # this thread's, with which it wrote
            close_all()
            left.append(connection.connection)

        monkeypatch.setattr(connections, "close_all", observed)

        sender.post(b"", secret="whsec_wrong_0123456789abcdef")
        thread = module.book._thread
        assert thread is not None
        assert thread.daemon

        wait_until(lambda: Rejection.objects.exists())
        wait_until(lambda: not thread.is_alive())
        assert left == [None]

    def test_what_was_refused_in_a_test_is_never_written_to_the_sites_own_database(
        self, webhook: Webhook, diary: Diary, ticks: Ticks, written: list[Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        note(diary, webhook, 30)
        monkeypatch.setattr(module, "_database", lambda: "the site's own")  # as after the last test
        ticks.pass_one()

        wait_until(has_ended(diary))
        assert written == []
        assert not diary._pages

    def test_in_a_flood_it_writes_once_a_second_a_few_of_each_webhook_and_counts_the_rest(
        self, sender: Sender, ticks: Ticks, diary: Diary, written: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        other = Webhook.objects.create(name="support")
        cache.get(sender.webhook.pk)

        def flood(_number: int) -> None:
            try:
                for _ in range(25):
                    assert (
                        Sender(sender.webhook, Client()).post(b"{}", secret="whsec_wrong_0123456789abcdef").status_code
                        == 401
                    )
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as senders:
            list(senders.map(flood, range(8)))
        note(diary, other, 2)
        assert written == []
        ticks.pass_one()
        wait_until(lambda: len(written) == 1)
        note(diary, sender.webhook, 30)
        ticks.pass_one()
        wait_until(lambda: len(written) == 2)

        assert written == [("nateq_webhooks diary", MAX_NOTED + 2), ("nateq_webhooks diary", 2 * MAX_NOTED + 2)]
        assert set(ticks.waits) == {WRITE_SECONDS} == {1.0}
        hints = [
            json.loads(hint) for hint in sender.webhook.rejections.order_by("pk").values_list("hint", flat=True) if hint
        ]
        assert [hint.get("dropped") for hint in hints if "dropped" in hint] == [200 - MAX_NOTED, 30 - MAX_NOTED]
        assert "180 more refused requests are only counted: the diary keeps 20 a second." in caplog.text

    def test_the_diary_never_holds_more_than_200_of_a_webhook(
        self, webhook: Webhook, ticks: Ticks, diary: Diary, written: list[Any]
    ) -> None:
        for number in range(1, 15):
            note(diary, webhook, 500)
            ticks.pass_one()
            wait_until(lambda number=number: len(written) == number)  # type: ignore[misc]

        assert max(count for _thread, count in written) == MAX_REJECTIONS_KEPT
        assert webhook.rejections.count() == MAX_REJECTIONS_KEPT

    def test_with_nothing_to_write_it_ends_and_the_next_refusal_starts_another_one(
        self, webhook: Webhook, ticks: Ticks, diary: Diary, written: list[Any]
    ) -> None:
        note(diary, webhook)
        first = diary._thread
        ticks.pass_one()
        ticks.pass_one()
        wait_until(has_ended(diary))
        assert len(written) == 1

        note(diary, webhook)
        assert diary._thread is not first
        ticks.pass_one()
        wait_until(lambda: len(written) == 2)
        assert ticks.waits[:3] == [1.0] * 3

    def test_the_database_is_down_so_it_is_dropped_and_said_and_the_door_goes_on(
        self,
        sender: Sender,
        ticks: Ticks,
        diary: Diary,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        for _ in range(3):
            sender.post(b"", secret="whsec_wrong_0123456789abcdef")
        with monkeypatch.context() as patched:
            patched.setattr(module, "_database", functools.cache(module._database))  # it is the same one, but away
            module._database()
            for name, value in {"NAME": "/nowhere/at.all", "HOST": "127.0.0.1", "PORT": "1"}.items():
                patched.setitem(connections.settings["default"], name, value)
            ticks.pass_one()
            wait_until(lambda: "could not be written" in caplog.text, seconds=30)
        assert "3 refused requests could not be written to the diary: OperationalError" in caplog.text
        assert not Rejection.objects.exists()

        assert sender.post(envelope()).status_code == 200
        assert sender.post(b"", secret="whsec_wrong_0123456789abcdef").status_code == 401
        ticks.pass_one()
        wait_until(lambda: Rejection.objects.exists())
        assert json.loads(Rejection.objects.get().hint)["dropped"] == 3

    def test_whatever_goes_wrong_in_the_thread_it_says_so_and_lives_on(
        self, webhook: Webhook, ticks: Ticks, diary: Diary, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*arguments: Any, **named: Any) -> None:
            raise ZeroDivisionError("not to be shown")

        note(diary, webhook)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(diagnosis, "diagnose", fail)
            ticks.pass_one()
            wait_until(lambda: "could not be written" in caplog.text)
        note(diary, webhook)
        ticks.pass_one()

        wait_until(lambda: Rejection.objects.exists())
        assert "1 refused requests could not be written to the diary: ZeroDivisionError" in caplog.text
        assert "not to be shown" not in caplog.text

    def test_what_was_refused_by_a_webhook_that_is_gone_is_left_out(
        self, webhook: Webhook, ticks: Ticks, diary: Diary, caplog: pytest.LogCaptureFixture
    ) -> None:
        gone = Webhook.objects.create(name="gone")
        note(diary, gone)
        note(diary, webhook)
        gone.delete()

        ticks.pass_one()

        wait_until(lambda: Rejection.objects.exists())
        assert [rejection.webhook for rejection in Rejection.objects.all()] == [webhook]
        assert "could not be written" not in caplog.text

    def test_the_end_of_the_process_has_it_write_at_once(self, webhook: Webhook) -> None:
        diary = Diary()
        note(diary, webhook)

        diary.finish()

        assert Rejection.objects.count() == 1


@pytest.mark.django_db
class TestBounds:
    def test_a_flood_of_one_webhook_leaves_room_for_the_others(self, webhook: Webhook, diary: Diary) -> None:
        other = Webhook.objects.create(name="support")
        note(diary, webhook, 10_000, body=b"x" * 60_000)
        note(diary, other)

        flooded = diary._pages["", webhook.pk]
        assert (len(flooded.entries), flooded.dropped.total()) == (MAX_NOTED, 10_000 - MAX_NOTED)
        assert sum(entry.specimen is not None for entry in flooded.entries) == 1
        assert len(diary._pages["", other.pk].entries) == 1

    def test_many_webhooks_share_a_bounded_buffer(self, db: None, diary: Diary) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(30))
        for webhook in webhooks:
            note(diary, webhook, 50)

        entries = [entry for page in diary._pages.values() for entry in page.entries]
        assert len(entries) == MAX_NOTED_IN_ALL
        assert sum(page.dropped.total() for page in diary._pages.values()) == 30 * 50 - MAX_NOTED_IN_ALL
        assert sum(entry.specimen is not None for entry in entries) <= MAX_SPECIMENS

    def test_bodies_are_held_for_a_few_webhooks_only(self, db: None, diary: Diary) -> None:
        for webhook in Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(30)):
            note(diary, webhook)

        held = [page.entries[0].specimen is not None for page in diary._pages.values()]
        assert (len(held), sum(held)) == (30, MAX_SPECIMENS)

    def test_what_could_only_be_counted_of_a_webhook_waits_for_its_next_row(self, db: None, diary: Diary) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(11))
        for webhook in webhooks:
            note(diary, webhook, MAX_NOTED)
        diary.flush()
        assert not webhooks[-1].rejections.exists()

        note(diary, webhooks[-1])
        diary.flush()

        assert json.loads(webhooks[-1].rejections.get().hint)["dropped"] == MAX_NOTED

    def test_once_written_nothing_is_held(self, webhook: Webhook, diary: Diary) -> None:
        note(diary, webhook, 50)
        diary.flush()

        assert (diary._pages, diary._noted.total(), diary._specimens) == ({}, 0, 0)


@pytest.mark.django_db
class TestEachReason:
    """No reason washes out another: an uptime monitor's GETs leave the wrong signatures to be seen."""

    def test_five_wrong_signatures_are_still_there_after_280_gets(self, sender: Sender) -> None:
        for _ in range(5):
            sender.post(envelope(), secret="whsec_wrong")
        for number in range(280):
            sender.client.get(sender.webhook.get_absolute_url())
            if number % 7 == 0:
                module.book.flush()
        module.book.flush()

        kept = Counter(sender.webhook.rejections.values_list("reason", flat=True))
        assert kept == {"no_match": 5, "not_post": MAX_REJECTIONS_KEPT}

    def test_each_reason_of_each_webhook_keeps_its_newest(self, webhook: Webhook, diary: Diary) -> None:
        other = Webhook.objects.create(name="support")
        for reason in (NO_MATCH, inbox.Refusal.TOO_LARGE):
            for _ in range(13):
                note(diary, webhook, 50, reason=reason)
                note(diary, other, 3, reason=reason)
                diary.flush()

        kept = Counter(Rejection.objects.values_list("webhook", "reason"))
        assert kept == {
            (webhook.pk, "no_match"): MAX_REJECTIONS_KEPT,
            (webhook.pk, "too_large"): MAX_REJECTIONS_KEPT,
            (other.pk, "no_match"): 39,
            (other.pk, "too_large"): 39,
        }

    def test_in_memory_each_reason_has_a_share_of_its_own(self, db: None, diary: Diary) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(20))
        for webhook in webhooks:
            note(diary, webhook, 500, reason=inbox.Refusal.NOT_POST, body=None)
        for webhook in webhooks[:3]:
            note(diary, webhook, 5)
        diary.flush()

        assert Rejection.objects.filter(reason="not_post").count() == MAX_NOTED_IN_ALL
        assert Rejection.objects.filter(reason="no_match").count() == 15

    def test_each_reason_is_looked_into(self, webhook: Webhook, diary: Diary) -> None:
        note(diary, webhook, 30, reason=Bad.MISSING)
        note(diary, webhook, 30)
        diary.flush()

        found = {
            reason: json.loads(hint)["code"]
            for reason, hint in webhook.rejections.values_list("reason", "hint")
            if hint and "code" in json.loads(hint)
        }
        assert found == {"missing": "missing_header", "no_match": "unknown_secret"}

    def test_what_was_only_counted_is_told_by_a_row_of_the_same_reason(self, db: None, diary: Diary) -> None:
        webhooks = Webhook.objects.bulk_create(Webhook(name=str(number)) for number in range(11))
        for webhook in webhooks:
            note(diary, webhook, MAX_NOTED)
        last = webhooks[-1]
        note(diary, last, MAX_NOTED + 3, reason=inbox.Refusal.NOT_POST)
        diary.flush()
        note(diary, last)
        diary.flush()

        told = [
            (reason, json.loads(hint).get("dropped")) for reason, hint in last.rejections.values_list("reason", "hint")
        ]
        assert [each for each in told if each[1]] == [("no_match", MAX_NOTED), ("not_post", 3)]

    def test_a_page_that_could_not_be_written_is_counted_by_reason(self, webhook: Webhook, diary: Diary) -> None:
        note(diary, webhook, 25)
        note(diary, webhook, 2, reason=inbox.Refusal.NOT_POST)
        diary._count(diary._take())

        assert diary._pages["", webhook.pk].dropped == {NO_MATCH: 25, inbox.Refusal.NOT_POST: 2}

    def test_a_flood_of_long_names_of_headers_holds_little(self, webhook: Webhook, diary: Diary) -> None:
        known = cache.get(webhook.pk)
        assert known is not None
        for number in range(2_000):
            meta = {f"HTTP_{'A' * 60_000}_{number}_{header}": "x" for header in range(3)}
            diary.note(known, Bad.MISSING, meta=meta, remote_addr=None, body=None)

        names = {name for entry in diary._pages["", webhook.pk].entries for name in entry.header_names}
        assert sum(map(len, names)) <= MAX_NAME_CHARS * 3
        assert _name_of.cache_info().currsize <= 256


SCRIPT = """
import os, sys, django
django.setup()
from django.db import connection
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.inbox.diary import book as diary
from nateq_webhooks.inbox.reasons import NO_MATCH
from nateq_webhooks.models import Rejection, Webhook
from tests.conftest import wait_until

def note(address):
    webhook = cache.get(Webhook.objects.get().pk)
    diary.note(webhook, NO_MATCH, meta={}, remote_addr=address, body=b"")

def noted():
    return sorted(Rejection.objects.values_list("remote_addr", flat=True))
"""

FORK = """
note("parent")
lock = diary._lock
lock.acquire()  # as another thread of the parent might hold it
connection.close()
child = os.fork()
if child == 0:
    note("child")
    wait_until(lambda: "child" in noted())
    os._exit(0)
lock.release()
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
wait_until(lambda: "parent" in noted())
print(noted(), flush=True)
"""

EXIT = """
note("the last one")
"""

MEMORY = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
Webhook.objects.create(name="shop")
note("in memory")
assert diary._thread is None
diary.flush()
print(noted())
"""


@pytest.mark.django_db(transaction=True)
class TestProcesses:
    def test_a_forked_process_has_a_diary_of_its_own_and_writes_nothing_of_its_parents(self, webhook: Webhook) -> None:
        assert "['child', 'parent']" in run("-W", "ignore", "-c", SCRIPT + FORK)

    def test_what_was_noted_last_is_written_when_the_process_ends(self, webhook: Webhook) -> None:
        run("-c", SCRIPT + EXIT)

        assert Rejection.objects.get().remote_addr == "the last one"

    def test_in_sqlites_memory_which_no_other_thread_sees_it_is_written_when_asked(self) -> None:
        environment = {"DATABASE_URL": "sqlite://:memory:", "DJANGO_SETTINGS_MODULE": "tests.settings"}

        assert "['in memory']" in run("-c", SCRIPT + MEMORY, **environment)

    def test_gunicorns_workers_write_their_own_with_the_application_preloaded(self, webhook: Webhook) -> None:
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
