"""Calling a receiver: synchronous or not, to its end, in one event loop, in a context of its own."""

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from asgiref.sync import SyncToAsync, async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.db import connection
from django.utils import translation

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch import event_loop as module
from nateq_webhooks.dispatch.event_loop import EventLoop, event_loop
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.runners.worker import drain
from tests.conftest import wait_until
from tests.dispatch.scene import BOUND_SECONDS, Connect, Deliver, RunReceiver, elsewhere, make_due, write, written
from tests.runners.processes import run as run_python

httpx = pytest.importorskip("httpx")

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client(service: str) -> Iterator[Any]:
    """A client as at the top of a module: used in every run and not closed in between."""
    client = httpx.AsyncClient(base_url=service, timeout=BOUND_SECONDS)
    yield client
    in_the_loop(client.aclose)


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    """The process's event loop, closed at the end of the test."""
    yield event_loop
    event_loop.close()
    module._warned.clear()


def in_the_loop(function: Callable[..., Coroutine[Any, Any, Any]]) -> Any:
    """Await something in the event loop of the receivers."""
    with module.event_loop_for("test"):
        return async_to_sync(function)()


def statuses() -> list[str]:
    return sorted(Run.objects.values_list("status", flat=True))


def error() -> str:
    return Run.objects.get().error


class TestOneEventLoop:
    @pytest.mark.parametrize("concurrency", [1, 4])
    def test_a_client_of_a_module_works_in_every_run_and_thread(
        self, deliver: Deliver, connect: Connect, client: Any, concurrency: int
    ) -> None:
        async def sends(**kwargs: Any) -> None:
            assert (await client.get("/")).text == "ok"

        connect(signals.ticket_created, sends, atomic=False)
        for _ in range(12):
            deliver()

        with ThreadPoolExecutor(concurrency) as threads:
            assert sum(threads.map(lambda _: elsewhere(drain), range(concurrency))) == 12

        assert statuses() == ["succeeded"] * 12

    def test_a_client_of_a_module_works_in_a_receiver_that_calls_async_to_sync(
        self, run_receiver: RunReceiver, client: Any
    ) -> None:
        def sends(**kwargs: Any) -> None:
            async_to_sync(client.get)("/")

        run_receiver(sends, deliveries=4)

        assert statuses() == ["succeeded"] * 4

    def test_a_receiver_shares_the_transaction_of_its_run_and_its_failure_undoes_all(
        self, run_receiver: RunReceiver
    ) -> None:
        seen: list[object] = []

        async def works(*, run: Run, **kwargs: Any) -> None:
            await Group.objects.acreate(name="mine 1")

            async def deeper() -> None:
                await Group.objects.acreate(name="mine 2")
                seen.append(await sync_to_async(threading.get_ident)())

            await asyncio.gather(deeper())
            seen.append(await sync_to_async(lambda: connection.in_atomic_block)())
            seen.append(await sync_to_async(lambda: elsewhere(lambda: written("mine")))())
            if run.tries == 1:
                raise ValueError("broken")

        run_receiver(works)
        assert written("mine") == 0
        make_due()
        api.run_due()

        assert seen == [threading.get_ident(), True, 0] * 2
        assert written("mine") == 2
        assert statuses() == ["succeeded"]

    def test_two_threads_run_in_it_at_the_same_time_each_on_its_own_connection(self) -> None:
        met: list[int] = []

        async def meets(thread: int) -> None:
            with_db = await sync_to_async(threading.get_ident)()
            assert with_db == thread
            met.append(thread)
            while len(met) < 2:
                await asyncio.sleep(0.01)

        def work() -> int:
            in_the_loop(functools.partial(meets, threading.get_ident()))
            return threading.get_ident()

        with ThreadPoolExecutor(2) as threads:
            done = [one.result(BOUND_SECONDS) for one in [threads.submit(work) for _ in "12"]]

        assert sorted(met) == sorted(done)
        assert len(set(met)) == 2

    def test_async_to_sync_outside_of_receivers_has_a_loop_of_its_own(self, run_receiver: RunReceiver) -> None:
        async def where(**kwargs: Any) -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        def used() -> list[object]:
            return [getattr(SyncToAsync.threadlocal, name, None) for name in ("main_event_loop", "task_context")]

        before = used()
        run_receiver(where)

        ours = in_the_loop(where)
        assert used() == before
        assert async_to_sync(where)() is not ours
        assert in_the_loop(where) is ours

    def test_the_loop_of_an_asgi_server_is_used_where_there_is_one(self, deliver: Deliver, connect: Connect) -> None:
        seen: list[asyncio.AbstractEventLoop] = []

        async def notes(**kwargs: Any) -> None:
            seen.append(asyncio.get_running_loop())

        async def server() -> asyncio.AbstractEventLoop:
            await sync_to_async(functools.partial(elsewhere, api.run_due), thread_sensitive=False)()
            await sync_to_async(in_the_loop, thread_sensitive=False)(notes)
            return asyncio.get_running_loop()

        connect(signals.ticket_created, notes)
        deliver()

        assert seen[-1:] != [asyncio.run(server())]
        own, of_server = seen
        assert of_server is not own

    def test_a_loop_that_async_to_sync_made_for_one_call_is_not_used(self) -> None:
        """As under WSGI with an asynchronous middleware: it is closed when the request ends."""

        async def where() -> asyncio.AbstractEventLoop:
            return asyncio.get_running_loop()

        async def middleware() -> tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]:
            return asyncio.get_running_loop(), await sync_to_async(in_the_loop)(where)

        of_the_request, used = async_to_sync(middleware)()

        assert used is not of_the_request
        assert used is in_the_loop(where)

    def test_a_task_that_exits_ends_neither_the_loop_nor_the_process(
        self, loop: EventLoop, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def leaves() -> None:
            async def exits() -> None:
                raise SystemExit(3)

            task = asyncio.create_task(exits())
            await asyncio.wait([task])
            assert isinstance(task.exception(), SystemExit)

        in_the_loop(leaves)

        assert "A task of a receiver raised SystemExit" in caplog.text
        in_the_loop(leaves)

    @pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
    def test_a_process_that_was_forked_has_a_loop_of_its_own(self) -> None:
        said = run_python(
            "-W", "ignore", "-c", "import django; django.setup()\n" + FORK, DJANGO_SETTINGS_MODULE="tests.settings"
        )

        assert said.split() == ["parent", "child"]


FORK = """
import asyncio, os, sys
from asgiref.sync import async_to_sync
from nateq_webhooks.dispatch.event_loop import event_loop_for

async def say(word):
    await asyncio.sleep(0)
    print(word, flush=True)

with event_loop_for("test"):
    async_to_sync(say)("parent")
    child = os.fork()
    if child == 0:
        with event_loop_for("test"):
            async_to_sync(say)("child")
        os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class TestBlocked:
    @pytest.fixture(autouse=True)
    def _hurry(self, monkeypatch: pytest.MonkeyPatch, loop: EventLoop) -> None:
        monkeypatch.setattr(module, "BLOCKED_SECONDS", 0.2)

    def test_a_blocked_loop_is_replaced_for_other_runs(
        self, deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        release, blocked = threading.Event(), threading.Event()

        async def blocks() -> None:
            blocked.set()
            release.wait(BOUND_SECONDS)

        def block() -> None:
            with module.event_loop_for("shop.blocks"):
                async_to_sync(blocks)()

        async def works(**kwargs: Any) -> None:
            await sync_to_async(write)("mine")

        connect(signals.ticket_created, works)
        deliver()
        with ThreadPoolExecutor(1) as threads:
            blocking = threads.submit(block)
            assert blocked.wait(BOUND_SECONDS)
            api.run_due()
            release.set()
            blocking.result(BOUND_SECONDS)

        assert statuses() == ["succeeded"]
        assert written("mine") == 1
        assert "has been blocked for 0.2 s by one of these receivers: shop.blocks" in caplog.text
        threads_of_loops = [one for one in threading.enumerate() if one.name == module._THREAD_NAME]
        wait_until(lambda: sum(one.is_alive() for one in threads_of_loops) == 1)  # the blocked one is closed


class TestRemainingTasks:
    def test_remaining_tasks_are_logged_once_and_go_on(
        self, run_receiver: RunReceiver, caplog: pytest.LogCaptureFixture, loop: EventLoop
    ) -> None:
        done: list[int] = []
        kept: list[asyncio.Task[None]] = []

        async def later(release: asyncio.Event) -> None:
            await release.wait()
            done.append(1)

        async def forgets(**kwargs: Any) -> None:
            release = asyncio.Event()
            kept.append(asyncio.create_task(later(release), name="later"))
            asyncio.get_running_loop().call_later(0.3, release.set)

        run_receiver(forgets, "test.forgets", deliveries=2)

        assert caplog.text.count("Receiver test.forgets has left tasks running: later.") == 1
        wait_until(lambda: done == [1, 1])

    def test_a_remaining_task_never_writes_in_the_transaction_of_another_run(
        self, run_receiver: RunReceiver, loop: EventLoop
    ) -> None:
        outcome: list[str] = []
        kept: list[asyncio.Task[None]] = []
        go_on = threading.Event()

        async def later() -> None:
            while not go_on.is_set():
                await asyncio.sleep(0.01)
            try:
                await sync_to_async(write)("stray")
                outcome.append("written")
            except RuntimeError as error:
                outcome.append(str(error))

        async def forgets(*, delivery: Delivery, **kwargs: Any) -> None:
            if not kept:
                kept.append(asyncio.create_task(later()))
                return
            go_on.set()
            while not outcome:
                await asyncio.sleep(0.01)
            raise ValueError("undone")

        run_receiver(forgets, deliveries=2)

        (said,) = outcome
        assert "already quit" in said
        assert written("stray") == 0

    def test_tasks_that_have_ended_are_not_logged(
        self, run_receiver: RunReceiver, caplog: pytest.LogCaptureFixture, client: Any
    ) -> None:
        async def works(**kwargs: Any) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(0))
            await asyncio.wait_for(client.get("/"), BOUND_SECONDS)

        run_receiver(works)

        assert statuses() == ["succeeded"]
        assert "has left tasks running" not in caplog.text

    def test_tasks_are_cancelled_and_generators_finalized_when_the_process_ends(self) -> None:
        said = run_python("-W", "error", "-c", "import django; django.setup()\n" + ENDS)

        assert sorted(said.split()) == ["cancelled", "finalized"]


ENDS = """
import asyncio
from asgiref.sync import async_to_sync
from nateq_webhooks.dispatch.event_loop import event_loop_for

kept = []

async def waits():
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

async def generates():
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        print("finalized", flush=True)

async def leaves():
    kept.append(asyncio.create_task(waits()))
    kept.append(generates())
    await anext(kept[-1])
    await asyncio.to_thread(len, "")

with event_loop_for("test"):
    async_to_sync(leaves)()
"""


class TestContext:
    @pytest.mark.parametrize("is_async", [True, False])
    def test_context_variables_of_a_receiver_are_not_set_in_the_next_run_nor_after_it(
        self, run_receiver: RunReceiver, is_async: bool
    ) -> None:
        variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
        seen: list[tuple[str, str]] = []

        def sets(**kwargs: Any) -> None:
            seen.append((variable.get(), translation.get_language() or ""))
            variable.set("set")
            translation.activate("ar")

        async def sets_too(**kwargs: Any) -> None:
            sets()

        run_receiver(sets_too if is_async else sets, deliveries=2)

        assert seen == [("unset", "en")] * 2
        assert (variable.get(), translation.get_language()) == ("unset", "en")

    def test_a_receiver_sees_the_context_of_its_caller(self, deliver: Deliver, connect: Connect) -> None:
        seen: list[str | None] = []

        async def looks(**kwargs: Any) -> None:
            seen.append(translation.get_language())
            seen.append(await sync_to_async(translation.get_language)())

        connect(signals.ticket_created, looks)
        deliver()
        with translation.override("ar"):
            api.run_due()

        assert seen == ["ar", "ar"]


def _write(name: str) -> str:
    write(name)
    return name


async def _agen() -> Any:
    write("mine")
    yield


async def _returns_a_generator(**kwargs: Any) -> Any:
    return (_write(name) for name in ["mine"])


class TestResults:
    """Results that show that the body of a receiver has not run, and results that are awaited."""

    @pytest.mark.parametrize(
        "receiver",
        [
            pytest.param(lambda **kwargs: (_write(name) for name in ["mine"]), id="generator"),
            pytest.param(lambda **kwargs: _agen(), id="async_generator"),
            pytest.param(lambda **kwargs: map(_write, ["mine"]), id="map"),
            pytest.param(lambda **kwargs: filter(_write, ["mine"]), id="filter"),
            pytest.param(_returns_a_generator, id="a generator, from an async receiver"),
        ],
    )
    def test_a_result_that_must_be_iterated_over_fails_the_run(
        self, run_receiver: RunReceiver, receiver: Callable[..., object]
    ) -> None:
        run_receiver(receiver, "shop.stock")

        assert statuses() == ["failed"]
        assert error().startswith('ReceiverError: The receiver "shop.stock" returned a ')
        assert "its body has not run" in error()
        assert written() == 0

    def test_a_decorator_without_its_parentheses_fails_the_run(self, run_receiver: RunReceiver) -> None:
        def retried(times: object = 3, **options: Any) -> Callable[..., Any]:
            def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
                return function

            return decorate

        run_receiver(functools.partial(retried, lambda **kwargs: write("mine")))

        assert statuses() == ["failed"]
        assert "without its parentheses" in error()

    @pytest.mark.parametrize("value", [None, 0, "text", [1], {"a": 1}, iter([1])], ids=lambda it: type(it).__name__)
    def test_any_other_value_is_ignored(self, run_receiver: RunReceiver, value: object) -> None:
        run_receiver(lambda **kwargs: value)

        assert statuses() == ["succeeded"]

    @pytest.mark.parametrize("times", [1, 2, 3])
    def test_a_coroutine_is_awaited_however_deep_it_is(self, run_receiver: RunReceiver, times: int) -> None:
        """`return client.post(...)` without its await has sent nothing yet."""

        async def works(left: int) -> Any:
            if left:
                return works(left - 1)
            return await sync_to_async(write)("mine")

        run_receiver(lambda **kwargs: works(times))

        assert statuses() == ["succeeded"]
        assert written("mine") == 1

    def test_a_task_that_an_async_receiver_returns_is_awaited(self, run_receiver: RunReceiver) -> None:
        async def breaks() -> None:
            await asyncio.sleep(0.05)
            raise ValueError("broken")

        async def returns(**kwargs: Any) -> Any:
            return asyncio.ensure_future(breaks())

        run_receiver(returns)

        assert error() == "ValueError: broken"

    def test_a_future_is_waited_for(self, run_receiver: RunReceiver) -> None:
        def breaks() -> None:
            time.sleep(0.05)
            raise ValueError("broken")

        with ThreadPoolExecutor(1) as threads:

            def hands_over(**kwargs: Any) -> "Future[None]":
                return threads.submit(breaks)

            run_receiver(hands_over)

        assert error() == "ValueError: broken"

    def test_an_object_whose_call_is_asynchronous_inside_a_partial_runs(self, run_receiver: RunReceiver) -> None:
        class Writes:
            async def __call__(self, **kwargs: Any) -> None:
                await sync_to_async(write)("mine")

        run_receiver(functools.partial(Writes()))

        assert written("mine") == 1
