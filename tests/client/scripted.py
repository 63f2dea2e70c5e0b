"""A small HTTP server that answers what a test tells it to, and remembers what it was asked."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Say:
    """An answer. `body` is JSON to be, bytes as they are, None for no body; `act` comes before it."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    drip: tuple[bytes, float] | None = None
    act: Callable[[], object] | None = None
    hang_up: bool = False

    @property
    def raw(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


Script = Callable[[Asked], Say]


class _Handler(BaseHTTPRequestHandler):
    scripted: "ScriptedServer"
    protocol_version = "HTTP/1.1"
    timeout = 30
    wbufsize = -1  # head and body in one packet: two cost 40 ms of a delayed acknowledgement

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        asked = Asked(self.command, url.path, dict(parse_qsl(url.query)), dict(self.headers), body)
        self.say(self.scripted.answer(asked))

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def do_DELETE(self) -> None:
        self.do_GET()

    def say(self, answer: Say) -> None:
        if answer.act:
            answer.act()
        if answer.hang_up:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.drip:
            self.drip(*answer.drip)
            return
        if answer.status != 204:
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer.raw)))
        self.end_headers()
        if answer.status != 204:
            self.wfile.write(answer.raw)

    def drip(self, piece: bytes, every: float) -> None:
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        while not self.scripted.stop.wait(every):
            try:
                self.wfile.write(piece)
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes in the middle of an answer is what some tests are about."""


class ScriptedServer:
    """Answers from a list in turn (the last one for ever), or from a function."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.script: Script = lambda asked: Say(500)
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"scripted": self}))
        self.port = self._server.server_address[1]
        self.base_url = f"http://127.0.0.1:{self.port}/api/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def says(self, *answers: Say) -> None:
        left = list(answers)

        def script(asked: Asked) -> Say:
            return left.pop(0) if len(left) > 1 else left[0]

        self.script = script

    @property
    def lines(self) -> list[str]:
        return [asked.line.replace("/api/v1", "", 1) for asked in self.asked]

    def close(self) -> None:
        self.stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)

    def answer(self, asked: Asked) -> Say:
        with self._lock:
            self.asked.append(asked)
            return self.script(asked)


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    server = ScriptedServer()
    try:
        yield server
    finally:
        server.close()


class FakeTime:
    """A clock that only sleeping moves on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(float(seconds))
        self.now += seconds


def wrapped(data: Any, **meta: Any) -> dict[str, Any]:
    """The success wrapper of Nateq's quickstart."""
    return {"success": True, "data": data, **({"meta": meta} if meta else {})}


def refused(code: str, message: str = "no", details: Any = None) -> dict[str, Any]:
    """The error wrapper of Nateq's quickstart."""
    return {"success": False, "error": {"code": code, "message": message, "details": details}}
