"""`ReceiverApplication`: one thread for the whole of a request, several requests at a time, and what is too much."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import pytest
from asgiref.sync import markcoroutinefunction, sync_to_async
from django.core import signals as django_signals
from django.core.asgi import get_asgi_application
from django.db import connection, connections
from django.db.backends.signals import connection_created
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import translation
from pytest_django import Settings

from nateq_webhooks import asgi, signals
from nateq_webhooks.asgi import ReceiverApplication
from nateq_webhooks.conf import settings as package_settings
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, Rejection, Run, Webhook
from nateq_webhooks.protocol.signatures import sign
from tests.conftest import SECRET, Connect, envelope
from tests.server import post
from tests.waiting import free_port, is_listening, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

BOUND_SECONDS: Final = 60

Answer = tuple[int, dict[bytes, bytes], bytes]


def body_of(delivery_id: str = "dlv_1") -> bytes:
    return json.dumps(envelope(delivery_id=delivery_id)).encode()


def scope_of(path: str, body: bytes, *, length: bool = True, **over: Any) -> dict[str, Any]:
    headers = [(b"host", b"shop.example"), (b"x-nateq-signature", sign(body, SECRET).encode())]
    if length:
        headers.append((b"content-length", b"%d" % len(body)))
    return {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "scheme": "http",
        "client": ("203.0.113.1", 1),
        "server": ("shop.example", 80),
    } | over


async def call(
    application: asgi.Application,
    scope: dict[str, Any],
    parts: list[bytes],
    before_answer: Callable[[], Awaitable[None]] | None = None,
) -> Answer:
    """Send a request as a server does; return the answer's status, headers and body."""
    messages = iter([{"type": "http.request", "body": part, "more_body": True} for part in parts])
    sent: list[Any] = []

    async def receive() -> Any:
        message = next(messages, None)
        if message is None:
            return {"type": "http.request", "body": b"", "more_body": False}
        return message

    async def send(message: Any) -> None:
        if before_answer is not None:
            await before_answer()
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(each.get("body", b"") for each in sent[1:])


def deliver(application: asgi.Application, webhook: Webhook, delivery_id: str = "dlv_1", **over: Any) -> Answer:
    body = body_of(delivery_id)
    return asyncio.run(call(application, scope_of(webhook.get_absolute_url(), body, **over), [body]))


@pytest.fixture
def make() -> Iterator[Callable[..., ReceiverApplication]]:
    """Make applications whose threads end with the test."""
    made: list[ReceiverApplication] = []

    def make_one(**options: Any) -> ReceiverApplication:
        made.append(ReceiverApplication(get_asgi_application(), **options))
        return made[-1]

    yield make_one
    for one in made:
        one._pool.shutdown()


class Gate:
    """A receiver that waits until it may go on."""

    def __init__(self) -> None:
        self.entered, self._may_go_on = threading.Semaphore(0), threading.Event()

    def __call__(self, **kwargs: Any) -> None:
        self.entered.release()
        assert self._may_go_on.wait(BOUND_SECONDS)

    def open(self) -> None:
        self._may_go_on.set()

    def wait_for_one(self) -> None:
        assert self.entered.acquire(timeout=BOUND_SECONDS)


@pytest.fixture
def gate(connect: Connect) -> Iterator[Gate]:
    """A connected receiver that waits; it waits no longer once the test has ended."""
    found = Gate()
    connect(signals.ticket_created, found.__call__)
    yield found
    found.open()


seen: list[tuple[str, int]] = []
"""What ran in which thread."""

of_thread = threading.local()


def note(what: str) -> None:
    seen.append((what, threading.get_ident()))


class Notes:
    """A synchronous middleware with each hook, which keeps something for its thread as a tenants' middleware does."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        note("request")
        of_thread.value = "of this request"
        with translation.override("ar"):
            response = self.get_response(request)
        note("response")
        return response

    def process_view(self, *arguments: Any) -> None:
        note("view")


class AsyncOnly:
    """An asynchronous middleware."""

    sync_capable, async_capable = False, True

    def __init__(self, get_response: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> None:
        self.get_response = get_response
        markcoroutinefunction(self)

    async def __call__(self, request: HttpRequest) -> HttpResponse:
        response = await self.get_response(request)
        response["X-Loop"] = str(id(asyncio.get_running_loop()))
        return response


class Streams:
    """A middleware that makes a stream of each answer."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> StreamingHttpResponse:
        response = self.get_response(request)

        async def parts() -> AsyncIterator[bytes]:
            yield response.content

        streamed = StreamingHttpResponse(parts(), status=response.status_code)
        streamed._resource_closers.append(lambda: note("closed"))  # type: ignore[attr-defined]
        return streamed


class TestOneThread:
    @pytest.fixture(autouse=True)
    def _notes(self, settings: Settings) -> Iterator[None]:
        settings.MIDDLEWARE = ["tests.test_asgi.Notes", *settings.MIDDLEWARE]
        seen.clear()

        def started(**kwargs: Any) -> None:
            note("started")

        def finished(**kwargs: Any) -> None:
            note("finished")

        django_signals.request_started.connect(started)
        django_signals.request_finished.connect(finished)
        yield
        django_signals.request_started.disconnect(started)
        django_signals.request_finished.disconnect(finished)

    def test_signals_middleware_view_and_receivers_of_a_request_run_in_one_call_in_one_thread(
        self,
        make: Callable[..., ReceiverApplication],
        webhook: Webhook,
        connect: Connect,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: note("receiver"))
        application = make()
        changes = count_changes(monkeypatch)

        assert deliver(application, webhook)[0] == 200

        assert [what for what, _thread in seen] == [
            *("started", "request", "view", "receiver", "response", "finished"),
        ]
        assert len({thread for _what, thread in seen}) == 1
        assert seen[0][1] != threading.get_ident()
        assert len(changes) == 1

    def test_what_a_middleware_keeps_for_its_thread_or_context_is_there_in_a_receiver(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, connect: Connect
    ) -> None:
        got: list[tuple[object, object]] = []
        connect(
            signals.ticket_created,
            lambda **kwargs: got.append((getattr(of_thread, "value", None), translation.get_language())),
        )

        deliver(make(), webhook)

        assert got == [("of this request", "ar")]

    def test_an_asynchronous_receiver_and_middleware_run_in_the_servers_loop_and_the_orm_in_the_thread(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, connect: Connect, settings: Settings
    ) -> None:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, "tests.test_asgi.AsyncOnly"]
        loops: list[str] = []

        async def receiver(**kwargs: Any) -> None:
            loops.append(str(id(asyncio.get_running_loop())))
            await sync_to_async(note)("orm")
            assert await Delivery.objects.acount() == 1

        connect(signals.ticket_created, receiver)
        body = body_of()

        async def main() -> tuple[Answer, str]:
            answer = await call(make(), scope_of(webhook.get_absolute_url(), body), [body])
            return answer, str(id(asyncio.get_running_loop()))

        (status, headers, _body), loop = asyncio.run(main())

        assert status == 200
        assert Run.objects.get().status == "succeeded"
        assert loops == [loop]
        assert headers[b"X-Loop"] == loop.encode()
        assert len({thread for what, thread in seen if what in ("orm", "request")}) == 1

    def test_a_stream_of_a_middleware_is_sent_and_closed(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, settings: Settings
    ) -> None:
        settings.MIDDLEWARE = ["tests.test_asgi.Streams", *settings.MIDDLEWARE]

        status, _headers, answer = deliver(make(), webhook)

        assert (status, answer) == (200, b'{"status": "stored"}')
        assert [what for what, _thread in seen][-2:] == ["closed", "finished"]


STARTPROJECT: Final = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
"""The middleware of a new project."""


def test_djangos_own_handler_changes_to_its_thread_as_often_as_the_docs_say(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.MIDDLEWARE = STARTPROJECT
    application = get_asgi_application()
    changes = count_changes(monkeypatch)

    body = body_of()
    status, _headers, _body = asyncio.run(call_django(application, webhook, body))

    assert status == 200
    assert len(changes) == 16


def count_changes(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that grows by each piece of work that is given to a thread."""
    changes: list[object] = []
    submit = ThreadPoolExecutor.submit

    def counted(self: ThreadPoolExecutor, function: Any, /, *arguments: Any, **named: Any) -> Any:
        changes.append(function)
        return submit(self, function, *arguments, **named)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", counted)
    return changes


async def call_django(application: asgi.Application, webhook: Webhook, body: bytes) -> Answer:
    """Send a request whose sender stays, which Django's own handler waits for."""
    messages = iter([{"type": "http.request", "body": body}])
    sent: list[Any] = []

    async def receive() -> Any:
        for message in messages:
            return message
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope_of(webhook.get_absolute_url(), body), receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


class TestManyRequests:
    def test_a_receiver_that_waits_does_not_keep_another_request_waiting(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, connect: Connect
    ) -> None:
        """The first receiver ends only after the second has run."""
        second = threading.Event()

        def receiver(*, delivery: Delivery, **kwargs: Any) -> None:
            if delivery.delivery_id == "dlv_1":
                assert second.wait(BOUND_SECONDS)
            else:
                second.set()

        connect(signals.ticket_created, receiver, atomic=False)  # SQLite has one writer at a time
        with served(make()) as port, ThreadPoolExecutor(2) as senders:
            first = senders.submit(send, port, webhook, "dlv_1")
            wait_until(Delivery.objects.exists)
            assert senders.submit(send, port, webhook, "dlv_2").result(BOUND_SECONDS) == 200
            assert first.result(BOUND_SECONDS) == 200

        assert list(Run.objects.values_list("status", flat=True)) == ["succeeded"] * 2

    def test_many_at_once_are_served_by_few_threads_and_as_many_connections(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", None)
        opened: list[int] = []

        def on_open(**kwargs: Any) -> None:
            opened.append(threading.get_ident())

        application = make(threads=3)

        def close_all(barrier: threading.Barrier) -> int:
            barrier.wait(BOUND_SECONDS)
            connections.close_all()
            return threading.get_ident()

        connection_created.connect(on_open)
        try:
            with served(application) as port, ThreadPoolExecutor(12) as senders:
                answers = list(senders.map(lambda number: send(port, webhook, f"dlv_{number}"), range(60)))
        finally:
            connection_created.disconnect(on_open)
            barrier = threading.Barrier(3)
            closing = [application._pool.submit(close_all, barrier) for _ in range(3)]
            threads = {future.result(BOUND_SECONDS) for future in closing}

        assert answers == [200] * 60
        assert Delivery.objects.count() == 60
        assert set(opened) <= threads
        assert len(opened) < 20  # 3, and after an error of the database another one

    def test_connections_are_closed_after_each_request_if_the_site_says_so(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
        application = make(threads=1)

        deliver(application, webhook)

        assert application._pool.submit(lambda: connection.connection).result(BOUND_SECONDS) is None

    def test_many_more_at_once_than_there_are_threads_are_all_stored(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(asgi, "WAIT_SECONDS", 10 * BOUND_SECONDS)  # on a busy machine
        application = make(threads=2)
        bodies = [body_of(f"dlv_{number}") for number in range(200)]
        path = webhook.get_absolute_url()

        async def main() -> list[Answer]:
            return await asyncio.gather(*(call(application, scope_of(path, body), [body]) for body in bodies))

        assert [status for status, _headers, _body in asyncio.run(main())] == [200] * 200
        assert Delivery.objects.count() == 200


class TestTooMany:
    def test_a_request_that_gets_no_thread_in_time_is_to_be_sent_again(
        self,
        make: Callable[..., ReceiverApplication],
        webhook: Webhook,
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(asgi, "WAIT_SECONDS", 0.05)
        with served(make(threads=1)) as port, ThreadPoolExecutor(1) as senders:
            first = senders.submit(send, port, webhook, "dlv_1")
            gate.wait_for_one()
            refused = post_whole(port, webhook, "dlv_2")
            gate.open()
            assert first.result(BOUND_SECONDS) == 200
            again = send(port, webhook, "dlv_2")

        assert refused == (503, "30", b'{"error": "not stored, try again"}')
        assert again == 200
        assert "All 1 threads of this process are busy, and no thread was free for 0.05 s." in caplog.text
        assert Delivery.objects.count() == 2
        assert [record.levelno for record in caplog.records if "busy" in record.message] == [logging.WARNING]

    def test_a_request_is_refused_at_once_if_too_many_wait(
        self,
        make: Callable[..., ReceiverApplication],
        webhook: Webhook,
        gate: Gate,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(asgi, "WAIT_SECONDS", BOUND_SECONDS)
        monkeypatch.setattr(asgi, "MAX_WAITING", 0)
        with served(make(threads=1)) as port, ThreadPoolExecutor(1) as senders:
            first = senders.submit(send, port, webhook, "dlv_1")
            gate.wait_for_one()
            refused = post_whole(port, webhook, "dlv_2")
            gate.open()
            assert first.result(BOUND_SECONDS) == 200

        assert refused[:2] == (503, "30")
        assert "0 others are waiting" in caplog.text
        assert Delivery.objects.count() == 1

    def test_no_thread_is_no_application(self) -> None:
        for threads in (0, -1, 2.5, "16", None):
            with pytest.raises(ValueError, match=f"threads={threads!r}; give it a whole number"):
                ReceiverApplication(get_asgi_application(), threads=threads)  # type: ignore[arg-type]


class TestSendersThatGo:
    def test_a_sender_that_goes_leaves_nothing_half_done(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, gate: Gate
    ) -> None:
        body = body_of()
        head = (
            f"POST {webhook.get_absolute_url()} HTTP/1.1\r\nHost: shop.example\r\n"
            f"X-Nateq-Signature: {sign(body, SECRET)}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with served(make()) as port:
            with socket.create_connection(("127.0.0.1", port)) as sender:
                sender.sendall(head.encode() + body)
                gate.wait_for_one()
            gate.open()
            wait_until(lambda: Run.objects.filter(status="succeeded").exists())
            assert send(port, webhook) == 200

        delivery = Delivery.objects.get()
        assert (delivery.status, delivery.attempts_seen) == ("processed", 2)
        assert Run.objects.count() == 1

    @pytest.mark.parametrize("kind", ["sync", "async"])
    def test_a_task_that_a_server_cancels_does_not_end_the_receiver(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, connect: Connect, kind: str
    ) -> None:
        entered, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def wait(**kwargs: Any) -> None:
            entered.set()
            assert go_on.wait(BOUND_SECONDS)
            ended.set()

        async def wait_async(**kwargs: Any) -> None:
            entered.set()
            while not go_on.is_set():
                await asyncio.sleep(0.01)
            ended.set()

        connect(signals.ticket_created, wait if kind == "sync" else wait_async)
        body = body_of()
        application = make()

        async def main() -> None:
            scope = scope_of(webhook.get_absolute_url(), body)
            task = asyncio.create_task(call(application, scope, [body]))
            assert await asyncio.to_thread(entered.wait, BOUND_SECONDS)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            go_on.set()
            assert await asyncio.to_thread(ended.wait, BOUND_SECONDS)
            await asyncio.to_thread(application._pool.shutdown)

        asyncio.run(main())

        assert Run.objects.get().status == "succeeded"
        assert Delivery.objects.get().status == "processed"

    def test_a_sender_that_goes_before_the_end_of_its_body_is_not_received(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook
    ) -> None:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        asyncio.run(make()(scope_of(webhook.get_absolute_url(), body_of()), receive, send))

        assert sent == []
        assert not Delivery.objects.exists()

    def test_an_answer_that_can_not_be_sent_is_no_error(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook
    ) -> None:
        body = body_of()

        async def gone() -> None:
            raise BrokenPipeError

        with contextlib.suppress(IndexError):  # no answer
            asyncio.run(call(make(), scope_of(webhook.get_absolute_url(), body), [body], gone))

        assert Delivery.objects.exists()


class TestAnswers:
    def test_nothing_is_answered_before_the_commit(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook
    ) -> None:
        body = body_of()
        stored: list[bool] = []

        async def look() -> None:
            stored.append(await asyncio.to_thread(exists_elsewhere))

        asyncio.run(call(make(), scope_of(webhook.get_absolute_url(), body), [body], look))

        assert stored == [True, True]

    def test_under_atomic_requests(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

        assert deliver(make(), webhook)[0] == 200
        assert Delivery.objects.exists()

    def test_of_too_large_a_body_no_more_is_kept_than_shows_it(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kept: list[int] = []
        respond = asgi._ThreadHandler.respond

        def noted(self: Any, scope: Any, body: bytes) -> Any:
            kept.append(len(body))
            return respond(self, scope, body)

        monkeypatch.setattr(asgi._ThreadHandler, "respond", noted)
        part = b"x" * 64 * 1024
        scope = scope_of(webhook.get_absolute_url(), b"", length=False)

        status = asyncio.run(call(make(), scope, [part] * 100))[0]

        assert status == 413
        assert package_settings().max_body_bytes < kept[0] <= package_settings().max_body_bytes + len(part)

    def test_wrong_settings_lose_no_delivery(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook, settings: Settings
    ) -> None:
        application = make()
        settings.NATEQ_WEBHOOKS = {"MAX_BODY_BYTES": "1"}
        assert deliver(application, webhook)[0] == 503
        settings.NATEQ_WEBHOOKS = {}
        assert deliver(application, webhook)[0] == 200

    def test_a_bad_signature_is_refused_and_recorded(
        self, make: Callable[..., ReceiverApplication], webhook: Webhook
    ) -> None:
        scope = scope_of(webhook.get_absolute_url(), body_of())

        status = asyncio.run(call(make(), scope, [body_of("dlv_2")]))[0]
        recorder.flush()

        assert status == 401
        assert not Delivery.objects.exists()
        assert Rejection.objects.get().reason == "no_match"


def exists_elsewhere() -> bool:
    try:
        return Delivery.objects.exists()
    finally:
        connections.close_all()


class TestRouting:
    @pytest.fixture
    def passed(self) -> list[str]:
        return []

    @pytest.fixture
    def application(self, passed: list[str]) -> Iterator[ReceiverApplication]:
        async def other(scope: Any, receive: Any, send: Any) -> None:
            passed.append(scope["type"] + scope.get("path", ""))

        found = ReceiverApplication(other)
        yield found
        found._pool.shutdown()

    def test_everything_else_is_for_the_other_application(
        self, application: ReceiverApplication, passed: list[str], webhook: Webhook
    ) -> None:
        paths = ["/", "/admin/", f"/other/{webhook.pk}/", f"/nateq/{webhook.pk}/more/", "/nateq/", f"/{webhook.pk}"]
        scopes = [scope_of(path, b"") for path in paths]
        scopes += [{"type": "lifespan"}, scope_of(webhook.get_absolute_url(), b"", type="websocket")]

        async def main() -> None:
            for scope in scopes:
                await application(scope, None, None)  # type: ignore[arg-type]

        asyncio.run(main())

        assert passed == [scope["type"] + scope.get("path", "") for scope in scopes]

    @pytest.mark.parametrize(
        ("path", "over"),
        [
            ("/nateq/{pk}/", {}),
            ("/nateq/{pk}", {}),
            ("/nateq/{PK}/", {}),
            ("/shop/nateq/{pk}/", {"root_path": "/shop"}),
        ],
        ids=str,
    )
    def test_each_spelling_of_the_views_path_is_served(
        self, application: ReceiverApplication, passed: list[str], webhook: Webhook, path: str, over: dict[str, Any]
    ) -> None:
        body = body_of()
        scope = scope_of(path.format(pk=webhook.pk, PK=str(webhook.pk).upper()), body, **over)

        assert asyncio.run(call(application, scope, [body]))[0] == 200
        assert passed == []

    def test_an_unknown_webhook_and_another_method_are_the_views_to_answer(
        self, application: ReceiverApplication, webhook: Webhook
    ) -> None:
        unknown = scope_of("/nateq/00000000-0000-4000-8000-00000000dead/", b"")
        get = scope_of(webhook.get_absolute_url(), b"", method="GET")

        assert asyncio.run(call(application, unknown, [b""]))[0] == 404
        assert asyncio.run(call(application, get, [b""]))[0] == 405


@contextmanager
def served(application: ReceiverApplication) -> Iterator[int]:
    """Serve an application with uvicorn in a thread of this process; yield its port."""
    uvicorn = pytest.importorskip("uvicorn")
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(application, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: is_listening(port))
        yield port
    finally:
        server.should_exit = True
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()


def send(port: int, webhook: Webhook, delivery_id: str = "dlv_1") -> int:
    """Post a signed delivery; return the answer's status."""
    body = body_of(delivery_id)
    return post(port, webhook.get_absolute_url(), body, {"X-Nateq-Signature": sign(body, SECRET)})[0]


def post_whole(port: int, webhook: Webhook, delivery_id: str) -> tuple[int, str | None, bytes]:
    """Post a signed delivery; return the status, Retry-After and the body of the answer."""
    body = body_of(delivery_id)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=BOUND_SECONDS)) as client:
        client.request("POST", webhook.get_absolute_url(), body, {"X-Nateq-Signature": sign(body, SECRET)})
        answer = client.getresponse()
        return answer.status, answer.getheader("Retry-After"), answer.read()
