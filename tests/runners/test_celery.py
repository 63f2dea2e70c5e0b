"""As tasks of Celery: eager, with a real worker on Redis and on RabbitMQ, and with brokers in trouble."""

import functools
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import call_command

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from nateq_webhooks.runners import celery as runner
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import Configure, Connect, Deliver, names_written, write, written
from tests.runners.processes import is_listening, process, site
from tests.server import post

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
        monkeypatch.setattr(runner, "_waker", functools.cache(runner._waker.__wrapped__))
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
            wait_until(lambda: Delivery.objects.filter(status="processed").count() == 3, seconds=20)
            assert Delivery.objects.earliest("pk").status == "received"

            app.send_task("nateq_webhooks.run_due")
            wait_until(lambda: Delivery.objects.filter(status="processed").count() == 4, seconds=20)

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


class TestBrokerInTrouble:
    @pytest.fixture
    def closed_port(self) -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
            return port

    @pytest.fixture
    def silent_port(self) -> Iterator[int]:
        """A port that accepts connections, and never answers."""
        with socket.create_server(("127.0.0.1", 0), backlog=50) as listener:
            yield listener.getsockname()[1]

    def answered_and_run_later(self, sender: Sender, connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
        """Post until the trouble has been noticed; every answer is quick, every delivery is stored and run later."""
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        slowest, count = 0.0, 0

        def post_one() -> bool:
            nonlocal slowest, count
            count += 1
            began = time.monotonic()
            assert sender.post(envelope(delivery_id=f"dlv_{count}")).status_code == 200
            slowest = max(slowest, time.monotonic() - began)
            return "The broker can't be told of new deliveries" in caplog.text

        wait_until(post_one, seconds=15)
        for _ in range(5):
            post_one()

        assert slowest < 0.5
        assert caplog.text.count("The broker can't be told of new deliveries") == 1
        assert set(Delivery.objects.values_list("status", flat=True)) == {"received"}
        call_command("nateq_worker", "--once", verbosity=0)
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
        assert written("mine") == Delivery.objects.count() == count

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
