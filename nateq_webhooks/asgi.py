"""An ASGI application that serves the receiver view, and the site's middleware around it, in threads of its own.

Django's ASGI handler starts a thread for each request, which opens a connection to the database, and moves between
that thread and the event loop at each synchronous step: signals, the hooks of each middleware, the view. Here the
event loop reads the body and sends the answer, and everything between is one call in one of a few threads, which keep
their connections, as under a WSGI server with threads.
"""

import asyncio
import contextvars
import io
import os
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Final, cast

from asgiref.sync import SyncToAsync
from django.core import signals
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from nateq_webhooks.conf import Settings, settings

__all__ = ["ReceiverApplication"]

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]

THREADS: Final = 8
"""The threads of a process unless it is told another number: each may hold a connection to each database."""

WAIT_SECONDS: Final = 5.0
"""How long a request may wait for a thread: a sender that is answered later has probably given up."""

MAX_WAITING: Final = 1000
"""How many requests may wait for a thread, each with its body in memory."""


class ReceiverApplication:
    """Serves requests to the receiver view; passes everything else to another ASGI application, such as Django's.

        application = ReceiverApplication(get_asgi_application())

    `threads` is how many requests of a process are worked on at a time. A request that waits for a thread longer than
    `WAIT_SECONDS` is answered with 503, as is one that comes when `MAX_WAITING` wait.
    """

    def __init__(self, application: Application, *, threads: int = THREADS) -> None:
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"ReceiverApplication has threads={threads!r}; give it a whole number of at least 1.")
        # Not before: the models of the apps are loaded by `get_asgi_application()`.
        from nateq_webhooks.views import try_again, webhook_at

        self._application = application
        self._handler = _ThreadHandler()
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="nateq_webhooks receiver")
        self._unfinished = 0
        self._try_again, self._webhook_at = try_again, webhook_at

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection of the server, as ASGI defines it."""
        if not self._is_for_view(scope):
            await self._application(scope, receive, send)
            return
        body = await _read_body(receive, _max_body_bytes())
        if body is None:
            return
        self._unfinished += 1
        try:
            response = await self._respond(_Request(self._handler, scope, body))
        finally:
            self._unfinished -= 1
        with suppress(OSError):  # the sender has gone; the delivery is stored
            await self._handler.send_response(response, send)
        if response.streaming:  # a middleware's; others are closed in their thread
            await asyncio.get_running_loop().run_in_executor(self._pool, response.close)

    async def _respond(self, request: "_Request") -> HttpResponseBase:
        """Have a thread respond, which goes on to its end if this task is cancelled."""
        if self._unfinished > self._threads + MAX_WAITING:
            return self._busy(f"{MAX_WAITING} others are waiting for a thread")
        loop = asyncio.get_running_loop()
        future = self._pool.submit(contextvars.copy_context().run, request.respond, loop)

        def give_up() -> None:
            if future.cancel():  # no thread has begun, and none will
                request.forget()

        timer = loop.call_later(WAIT_SECONDS, give_up)
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            if not future.cancelled():
                raise
            return self._busy(f"no thread was free for {WAIT_SECONDS:g} s")
        finally:
            timer.cancel()

    def _busy(self, problem: str) -> HttpResponse:
        return self._try_again(f"All {self._threads} threads of this process are busy, and {problem}.")

    def _is_for_view(self, scope: Scope) -> bool:
        """Return whether a connection is a request to the receiver view, by the site's URLs (`ROOT_URLCONF`).

        This only decides which handler is used: both resolve the path again, in their middleware.
        """
        if scope["type"] != "http":
            return False
        path = scope["path"].removeprefix((get_script_prefix(scope) or "").rstrip("/"))
        return self._webhook_at(path) is not None


class _ThreadHandler(ASGIHandler):
    """Django's ASGI handler with its synchronous chain of middleware, as under WSGI."""

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002 - Django's signature
        """Load the middleware to be called in a thread."""
        super().load_middleware(is_async=False)

    def respond(self, scope: Scope, body: bytes) -> HttpResponseBase:
        """Return the response to a request, whose signals have been sent and whose resources are closed."""
        set_script_prefix(get_script_prefix(scope))
        signals.request_started.send(sender=self.__class__, scope=scope)
        request, error = self.create_request(scope, io.BytesIO(body))
        response: Any = error if request is None else self.get_response(request)  # one of the two is None
        if response.streaming:
            close_old_connections()  # the one of this thread: the end of the stream may be seen in another one
        else:
            response.close()
        return cast(HttpResponseBase, response)


class _Request:
    """A request that waits for a thread, or is in one."""

    def __init__(self, handler: _ThreadHandler, scope: Scope, body: bytes) -> None:
        self._handler = handler
        self._scope: Scope = scope
        self._body = body

    def respond(self, loop: asyncio.AbstractEventLoop) -> HttpResponseBase:
        """Return the response to it."""
        # As asgiref's sync_to_async does: asynchronous middleware and receivers are run in the server's loop.
        here = SyncToAsync.threadlocal
        here.main_event_loop, here.main_event_loop_pid, here.task_context = loop, os.getpid(), None
        return self._handler.respond(self._scope, self._body)

    def forget(self) -> None:
        """Release its memory: the executor keeps what was cancelled until a thread comes to it."""
        self._scope, self._body = {}, b""


def _max_body_bytes() -> int:
    """Return the limit of a body; with wrong settings that of a site without settings: the view says that they are."""
    try:
        return settings().max_body_bytes
    except ImproperlyConfigured:
        return Settings().max_body_bytes


async def _read_body(receive: Receive, limit: int) -> bytes | None:
    """Read a body to its end, and return it if it has at most `limit` bytes, otherwise only more than `limit` of them.

    So the view sees that it is too large. Nothing after that is kept. None if the sender has gone.
    """
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if size <= limit:
            parts.append(part)
            size += len(part)
        if not message.get("more_body", False):
            return b"".join(parts)
