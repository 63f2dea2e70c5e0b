"""A receiver of deliveries: a local HTTP server that remembers what came and answers as it is told."""

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from nateq_webhooks.protocol.signatures import DEFAULT_HEADER, verify
from tests.conftest import wait_until


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request."""

    body: bytes
    headers: dict[str, str]

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    @property
    def delivery_id(self) -> str:
        return str(self.payload["metadata"]["delivery_id"])

    @property
    def attempt(self) -> int:
        return int(self.payload["metadata"]["attempt"])

    def is_signed_with(self, secret: str) -> bool:
        return bool(verify(self.body, self.headers[DEFAULT_HEADER.lower()], secret))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: senders that go away are what these tests are about."""


class Receiver:
    """Answers `status` and `body`; `answer` decides per request when it is set. `gate` holds answers back."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"thanks"
        self.answer: Callable[[Arrival], int] | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.arrivals: list[Arrival] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1
            timeout = 20

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                arrival = Arrival(body, {name.lower(): value for name, value in self.headers.items()})
                receiver.arrivals.append(arrival)
                receiver.gate.wait(20)
                try:
                    self.send_response(receiver.answer(arrival) if receiver.answer else receiver.status)
                    self.send_header("Content-Length", str(len(receiver.body)))
                    self.end_headers()
                    self.wfile.write(receiver.body)
                    self.wfile.flush()
                except ConnectionError:
                    self.close_connection = True

            def log_message(self, *_: Any) -> None: ...

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/webhooks/nateq/"

    @property
    def ids(self) -> list[str]:
        return [arrival.delivery_id for arrival in self.arrivals]

    def wait_for(self, count: int, *, seconds: float = 10) -> None:
        """Wait until that many requests came."""
        wait_until(lambda: len(self.arrivals) >= count, seconds=seconds)
