"""A wire between Django and its database that can be cut at the worst moment."""

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import connection

BOUND_SECONDS = 60


class Wire:
    """Listens on `port` and passes everything on to the database, until it is cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self._cut_at: bytes | None = None
        self._after_the_answer = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut_at(self, statement: bytes, *, after_the_answer: bool) -> None:
        """Cut the connection that sends `statement`: before the database gets it, or before its answer gets back."""
        self._cut_at, self._after_the_answer = statement.upper(), after_the_answer

    def down(self) -> None:
        """Cut every connection and refuse new ones."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        """Accept connections again, on the same port."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):  # closed: it is down
            while True:
                near, _address = listener.accept()
                threading.Thread(target=self._serve, args=(near,), daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(self._target, BOUND_SECONDS) as far:
            self._open |= {near, far}
            try:
                self._pass_on(near, far)
            finally:
                self._open -= {near, far}

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        while True:
            for source in select.select([near, far], [], [])[0]:
                data = source.recv(65536)
                if not data:
                    return
                if source is near and self._cut_at is not None and self._cut_at in data.upper():
                    self._cut_at = None
                    self.cuts += 1
                    if self._after_the_answer:
                        far.sendall(data)
                        assert far.recv(65536)
                    return
                (far if source is near else near).sendall(data)


def address() -> tuple[str, int]:
    """Return where the database of the running test listens."""
    port = {"postgresql": 5432, "mysql": 3306}[connection.vendor]
    return connection.settings_dict["HOST"] or "127.0.0.1", int(connection.settings_dict["PORT"] or port)


@contextmanager
def through_a_wire(change: Callable[[Any, str, Any], None]) -> Iterator[Wire]:
    """Have this process talk to its database through a wire; `change` sets an item of a dict for the test."""
    wire = Wire(address())
    settings = connection.settings_dict
    change(settings, "HOST", "127.0.0.1")
    change(settings, "PORT", str(wire.port))
    if connection.vendor == "postgresql":  # in plain text, so that a COMMIT can be seen
        change(settings, "OPTIONS", {**settings["OPTIONS"], "sslmode": "disable"})
    connection.close()
    try:
        yield wire
    finally:
        connection.close()
        wire.down()
