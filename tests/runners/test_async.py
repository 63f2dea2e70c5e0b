"""An asynchronous client at the top of a module, in each way to run receivers, and under each kind of server."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import django
import pytest
from django.db import connection

from nateq_webhooks import signals
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, envelope, wait_until
from tests.dispatch.scene import BOUND_SECONDS, Connect, Deliver, names_written
from tests.runners.processes import SERVERS, process, run, site, worker
from tests.server import post
from tests.waiting import is_listening

pytest.importorskip("httpx")

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = 12
EVENT = "message.received"


@pytest.fixture
def deliver_all(deliver: Deliver, connect: Connect, service: str) -> Callable[[], None]:
    """Store deliveries for the site's receiver that calls the service, as the site would."""

    def store() -> None:
        connect(
            signals.message_received,
            lambda **kwargs: pytest.fail("run in the test's process"),
            "tests.runners.site.async_receivers.call_out",
        )
        for _ in range(COUNT):
            deliver(EVENT, data={"url": service})

    return store


@pytest.fixture
def post_all(webhook: Webhook, service: str) -> Callable[[int], list[int]]:
    """Send deliveries to a server, several at once; return the answers' statuses."""

    def post_one(port: int, number: int) -> int:
        body = json.dumps(envelope(EVENT, delivery_id=f"dlv_{number}", data={"url": service})).encode()
        return post(port, webhook.get_absolute_url(), body, {"X-Nateq-Signature": sign(body, SECRET)})[0]

    def post_them(port: int) -> list[int]:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(lambda number: post_one(port, number), range(COUNT)))

    return post_them


def each_ran_once() -> None:
    """Assert that each run has succeeded in its first try, and that its receiver has called the service and written."""
    runs = list(Run.objects.values_list("status", "tries", "error"))
    assert set(runs) == {("succeeded", 1, "")}
    assert len(runs) == COUNT
    assert names_written() == sorted(f"{delivery_id} call_out" for delivery_id in delivery_ids())


def delivery_ids() -> list[str]:
    return list(Run.objects.values_list("delivery__delivery_id", flat=True))


def all_ended() -> bool:
    return Run.objects.filter(status="succeeded").count() == COUNT


@pytest.mark.parametrize("options", [[], ["--concurrency", "4"]], ids=["alone", "many threads"])
def test_in_the_worker(deliver_all: Callable[[], None], options: list[str]) -> None:
    deliver_all()

    with worker(*options):
        wait_until(all_ended, seconds=BOUND_SECONDS)

    each_ran_once()


@pytest.mark.parametrize("options", [[], ["--concurrency", "4"]], ids=["alone", "many threads"])
def test_with_once(deliver_all: Callable[[], None], options: list[str]) -> None:
    deliver_all()

    run("-m", "django", "nateq_worker", "--once", *options)

    each_ran_once()


def with_gevent() -> dict[str, str]:
    """Return what is to be set for the site under gevent.

    A driver that waits in C stops every greenlet, the one with the transaction that is waited for, too.
    """
    pytest.importorskip("gevent")
    return {} if connection.vendor == "postgresql" else {"NATEQ_NOT_ATOMIC": "1"}


@pytest.mark.parametrize("server", SERVERS)
def test_in_the_request(post_all: Callable[[int], list[int]], server: str) -> None:
    on = with_gevent() if server == "gevent" else {}
    with site(server, NATEQ_DISPATCH="inline", **on) as port:
        assert post_all(port) == [200] * COUNT

    each_ran_once()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["django.tasks", "database"])
def test_as_tasks(post_all: Callable[[int], list[int]], backend: str) -> None:
    if backend == "database":
        pytest.importorskip("django_tasks_db")
    elif django.VERSION < (6,):
        pytest.importorskip("django_tasks")
    on = {"NATEQ_DISPATCH": "tasks"} | ({"NATEQ_TASKS": "1"} if backend == "database" else {})
    if backend == "database":
        run("-m", "django", "migrate", "--verbosity", "0", **on)
    with site(**on) as port:
        assert post_all(port) == [200] * COUNT
        if backend == "database":
            with process("-m", "django", "db_worker", "--no-startup-delay", **on):
                wait_until(all_ended, seconds=BOUND_SECONDS)

    each_ran_once()


@pytest.mark.slow
@pytest.mark.services
@pytest.mark.parametrize("pool", ["solo", "prefork", "threads", "gevent"])
def test_in_celery(deliver_all: Callable[[], None], pool: str) -> None:
    pytest.importorskip("celery")
    if not is_listening(6379):
        pytest.skip("Redis does not listen on port 6379")
    deliver_all()
    on = {"NATEQ_BROKER": "redis://127.0.0.1:6379/5", "NATEQ_QUEUE": f"nateq_async_{pool}", "NATEQ_DISPATCH": "celery"}
    on |= with_gevent() if pool == "gevent" else {}
    arguments = ["-m", "celery", "-A", "tests.runners.site.celery", "worker", "--pool", pool, "-c", "4", "-l", "info"]
    with process(*arguments, "--without-gossip", "--without-mingle", **on) as celery:
        celery.wait_until_it_says("ready.")
        run("-c", WAKE, **on)
        wait_until(all_ended, seconds=BOUND_SECONDS)

    each_ran_once()


WAKE = """
import django
django.setup()
from nateq_webhooks.models import Delivery
from tests.runners.site.celery import app
for pk in Delivery.objects.values_list("pk", flat=True):
    app.send_task("nateq_webhooks.run_delivery", args=[pk])
"""
