"""The HTTP server: reads a complete request, passes it on, and writes the response. Keeps connections open."""

import logging
import socket
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from nateq_webhooks.protocol.content_length import ContentLengthError, content_length
from nateq_webhooks.sandbox.exchange import Request, Response
from nateq_webhooks.sandbox.sandbox_errors import SandboxError, StoreClosedError

MAX_BODY_BYTES: Final = 1024 * 1024
IDLE_SECONDS: Final = 30.0
"""How long a connection is kept for its next request."""

logger = logging.getLogger("nateq_webhooks.sandbox")

Respond = Callable[[Request], Response]


class Server(ThreadingHTTPServer):
    """Listens on a port, a thread for each connection; `close` ends the idle ones, too."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_port = False

    def __init__(self, host: str, port: int, respond: Respond) -> None:
        self.respond = respond
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        if ":" in host:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            raise SandboxError(f"Can't listen on {host} port {port}: {error}.") from error
        self._thread = threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, name="nateq-sandbox-http", daemon=True
        )

    def server_bind(self) -> None:
        """Bind without looking up the host's name as the standard library does, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def start(self) -> None:
        """Serve requests in a separate thread."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening and end every connection."""
        if self._thread.ident is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()
        with self._connections_lock:
            connections = list(self._connections)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it ended by itself
                continue

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection, then serve it in a thread."""
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close the connection and forget it."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - of socketserver
        """Log an error instead of printing it; a client that disconnects is not an error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.error("The server failed on a request from %s.", client_address[0], exc_info=error)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    wbufsize = -1  # head and body are sent together, or the peer's delayed ACK costs 40 ms
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        body = self._body()
        if body is None:
            return
        request = Request(
            method=self.command,
            target=self.path,
            headers=self.headers,
            body=body,
            address=str(self.client_address[0]),
        )
        try:
            answer = self.server.respond(request)
        except StoreClosedError:
            self.close_connection = True
            return
        except Exception:
            self._refuse(500, "The sandbox failed; its log says why.")
            raise
        if answer.is_lost:
            self.close_connection = True
            return
        self._write(answer)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _answer  # noqa: N815

    def _body(self) -> bytes | None:
        """Read the body; None if it can't be read and an error was sent."""
        if self.headers.get("Transfer-Encoding"):
            self._refuse(411, "Send the body with a Content-Length.")
            return None
        try:
            length = content_length(self.headers.get("Content-Length")) or 0
        except ContentLengthError as error:
            self._refuse(400, str(error))
            return None
        if length > MAX_BODY_BYTES:
            self._refuse(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
            return None
        body = self.rfile.read(length)
        if len(body) < length:  # the client disconnected
            self.close_connection = True
            return None
        return body

    def _refuse(self, status: int, message: str) -> None:
        self.close_connection = True
        self._write(Response(status=status, body=message.encode(), headers={"Connection": "close"}))

    def _write(self, answer: Response) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        """Return the name of the server without that of Python."""
        return "nateq-sandbox"

    def log_message(self, format: str, *args: Any) -> None:
        """Log a line per request."""
        logger.info("Request from %s: %s", self.client_address[0], format % args)
