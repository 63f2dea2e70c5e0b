"""`manage.py nateq_worker`, for real: in processes of its own, stopped, killed, and with its database gone."""

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.claim import can_skip_locked
from nateq_webhooks.errors import RetryLater
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.runners.worker import MAX_BATCH, Batch, Worker
from tests.commands import output
from tests.conftest import Sender, envelope, wait_until
from tests.dispatch.proxy import Wire, address
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    kill_connection,
    lapse_leases,
    names_written,
    write,
    written,
)
from tests.runners.processes import process, run, worker
from tests.server import database_url

pytestmark = pytest.mark.django_db(transaction=True)

Finalized = Callable[[], bool]

NEEDS_A_SERVER = "SQLite has no connection that could be lost"


def once(**options: Any) -> str:
    """Run `nateq_worker --once` in this process; return what it says."""
    return output("nateq_worker", "--once", **options)


class TestOnce:
    def test_it_runs_everything_that_is_due_and_ends(self, deliver: Deliver, at_the_site: None) -> None:
        for _ in range(30):
            deliver()

        said = run("-m", "django", "nateq_worker", "--once")

        assert said.strip() == "30 runs were due."
        assert written() == 30
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 30}
        assert Counter(Delivery.objects.values_list("status", "dispatch_at")) == {("processed", None): 30}

    def test_with_a_concurrency_it_runs_side_by_side_and_everything_once(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        together = threading.Barrier(2 if can_skip_locked(ALIAS) else 1)
        seen: list[tuple[str, int]] = []

        def meets(*, delivery: Delivery, **kwargs: Any) -> None:
            if delivery.delivery_id in ("dlv_1", "dlv_2"):
                together.wait(BOUND_SECONDS)
            seen.append((delivery.delivery_id, threading.get_ident()))

        connect(signals.ticket_created, meets, "test.meets", atomic=False)
        for _ in range(10):
            deliver()

        assert once(concurrency=2) == "10 runs were due.\n"
        assert Counter(delivery_id for delivery_id, _thread in seen) == {f"dlv_{n}": 1 for n in range(1, 11)}
        assert threading.get_ident() not in {thread for _id, thread in seen}
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}

    def test_it_says_when_nothing_was_due(self) -> None:
        assert once() == "0 runs were due.\n"

    def test_a_failed_run_waits_for_its_time(self, deliver: Deliver, connect: Connect) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, fails)
        deliver()

        assert once() == "1 run was due.\n"
        assert once() == "0 runs were due.\n"
        assert Run.objects.get().tries == 1

    @pytest.mark.parametrize("rates", [{}, {"test.asks": 50.0}], ids=["free", "limited"])
    @pytest.mark.parametrize("concurrency", [1, 2])
    def test_it_starts_no_run_twice_whatever_that_asks_for(
        self,
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        rates: dict[str, float],
        concurrency: int,
    ) -> None:
        configure(RATE_LIMITS=rates)
        pause = threading.Event()

        def asks(**kwargs: Any) -> None:
            raise RetryLater(0.001)

        connect(signals.ticket_created, asks, "test.asks")
        connect(signals.ticket_closed, lambda **kwargs: pause.wait(0.8), "test.lasts", atomic=False)
        deliver("ticket.created")
        for _ in range(3):
            deliver("ticket.closed")

        assert once(concurrency=concurrency) == "4 runs were due.\n"

        run = Run.objects.get(receiver="test.asks")
        assert (run.status, run.tries) == ("failed", 1)
        assert once().startswith("1 run")

    def test_it_starts_runs_whose_receiver_is_back(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.back")
        delivery = deliver()
        Delivery.objects.update(dispatch_at=None)
        Run.objects.create(delivery=delivery, receiver="test.back", next_try_at=PARKED_UNTIL)

        assert once() == "1 run was due.\n"

        assert written("mine") == 1

    def test_it_shows_each_run_when_asked_to_and_nothing_when_asked_to_be_quiet(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, lambda **kwargs: None, "test.works")
        connect(signals.ticket_created, fails, "test.fails")
        deliver()

        works, breaks, total = once(verbosity=2).splitlines()
        assert works.split()[1:] == ["succeeded", "test.works", "ticket.created", "dlv_1"]
        assert breaks.split()[1:] == ["failed", "test.fails", "ticket.created", "dlv_1"]
        assert total == "2 runs were due."
        deliver()
        assert once(verbosity=0) == ""
        assert Run.objects.filter(receiver="test.works").count() == 2

    def test_what_a_sender_wrote_does_not_steer_the_terminal(self, sender: Sender, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.works")
        sender.post(envelope(delivery_id="\x1b[2J\né"))

        line, _total = once(verbosity=2).splitlines()

        assert line.endswith(r"ticket.created \x1b[2J\n\xe9")


@pytest.mark.parametrize("value", ["0", "-1", "65"])
def test_a_concurrency_that_makes_no_sense_is_refused(value: str) -> None:
    with pytest.raises(CommandError, match=f"--concurrency is {value}; use 1 to 64."):
        call_command("nateq_worker", "--concurrency", value)


class TestRunning:
    def test_it_starts_a_new_delivery_soon(self, deliver: Deliver, at_the_site: None, finalized: Finalized) -> None:
        with worker() as running:
            for _ in range(3):
                deliver()
                wait_until(finalized)

            assert running.popen.poll() is None
        waits = [
            run.started_at - run.delivery.received_at
            for run in Run.objects.select_related("delivery")
            if run.started_at is not None
        ]
        assert len(waits) == 3
        assert min(waits) < timedelta(seconds=1)  # one may be held up by a busy machine
        assert written() == 3

    def test_it_starts_a_run_that_is_to_be_tried_now(
        self, deliver: Deliver, at_the_site: None, finalized: Finalized
    ) -> None:
        deliver()
        with worker():
            wait_until(finalized)
            later = timezone.now() + timedelta(hours=1)
            Run.objects.update(status="failed", next_try_at=later)
            Delivery.objects.update(status="failed")

            made = dispatch.try_now(Delivery.objects.all())
            wait_until(finalized)

        assert made.brought_forward == 1
        assert (Delivery.objects.get().status, Run.objects.get().tries) == ("processed", 2)
        assert written() == 2

    def test_many_threads_work_at_the_same_time(
        self, deliver: Deliver, at_the_site: None, finalized: Finalized, tmp_path: Path
    ) -> None:
        for _ in range(3):
            deliver("ticket.closed", data={"folder": str(tmp_path), "together": 3})

        with worker("--concurrency", "3"):
            wait_until(finalized, seconds=BOUND_SECONDS)

        assert len({file.name.partition(".")[0] for file in tmp_path.iterdir()}) == 1
        assert len(list(tmp_path.iterdir())) == 3
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}

    def test_many_processes_share_the_work_and_each_run_is_executed_once(
        self, deliver: Deliver, at_the_site: None, finalized: Finalized, tmp_path: Path
    ) -> None:
        with worker() as first, worker() as second:
            for _ in range(2):
                deliver("ticket.closed", data={"folder": str(tmp_path), "together": 2})
            for _ in range(60):
                deliver()
            wait_until(finalized, seconds=BOUND_SECONDS)

        assert {int(file.name.partition(".")[0]) for file in tmp_path.iterdir()} == {first.popen.pid, second.popen.pid}
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 62}
        assert sorted(names_written()) == sorted(
            f"{delivery.delivery_id} write_once" for delivery in Delivery.objects.filter(event="ticket.created")
        )


class TestStopped:
    def test_it_finishes_the_run_at_hand_and_gives_back_the_rest(
        self, deliver: Deliver, at_the_site: None, tmp_path: Path
    ) -> None:
        deliver("ticket.updated", data={"folder": str(tmp_path)})
        with worker() as stopped:
            wait_until((tmp_path / "began").exists)

            stopped.popen.terminate()
            with pytest.raises(AssertionError, match="not true after"):
                wait_until(lambda: stopped.popen.poll() is not None, seconds=0.7)
            (tmp_path / "go on").touch()
            assert stopped.wait_until_it_ends() == 0

            assert "Stopped. Runs that were not started were given back." in stopped.output
        assert list(Run.objects.values_list("receiver", "status", "tries", "lease")) == [
            ("tests.runners.site.receivers.wait", "succeeded", 1, None),
            ("tests.runners.site.receivers.come_after", "waiting", 0, None),
        ]
        assert names_written() == ["dlv_1 wait"]
        run("-m", "django", "nateq_worker", "--once")
        assert names_written() == ["dlv_1 come_after", "dlv_1 wait"]
        assert Delivery.objects.get().status == "processed"

    def test_it_ends_soon_on_ctrl_c_when_it_has_nothing_to_do(self) -> None:
        with worker() as stopped:
            asked = timezone.now()
            stopped.popen.send_signal(signal.SIGINT)

            assert stopped.wait_until_it_ends() == 0
        assert timezone.now() - asked < timedelta(seconds=BOUND_SECONDS)

    def test_killed_in_the_middle_leaves_nothing_and_another_takes_over_after_the_lease(
        self, deliver: Deliver, at_the_site: None, tmp_path: Path
    ) -> None:
        deliver("ticket.updated", data={"folder": str(tmp_path)})
        with worker() as killed:
            wait_until((tmp_path / "began").exists)
            killed.popen.kill()
            killed.wait_until_it_ends()
        (tmp_path / "go on").touch()
        assert names_written() == []
        assert set(Run.objects.values_list("status", flat=True)) == {"running"}
        assert lapse_leases() == 2

        run("-m", "django", "nateq_worker", "--once")

        assert names_written() == ["dlv_1 come_after", "dlv_1 wait"]
        assert list(Run.objects.values_list("receiver", "status", "tries")) == [
            ("tests.runners.site.receivers.wait", "succeeded", 2),
            ("tests.runners.site.receivers.come_after", "succeeded", 1),  # it had not been started
        ]
        assert Delivery.objects.get().status == "processed"

    @pytest.mark.parametrize("max_tries", [1, 3])
    def test_by_a_receiver_it_costs_that_one_its_tries_and_the_nine_others_none(
        self, deliver: Deliver, at_the_site: None, max_tries: int
    ) -> None:
        deliver("broadcast.sent")
        for _ in range(max_tries):
            with process("-m", "django", "nateq_worker", NATEQ_MAX_TRIES=str(max_tries)) as killed:
                assert killed.popen.wait(BOUND_SECONDS) == -signal.SIGKILL
            assert lapse_leases() > 0

        run("-m", "django", "nateq_worker", "--once", NATEQ_MAX_TRIES=str(max_tries))

        died, *others = Run.objects.order_by("pk")
        assert (died.receiver, died.status, died.tries) == ("tests.runners.site.receivers.die", "dead", max_tries)
        assert died.error == "The worker died, or the receiver hung, on the last try."
        assert [(run.status, run.tries) for run in others] == [("succeeded", 1)] * 9
        assert names_written() == [f"dlv_1 innocent {number}" for number in range(9)]
        assert Delivery.objects.get().status == "dead"


@pytest.mark.services
class TestTheDatabaseGoesAway:
    @pytest.fixture(autouse=True)
    def _a_server(self) -> None:
        if connection.vendor == "sqlite":
            pytest.skip(NEEDS_A_SERVER)

    def test_a_killed_connection_is_reopened(self, deliver: Deliver, at_the_site: None, finalized: Finalized) -> None:
        with worker(DATABASE_URL=f"{database_url()}?conn_max_age=60") as running:
            deliver()
            wait_until(finalized)
            assert kill_all_others() > 0
            deliver()
            wait_until(finalized)

            assert running.popen.poll() is None
        assert written() == 2
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}

    def test_a_connection_killed_in_the_middle_of_a_receiver_costs_that_try_and_no_more(
        self, deliver: Deliver, at_the_site: None, finalized: Finalized, tmp_path: Path
    ) -> None:
        deliver("ticket.updated", data={"folder": str(tmp_path)})
        with worker() as running:
            wait_until((tmp_path / "began").exists)
            kill_all_others()
            (tmp_path / "go on").touch()
            wait_until(lambda: names_written() == ["dlv_1 come_after"])
            wait_until(lambda: Run.objects.filter(status="failed").exists())
            Run.objects.filter(status="failed").update(next_try_at=timezone.now())
            wait_until(finalized)

            assert running.popen.poll() is None
        assert names_written() == ["dlv_1 come_after", "dlv_1 wait"]

    def test_it_waits_while_the_database_is_away_and_goes_on_when_it_is_back(
        self, deliver: Deliver, at_the_site: None, finalized: Finalized
    ) -> None:
        wire = Wire(address())
        with worker(DATABASE_URL=through(wire)) as running:
            deliver()
            wait_until(finalized)

            wire.down()
            running.wait_until_it_says("The database failed: OperationalError. The worker tries again in")
            deliver()
            wire.up()
            wait_until(finalized)

            running.wait_until_it_says("The database works again.")
            assert running.popen.poll() is None
        wire.down()
        assert written() == 2


def through(wire: Wire) -> str:
    """Return the URL of the test's database at the other end of a wire."""
    settings = connection.settings_dict
    scheme = {"postgresql": "postgres", "mysql": "mysql"}[connection.vendor]
    options = "?sslmode=disable" if connection.vendor == "postgresql" else ""
    return f"{scheme}://{settings['USER']}:{settings['PASSWORD']}@127.0.0.1:{wire.port}/{settings['NAME']}{options}"


def kill_all_others() -> int:
    """Have the server close every other connection to the test's database; return how many there were."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        else:
            cursor.execute(
                "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()"
            )
        others = [row[0] for row in cursor.fetchall()]
    for other in others:
        kill_connection(other)
    return len(others)


@contextmanager
def working(concurrency: int = 1, watch: api.Watch | None = None) -> Iterator[Worker]:
    """Run a worker in threads of this process."""
    worker = Worker(concurrency, watch)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield worker
    finally:
        worker.stop()
        thread.join(BOUND_SECONDS)
    assert not thread.is_alive()


class TestThreads:
    def test_one_whose_receiver_hangs_is_replaced(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(RUN_LEASE=timedelta(seconds=1), RUN_TIMEOUT=timedelta(seconds=1))
        go_on = threading.Event()
        threads: list[str] = []

        def hangs_at_first(*, run: Run, **kwargs: Any) -> None:
            threads.append(threading.current_thread().name)
            if run.tries == 1:
                assert go_on.wait(BOUND_SECONDS)

        connect(signals.ticket_created, hangs_at_first, atomic=False)  # so that SQLite's write lock is free
        deliver()

        with working():
            wait_until(lambda: Delivery.objects.get().status == "processed", seconds=BOUND_SECONDS)
            go_on.set()
            wait_until(lambda: len([t for t in threading.enumerate() if t.name == threads[0]]) <= 1)

        assert len(threads) == 2
        assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)

    def test_one_that_dies_is_replaced(
        self, deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Death(BaseException):
            """Nothing that anybody catches."""

        died: list[object] = []
        monkeypatch.setattr(threading, "excepthook", lambda info: died.append(info.exc_type))

        def dies(run: Run, outcome: object) -> None:
            if run.receiver == "test.first":
                raise Death

        connect(signals.ticket_created, lambda **kwargs: None, "test.first")
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.second")

        with working(watch=dies):
            deliver()
            wait_until(lambda: died == [Death])
            wait_until(lambda: written("mine") == 1)  # it was given back

        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}

    def test_one_whose_receiver_raises_what_is_no_exception_goes_on(self, deliver: Deliver, connect: Connect) -> None:
        class Panic(BaseException):
            """What an extension in Rust raises."""

        threads: set[str] = set()

        def panics(**kwargs: Any) -> None:
            threads.add(threading.current_thread().name)
            raise Panic("index out of bounds")

        def writes(**kwargs: Any) -> None:
            threads.add(threading.current_thread().name)
            write("mine")

        connect(signals.ticket_created, panics, "test.panics")
        connect(signals.ticket_created, writes, "test.writes")

        with working():
            deliver()
            wait_until(lambda: written("mine") == 1)

        assert len(threads) == 1
        assert Run.objects.get(receiver="test.panics").error.endswith("Panic: index out of bounds")


class TestBatch:
    def test_it_begins_with_one_and_grows_to_a_seconds_worth_of_quick_receivers(self) -> None:
        batch = Batch()
        assert batch.size == 1

        for _ in range(20):
            batch.record(0.01 * batch.size, batch.size)

        assert batch.size == MAX_BATCH

    def test_slow_receivers_are_claimed_one_by_one(self) -> None:
        batch = Batch()
        for _ in range(20):
            batch.record(0.01 * batch.size, batch.size)

        for _ in range(5):
            batch.record(30 * batch.size, batch.size)

        assert batch.size == 1

    def test_having_found_nothing_teaches_nothing(self) -> None:
        batch = Batch()

        batch.record(100, 0)

        assert batch.size == 1
