"""The event loop of `async def` receivers: one for the process, in a thread of its own.

What an asynchronous client keeps between two calls (pooled connections, locks) belongs to the loop in which it was
first used. With a loop for each run or each thread, a client at the top of a module would fail in other runs ("Event
loop is closed", "bound to a different event loop"); with one loop for the process it works in all of them.

asgiref's `async_to_sync` is given this loop where it looks for that of an ASGI server. So code that must stay in its
thread, such as Django's ORM, runs in the thread that called the receiver: on its connection, in its transaction.
Under an ASGI server the server's own loop is used, as for the site's asynchronous views.
"""

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any, Final
from weakref import WeakSet

from asgiref.sync import AsyncToSync, SyncToAsync

from nateq_webhooks.errors import EventLoopError

logger: Final = logging.getLogger("nateq_webhooks")

BLOCKED_SECONDS: Final = 5.0
"""A loop that does not answer for so long is blocked by a receiver; the next runs get a new one."""

CLOSING_SECONDS: Final = 2.0
"""How long tasks that are cancelled when the process ends may take."""

_THREAD_NAME: Final = "nateq_webhooks event loop"

_Coroutine = Coroutine[Any, Any, Any] | Generator[Any, Any, Any]

_receiver: Final[ContextVar[str]] = ContextVar("nateq_webhooks_receiver", default="")
"""The name of the receiver that is being called."""

_spawned: Final[ContextVar["WeakSet[asyncio.Task[Any]] | None"]] = ContextVar("nateq_webhooks_spawned", default=None)
"""The tasks that the receiver has started."""

_warned: Final[set[str]] = set()
"""Receivers whose remaining tasks were logged in this process; once is enough."""


class _Thread:
    """A thread with an event loop that runs until `stop`."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self._started = threading.Event()
        self._receivers: dict[asyncio.Task[Any], str] = {}
        self._is_retired = False
        _start_thread(self._run)
        self._started.wait()

    @property
    def receivers(self) -> list[str]:
        """The names of the receivers that are running in it."""
        return sorted(set(self._receivers.values()))

    def answers(self, seconds: float) -> bool:
        """Return whether the loop does something else within so many seconds."""
        answered = threading.Event()
        self._loop.call_soon_threadsafe(answered.set)
        return answered.wait(seconds)

    def start(self, create_task: Callable[[_Coroutine], asyncio.Task[Any]], coroutine: _Coroutine, name: str) -> None:
        """Start a coroutine in the loop, on behalf of the receiver `name`. Raises `RuntimeError` once it is closed."""

        def start() -> None:
            task = create_task(coroutine)
            self._receivers[task] = name  # the loop itself holds its tasks only weakly
            task.add_done_callback(self._forget)

        self._loop.call_soon_threadsafe(start)

    def retire(self) -> None:
        """Stop as soon as no receiver runs in it any more."""
        self._is_retired = True
        self._loop.call_soon_threadsafe(self._stop_if_retired)

    def stop(self) -> None:
        """Cancel what still runs in it, and close it."""
        self._loop.call_soon_threadsafe(self._stopping.set)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._receivers.pop(task, None)
        self._stop_if_retired()

    def _stop_if_retired(self) -> None:
        if self._is_retired and not self._receivers:
            self._stopping.set()

    def _run(self) -> None:
        loop = self._loop = asyncio.new_event_loop()
        loop.set_task_factory(_new_task)
        self._stopping = asyncio.Event()
        self._started.set()
        try:
            while not self._stopping.is_set():
                try:
                    loop.run_until_complete(self._stopping.wait())
                except BaseException as error:  # SystemExit of a task must not end the loop for others
                    logger.error("A task of a receiver raised %s.", type(error).__name__, exc_info=error)
            loop.run_until_complete(_cancel_all())
        finally:
            loop.close()
            self.ended.set()


async def _cancel_all() -> None:
    """Cancel every other task of the running loop, and finalize its asynchronous generators."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSING_SECONDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _new_task(loop: asyncio.AbstractEventLoop, coroutine: _Coroutine, **options: Any) -> "asyncio.Task[Any]":
    """Create a task, and note it for the receiver in whose context that happens."""
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    spawned = _spawned.get()
    if spawned is not None:
        spawned.add(task)
    return task


def _start_thread(run: Callable[[], None]) -> None:
    """Start a thread of the operating system, also where gevent has replaced Python's threads by greenlets.

    A loop in a greenlet would make its whole thread asynchronous: Django then refuses the database to every other
    greenlet in it (`SynchronousOnlyOperation`).
    """
    eventlet, gevent = sys.modules.get("eventlet.patcher"), sys.modules.get("gevent.monkey")
    if eventlet is not None and eventlet.is_monkey_patched("thread"):
        raise EventLoopError(
            "An async def receiver can't run here: eventlet has replaced Python's threads, and Django would refuse the "
            "database to everything else in this process. Run it in another process (DISPATCH), with threads or "
            "gevent instead of eventlet, or write it without async."
        )
    if gevent is not None and gevent.is_module_patched("threading"):
        gevent.get_original("_thread", "start_new_thread")(run, ())
    else:
        threading.Thread(target=run, name=_THREAD_NAME, daemon=True).start()


class EventLoop:
    """The process's event loop, started when it is first needed. asgiref asks it for the two methods of a loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: _Thread | None = None
        os.register_at_fork(after_in_child=self._forget)

    def call_soon_threadsafe(
        self, create_task: Callable[[_Coroutine], "asyncio.Task[Any]"], coroutine: _Coroutine
    ) -> None:
        """Start a coroutine. The thread that runs the loop is replaced while a receiver blocks it."""
        self._responsive().start(create_task, coroutine, _receiver.get())

    def create_task(self, coroutine: _Coroutine) -> "asyncio.Task[Any]":
        """Make a coroutine a task, inside the loop."""
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(coroutine)
        return task

    def close(self) -> None:
        """Cancel what runs, finalize asynchronous generators and close the loop; the next use starts another."""
        with self._lock:
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.stop()
            thread.ended.wait(2 * CLOSING_SECONDS)

    def _responsive(self) -> _Thread:
        while True:
            with self._lock:
                thread = self._thread = self._thread or _Thread()
            if thread.answers(BLOCKED_SECONDS):
                return thread
            self._replace(thread)

    def _replace(self, thread: _Thread) -> None:
        with self._lock:
            if self._thread is not thread:
                return
            self._thread = None
        thread.retire()
        logger.warning(
            "The event loop has been blocked for %s s by one of these receivers: %s. Don't call blocking code in an "
            "async def: use an asynchronous function, asyncio.to_thread, or a receiver that is a plain def. Other runs "
            "continue in a new event loop.",
            BLOCKED_SECONDS,
            ", ".join(thread.receivers),
        )

    def _forget(self) -> None:
        """Start another thread in the child of a fork, which has none of the parent's."""
        self._lock = threading.Lock()
        self._thread = None


event_loop: Final = EventLoop()
"""The process's."""

atexit.register(event_loop.close)


class event_loop_for:  # noqa: N801 - used as a function
    """Have `async_to_sync`, called in this thread inside the block, use the process's loop, or the ASGI server's.

    No generator: `contextlib` sets attributes of an exception that passes through one, which its class may refuse.
    """

    def __init__(self, receiver: str) -> None:
        self._name = receiver
        self._before: dict[str, Any] = {}

    def __enter__(self) -> None:
        here = SyncToAsync.threadlocal
        names = ("main_event_loop", "main_event_loop_pid", "task_context")
        self._before = {name: getattr(here, name, None) for name in names}
        _receiver.set(self._name)
        if not _lasts(self._before["main_event_loop"], self._before["main_event_loop_pid"]):
            here.main_event_loop, here.main_event_loop_pid, here.task_context = event_loop, os.getpid(), None

    def __exit__(self, *exception: object) -> None:
        for name, value in self._before.items():
            setattr(SyncToAsync.threadlocal, name, value)


def _lasts(loop: Any, pid: int | None) -> bool:
    """Return whether a loop is running that was not made by `async_to_sync` for one call: an ASGI server's."""
    is_running = loop is not None and pid == os.getpid() and loop.is_running()
    return is_running and loop not in AsyncToSync.loop_thread_executors


async def warned_of_remaining_tasks(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Await a receiver's coroutine; log a warning, once per receiver, if it leaves tasks behind that still run.

    They are not cancelled: a client that the receiver used may need them later.
    """
    spawned: WeakSet[asyncio.Task[Any]] = WeakSet()
    _spawned.set(spawned)
    try:
        return await coroutine
    finally:
        remaining = sorted(task.get_name() for task in spawned if not task.done())
        name = _receiver.get()
        if remaining and name not in _warned:
            _warned.add(name)
            logger.warning(
                "Receiver %s has left tasks running: %s. Their work is not part of the run: it is outside the "
                "transaction, is never repeated, and is cancelled when the process ends. Await the tasks, or use "
                "asyncio.TaskGroup.",
                name,
                ", ".join(remaining),
            )
