"""As tasks of Celery: eager, with a real worker on Redis and on RabbitMQ, and with brokers in trouble."""

import functools
import json
import os
import socket
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import reverse

from nateq_webhooks import dispatch, signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.runners import celery as runner
from nateq_webhooks.runners import notifier
from tests.api.conftest import API, Program, issue
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import Configure, Connect, Deliver, fails_once, names_written, write, written
from tests.runners.processes import process, site
from tests.server import post
from tests.waiting import free_port, is_listening

if "CI" not in os.environ:
    pytest.importorskip("celery")
from celery import Celery, _state

pytestmark = pytest.mark.django_db(transaction=True)

MakeApp = Callable[[str], Celery]

BROKERS = {"redis": "redis://127.0.0.1:6379/5", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}


@pytest.fixture(autouse=True)
def _celery(configure: Configure) -> None:
    configure(DISPATCH="celery")


@pytest.fixture
def make_app(monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeApp]:
    """Make a Celery app on a broker the current one of this process, as the site's `celery.py` does."""
    apps: list[Celery] = []

    def make(broker: str) -> Celery:
        app = Celery("site", broker=broker, set_as_current=False)
        monkeypatch.setattr(_state, "default_app", app)  # of every thread
        monkeypatch.setattr(_state._tls, "current_app", app)
        app.conf.task_default_queue = f"nateq_test_{uuid.uuid4().hex}"
        monkeypatch.setattr(runner, "_notifier", functools.cache(runner._notifier.__wrapped__))
        apps.append(app)
        return app

    yield make
    for app in apps:
        app.close()


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """The URL of a broker that listens on this machine."""
    url = BROKERS[request.param]
    port = int(url.rpartition(":")[2].partition("/")[0])
    if not is_listening(port):
        assert "CI" not in os.environ, f"{request.param} does not listen on port {port}"
        pytest.skip(f"{request.param} does not listen on port {port}")
    return url


@pytest.fixture
def app(broker: str, make_app: MakeApp) -> Iterator[Celery]:
    """The site's app on that broker, with a queue of its own."""
    app = make_app(broker)
    yield app
    with app.connection_for_write() as connection:
        connection.default_channel.queue_delete(app.conf.task_default_queue)


def messages(app: Celery) -> list[tuple[str, Any]]:
    """Take what is in the app's queue: the names of the tasks, and their arguments."""
    taken: list[tuple[str, Any]] = []
    with app.connection_for_read() as connection, connection.SimpleQueue(app.conf.task_default_queue) as queue:
        while True:
            try:
                message = queue.get(timeout=2 if not taken else 0.2)
            except queue.Empty:
                return taken
            args, kwargs, _options = message.payload
            taken.append((message.headers["task"], (args, kwargs)))
            message.ack()


class TestEager:
    def test_receivers_have_run_before_the_answer_is_sent(
        self, sender: Sender, connect: Connect, make_app: MakeApp
    ) -> None:
        import nateq_webhooks.tasks  # noqa: F401 - as Celery's autodiscovery does

        make_app("memory://").conf.task_always_eager = True
        connect(signals.ticket_created, lambda **kwargs: write("mine"))

        assert sender.post(envelope()).status_code == 200

        assert written("mine") == 1
        assert Delivery.objects.get().status == "processed"

    def test_try_now_in_the_admin_runs_in_the_request(
        self, sender: Sender, connect: Connect, make_app: MakeApp, admin_client: Client
    ) -> None:
        import nateq_webhooks.tasks  # noqa: F401 - as Celery's autodiscovery does

        make_app("memory://").conf.task_always_eager = True
        connect(signals.ticket_created, fails_once)
        sender.post(envelope())
        assert Delivery.objects.get().status == "failed"

        admin_client.post(reverse("admin:nateq_webhooks_delivery_try_now", args=[Delivery.objects.get().pk]))

        assert (Delivery.objects.get().status, Run.objects.get().tries) == ("processed", 2)

    @override_settings(ROOT_URLCONF="tests.api.urls")
    def test_a_replay_through_the_api_is_carried_on_by_whoever_asks_for_its_end(
        self, sender: Sender, connect: Connect, make_app: MakeApp
    ) -> None:
        make_app("memory://").conf.task_always_eager = True
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        for number in range(3):
            sender.post(envelope(delivery_id=f"dlv_{number}"))
        program = Program(issue())

        body = json.dumps({"all": True})
        answer = program.post(
            f"{API}/replays", body, content_type="application/json", headers={"Idempotency-Key": "once"}
        )
        created = answer.json()["data"]
        found = program.data(f"/replays/{created['id']}")

        assert created["needs_worker"] is False
        assert (found["state"], found["succeeded"], found["left"]) == ("done", 3, 0)
        assert written("mine") == 6

    def test_resuming_in_the_admin_runs_what_waits_in_the_request(
        self, sender: Sender, connect: Connect, make_app: MakeApp, admin_client: Client
    ) -> None:
        make_app("memory://").conf.task_always_eager = True
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.mine")
        [hold] = dispatch.pause(receiver="test.mine")
        sender.post(envelope())
        assert written("mine") == 0

        admin_client.post("/admin/nateq_webhooks/run/resume/", {"hold": hold.pk})

        assert written("mine") == 1
        assert Delivery.objects.get().status == "processed"

    def test_a_web_process_need_not_have_imported_the_tasks(self, webhook: Webhook) -> None:
        """Celery's autodiscovery imports them in the worker only."""
        body = json.dumps(envelope()).encode()
        with site(NATEQ_DISPATCH="celery", NATEQ_EAGER="1") as port:
            status, _answer = post(port, webhook.get_absolute_url(), body, {"X-Nateq-Signature": sign(body, SECRET)})

        assert status == 200
        assert written("dlv_1 write_once") == 1
        assert Delivery.objects.get().status == "processed"


@pytest.mark.services
class TestRealBroker:
    def test_a_worker_runs_what_it_is_woken_for_and_what_the_broker_lost(
        self, app: Celery, broker: str, deliver: Deliver, at_the_site: None, configure: Configure
    ) -> None:
        queue = app.conf.task_default_queue
        configure(DISPATCH="worker")
        deliver()  # whose message was lost
        configure(DISPATCH="celery")
        arguments = ["-m", "celery", "-A", "tests.runners.site.celery", "worker", "--pool", "solo", "-l", "info"]
        arguments += ["--without-gossip", "--without-mingle"]
        with process(*arguments, NATEQ_BROKER=broker, NATEQ_QUEUE=queue, NATEQ_DISPATCH="celery") as worker:
            worker.wait_until_it_says("ready.")
            for _ in range(3):
                deliver()
            wait_until(lambda: Delivery.objects.filter(status="processed").count() == 3, seconds=120)
            assert Delivery.objects.earliest("pk").status == "received"

            app.send_task("nateq_webhooks.run_due")
            wait_until(lambda: Delivery.objects.filter(status="processed").count() == 4, seconds=120)

        assert names_written() == [f"dlv_{number} write_once" for number in (1, 2, 3, 4)]
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}

    def test_a_message_carries_only_a_key(self, app: Celery, deliver: Deliver, at_the_site: None) -> None:
        delivery = deliver()

        assert messages(app) == [("nateq_webhooks.run_delivery", ([delivery.pk], {}))]

    def test_neither_a_repeated_attempt_nor_a_delivery_without_receivers_sends_one(
        self, app: Celery, deliver: Deliver, sender: Sender, at_the_site: None
    ) -> None:
        deliver("message.sent")
        first = deliver()
        sender.post(first.body)

        assert messages(app) == [("nateq_webhooks.run_delivery", ([first.pk], {}))]


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("broker", ["redis"], indirect=True)
class TestTimeLimits:
    """A soft time limit of the site's, for all tasks: the receiver that takes too long is the only one it ends."""

    LIMIT = "2"

    @pytest.fixture(params=["settings", "command line"])
    def run_in_worker(self, request: pytest.FixtureRequest, app: Celery, broker: str) -> Callable[..., None]:
        """Send a task to a worker with that limit, and wait for something."""

        def run(condition: Callable[[], bool], task: str, *args: object) -> None:
            arguments = ["-m", "celery", "-A", "tests.runners.site.celery", "worker", "-c", "1", "-l", "info"]
            arguments += ["--without-gossip", "--without-mingle"]
            on = {"NATEQ_BROKER": broker, "NATEQ_QUEUE": app.conf.task_default_queue, "NATEQ_DISPATCH": "celery"}
            if request.param == "settings":
                on["NATEQ_SOFT_LIMIT"] = self.LIMIT
            else:
                arguments += ["--soft-time-limit", self.LIMIT]
            with process(*arguments, **on) as worker:
                worker.wait_until_it_says("ready.")
                app.send_task(task, args=args)
                wait_until(condition, seconds=60)

        return run

    def test_no_run_fails_because_of_those_before_it(
        self, deliver: Deliver, at_the_site: None, configure: Configure, run_in_worker: Callable[..., None]
    ) -> None:
        configure(DISPATCH="worker")
        for _ in range(2):
            deliver("lead.created", data={"seconds": 0.6})

        run_in_worker(lambda: Run.objects.filter(status="succeeded").count() == 6, "nateq_webhooks.run_due")

        assert set(Run.objects.values_list("status", "tries", "error")) == {("succeeded", 1, "")}
        assert len(set(names_written())) == len(names_written()) == 6

    def test_a_receiver_that_takes_too_long_fails_and_the_others_of_its_delivery_run(
        self, deliver: Deliver, at_the_site: None, configure: Configure, run_in_worker: Callable[..., None]
    ) -> None:
        configure(DISPATCH="worker")
        slow = deliver("lead.created", data={"seconds": 5})
        quick = deliver("lead.created", data={"seconds": 0.6})

        def done() -> bool:
            return Run.objects.filter(delivery=slow, status="failed").count() == 3 and (
                Run.objects.filter(delivery=quick, status="succeeded").count() == 3
            )

        run_in_worker(done, "nateq_webhooks.run_delivery", slow.pk)

        assert {
            error.partition(":")[0] for error in Run.objects.filter(delivery=slow).values_list("error", flat=True)
        } == {"SoftTimeLimitExceeded"}
        assert set(Run.objects.values_list("tries", flat=True)) == {1}


@pytest.mark.services
class TestFollowingTasks:
    @pytest.fixture
    def in_a_worker(self, app: Celery) -> Callable[..., int]:
        """Call a task as a worker does that took it from the site's queue."""

        def call(task: Any, *args: object, **request: object) -> int:
            came_by = {"exchange": "", "routing_key": app.conf.task_default_queue}
            task.push_request(is_eager=False, called_directly=False, delivery_info=came_by, **request)
            try:
                return int(task.run(*args))
            finally:
                task.pop_request()

        return call

    @pytest.fixture
    def tasks(self, app: Celery) -> Any:
        """The module of the tasks, in the app's registry."""
        from nateq_webhooks import tasks

        app.finalize()
        return tasks

    def stored(self, deliver: Deliver, connect: Connect, configure: Configure, count: int) -> None:
        configure(DISPATCH="worker")
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        for _ in range(count):
            deliver()

    def test_a_task_ends_after_its_share_and_sends_the_next_until_nothing_is_due(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(tasks, "TASK_RUNS", 2)
        self.stored(deliver, connect, configure, 5)

        began = time.time()
        assert in_a_worker(tasks.run_due) == 2
        ((name, (args, kwargs)),) = messages(app)
        assert (name, args) == ("nateq_webhooks.run_due", [])
        assert began < kwargs["until"] <= time.time() + tasks.CHAIN_SECONDS
        assert in_a_worker(tasks.run_due, kwargs["until"]) == 2
        assert messages(app) == [(name, ([], kwargs))]
        assert in_a_worker(tasks.run_due, kwargs["until"]) == 1

        assert messages(app) == []
        assert written("mine") == 5

    def test_a_task_ends_after_some_seconds(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(tasks, "TASK_SECONDS", 0.3)
        configure(DISPATCH="worker")
        connect(signals.ticket_created, lambda **kwargs: time.sleep(0.2))
        for _ in range(5):
            deliver()

        assert in_a_worker(tasks.run_due) <= 3  # on a slow machine it may have had no time for any
        assert [name for name, _arguments in messages(app)] == ["nateq_webhooks.run_due"]

    def test_the_tasks_that_follow_each_other_end_at_last(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Celery beat starts the next ones; else they would add up while much is due."""
        monkeypatch.setattr(tasks, "TASK_RUNS", 1)
        self.stored(deliver, connect, configure, 3)

        assert in_a_worker(tasks.run_due, time.time() - 1) == 1

        assert messages(app) == []

    @pytest.mark.parametrize("limit", ["message", "task", "settings", "worker"])
    def test_under_a_time_limit_a_task_runs_one_receiver(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
        limit: str,
    ) -> None:
        self.stored(deliver, connect, configure, 2)
        request: dict[str, object] = {}
        if limit == "message":
            request["timelimit"] = [None, 30]
        elif limit == "task":
            monkeypatch.setattr(app.tasks["nateq_webhooks.run_due"], "time_limit", 30)
        elif limit == "settings":
            app.conf.task_soft_time_limit = 30
        else:
            monkeypatch.setitem(tasks._of_worker, "soft_time_limit", 30)

        assert in_a_worker(tasks.run_due, **request) == 1
        assert [name for name, _arguments in messages(app)] == ["nateq_webhooks.run_due"]

    def test_a_delivery_is_run_by_several_tasks_too(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        configure(DISPATCH="worker")
        for name in ("one", "two", "three"):
            connect(signals.ticket_created, lambda name=name, **kwargs: write(name), f"test.{name}")
        delivery = deliver()
        app.conf.task_soft_time_limit = 30

        assert in_a_worker(tasks.run_delivery, delivery.pk) == 1
        assert messages(app)[0][0] == "nateq_webhooks.run_due"
        assert in_a_worker(tasks.run_due) == 1
        assert in_a_worker(tasks.run_due) == 1

        assert names_written() == ["one", "three", "two"]
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}

    def test_a_soft_limit_that_strikes_between_two_runs_fails_none_and_a_further_task_goes_on(
        self,
        app: Celery,
        tasks: Any,
        in_a_worker: Callable[..., int],
        deliver: Deliver,
        connect: Connect,
        configure: Configure,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        self.stored(deliver, connect, configure, 2)

        def struck(*args: object, **options: object) -> int:
            raise tasks.SoftTimeLimitExceeded

        monkeypatch.setattr(tasks, "drain", struck)
        assert in_a_worker(tasks.run_due) == 0

        assert "between two runs" in caplog.text
        assert [name for name, _arguments in messages(app)] == ["nateq_webhooks.run_due"]
        assert not Run.objects.filter(status="failed").exists()

    def test_called_directly_or_eagerly_it_runs_everything(
        self, tasks: Any, deliver: Deliver, connect: Connect, configure: Configure, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "TASK_RUNS", 1)
        self.stored(deliver, connect, configure, 3)
        assert tasks.run_due() == 3
        for _ in range(3):
            deliver()
        assert tasks.run_due.apply().get() == 3


@pytest.mark.services
class TestQueue:
    def test_messages_go_to_the_queue_of_the_settings(
        self, app: Celery, deliver: Deliver, at_the_site: None, configure: Configure
    ) -> None:
        queue = app.conf.task_default_queue
        app.conf.task_default_queue = "nateq_test_nobody"
        configure(TASK_QUEUE=queue)
        delivery = deliver()
        app.conf.task_default_queue = queue

        assert messages(app) == [("nateq_webhooks.run_delivery", ([delivery.pk], {}))]


class TestChecks:
    def found(self) -> list[str]:
        from django.core.checks import run_checks

        return [f"{one.id} {one.msg}" for one in run_checks() if "nateq" in str(one.id)]

    def test_a_process_without_an_app_is_warned_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_state, "default_app", None)
        monkeypatch.setattr(_state._tls, "current_app", None)

        (said,) = self.found()

        assert said.startswith("nateq_webhooks.W052 ")
        assert "amqp://guest:**@localhost:5672//" in said

    def test_an_app_that_only_the_main_thread_knows_is_warned_of(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As when it was made before DJANGO_SETTINGS_MODULE was set: a server's threads don't see it."""
        monkeypatch.setattr(_state._tls, "current_app", Celery("site", broker="memory://", set_as_current=False))
        monkeypatch.setattr(_state, "default_app", None)

        (said,) = self.found()

        assert said.startswith("nateq_webhooks.W052 ")

    def test_an_app_of_the_sites_own_is_not(self, make_app: MakeApp) -> None:
        make_app("memory://")

        assert self.found() == []

    def test_tasks_that_run_in_the_request_are_warned_of(self, make_app: MakeApp) -> None:
        make_app("memory://").conf.task_always_eager = True

        (said,) = self.found()

        assert said.startswith("nateq_webhooks.W053 ")
        assert "task_always_eager" in said


class TestBrokerInTrouble:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(notifier, "FIRST_SEND_TIMEOUT_SECONDS", notifier.SEND_TIMEOUT_SECONDS)

    @pytest.fixture
    def closed_port(self) -> int:
        return free_port()

    @pytest.fixture
    def silent_port(self) -> Iterator[int]:
        """A port that accepts connections, and never answers."""
        with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
            yield listener.getsockname()[1]

    def answered_and_run_later(self, sender: Sender, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
        """Post until the trouble has been noticed; the answers are quick, every delivery is stored and run later."""
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        waits: list[float] = []

        def post_one() -> bool:
            began = time.monotonic()
            assert sender.post(envelope(delivery_id=f"dlv_{len(waits)}")).status_code == 200
            waits.append(time.monotonic() - began)
            return "The broker can't be notified of new deliveries" in caplog.text

        wait_until(post_one, seconds=60)
        for _ in range(5):
            post_one()

        assert statistics.median(waits) < notifier.SEND_TIMEOUT_SECONDS  # one may be held up by a busy machine
        assert caplog.text.count("The broker can't be notified of new deliveries") == 1
        assert set(Delivery.objects.values_list("status", flat=True)) == {"received"}
        call_command("nateq_worker", "--once", verbosity=0)
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
        assert written("mine") == Delivery.objects.count() == len(waits)

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_one_that_refuses_never_keeps_the_sender_waiting(
        self,
        sender: Sender,
        connect: Connect,
        make_app: MakeApp,
        closed_port: int,
        scheme: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        make_app(f"{scheme}://127.0.0.1:{closed_port}//")

        self.answered_and_run_later(sender, connect, caplog)

    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_one_that_accepts_and_stays_silent_never_keeps_the_sender_waiting(
        self,
        sender: Sender,
        connect: Connect,
        make_app: MakeApp,
        silent_port: int,
        scheme: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        make_app(f"{scheme}://127.0.0.1:{silent_port}//")

        self.answered_and_run_later(sender, connect, caplog)
