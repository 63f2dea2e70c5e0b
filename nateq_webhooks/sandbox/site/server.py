"""Django's HTTP server with what the sandbox needs: checked lengths, connections that are kept, and a lost answer."""

import logging
import socket
import sys
import threading
from contextlib import suppress
from typing import Any, Final

from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler

from nateq_webhooks.protocol.content_length import ContentLengthError, content_length
from nateq_webhooks.sandbox.options import LOOPBACK
from nateq_webhooks.sandbox.sandbox_errors import SandboxError
from nateq_webhooks.sandbox.site.settings import MAX_BODY_BYTES

IDLE_SECONDS: Final = 30.0
"""How long a connection is kept for its next request."""

_CONNECTION_KEY: Final = "nateq_webhooks.connection"

logger = logging.getLogger("nateq_webhooks.sandbox")


class Server(ThreadedWSGIServer):
    """Listens on a port, a thread for each connection. Raises `SandboxError` if it can't."""

    request_queue_size = 128

    def __init__(self, host: str, port: int, application: Any) -> None:
        try:
            super().__init__((host, port), _Handler, ipv6=":" in host)
        except (OSError, OverflowError) as error:
            reason = str(error).removesuffix(".")
            raise SandboxError(f"Can't listen on {host} port {port}: {reason}.") from error
        self.set_app(application)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), name="nateq-sandbox-http", daemon=True)

    def server_bind(self) -> None:
        """Bind without looking up the host's name as the standard library does, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def start(self) -> None:
        """Serve requests in a separate thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening. What is open ends with the process."""
        if self._thread.ident is not None:
            self.shutdown()
            self._thread.join()
        self.server_close()

    @property
    def own_host(self) -> str:
        """The address at which this machine reaches the server."""
        return LOOPBACK if self.server_name in ("0.0.0.0", "::") else self.server_name  # noqa: S104

    @property
    def url(self) -> str:
        """The URL of the settings screen."""
        host = f"[{self.own_host}]" if ":" in self.own_host else self.own_host
        return f"http://{host}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - of socketserver
        """Log an error instead of printing it; a client that disconnects is not an error."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            logger.error("The server failed on a request from %s.", client_address[0], exc_info=error)


class _Handler(WSGIRequestHandler):
    """One connection."""

    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True  # head and body are two writes, and the peer's delayed ACK would cost 40 ms

    def parse_request(self) -> bool:
        """Read the head of a request. Refuses one whose body can't be read, before it is sent."""
        if not super().parse_request():
            return False
        try:
            length = content_length(self.headers.get("Content-Length")) or 0
        except ContentLengthError as error:
            self.send_error(400, str(error))
            return False
        if self.headers.get("Transfer-Encoding"):
            self.send_error(411, "Send the body with a Content-Length.")
        elif length > MAX_BODY_BYTES:
            self.send_error(413, f"The body is longer than {MAX_BODY_BYTES} bytes.")
        else:
            return True
        return False

    def get_environ(self) -> Any:
        """Add the connection, which `lose_answer` closes."""
        return super().get_environ() | {_CONNECTION_KEY: self.connection}

    def version_string(self) -> str:
        """Return the name of the server without that of Python."""
        return "nateq-sandbox"

    def log_message(self, format: str, *args: Any) -> None:
        """Log a line per request."""
        logger.info("Request from %s: %s", self.client_address[0], format % args)


def lose_answer(request: Any) -> None:
    """Close the connection of a request, so that its answer is lost."""
    with suppress(OSError):  # the client has closed it already
        request.META[_CONNECTION_KEY].shutdown(socket.SHUT_RDWR)
