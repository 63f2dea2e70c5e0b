"""A sandbox that runs in this process: its options, its parts, and their start and end."""

import secrets
import threading
import time
from pathlib import Path
from typing import Any, Final

from django.core.wsgi import get_wsgi_application
from django.urls import resolve

from nateq_webhooks.protocol.api import API_PATH
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.options import Options
from nateq_webhooks.sandbox.site import database, deliveries
from nateq_webhooks.sandbox.site.deliveries import Deliveries
from nateq_webhooks.sandbox.site.sender import Sender
from nateq_webhooks.sandbox.site.server import Server
from nateq_webhooks.sandbox.site.webhooks import Webhooks

_ENVIRON_KEY: Final = "nateq_webhooks.sandbox"


class Running:
    """The sandbox of this process. `token` protects the control channel; without one there is none.

    Raises `SandboxError` if it can't use the database or can't listen.
    """

    def __init__(self, options: Options, file: Path, token: str = "") -> None:
        self.options = options
        self.token = token
        self.keys = options.parsed_keys()
        self.networks = options.networks()
        self.catalogue = EVENTS | dict(options.events)
        self.faults = Faults(options.seed)
        self.faults.update(dict(options.faults))
        self.webhooks = Webhooks(self.catalogue)
        self.deliveries = Deliveries(self.webhooks, self.faults, self.catalogue)
        self._lock = database.Lock(file)
        try:
            database.prepare(file)
            self.server = Server(options.host, options.port, get_wsgi_application())
        except BaseException:
            self._lock.release()
            raise
        self.server.base_environ[_ENVIRON_KEY] = self
        self.sender = Sender(options, self.faults)
        self.stopping = threading.Event()
        self._began = time.monotonic()
        self._stopped_at: float | None = None
        self.quota_name = secrets.token_hex(8)
        """Under which requests are counted in the cache; another one begins at 0."""

    def start(self) -> None:
        """Start the server and the sender; deliveries that an earlier process left in the file are sent first."""
        deliveries.recover()
        resolve(API_PATH)  # loads the views now, so that the first request does not wait for that
        self.sender.start()
        self.server.start()

    def stop(self) -> None:
        """Stop. Undelivered events stay in the database file."""
        self.stopping.set()
        self.server.stop()
        self.sender.stop()
        self._lock.release()

    def reset(self) -> None:
        """Put everything back as it was at the start."""
        database.empty()
        self.faults.restart(self.options.seed)
        self.faults.update(dict(self.options.faults))
        self.sender.restart(self.options.seed)
        self._began = time.monotonic()
        self._stopped_at = None
        self.quota_name = secrets.token_hex(8)

    def clock(self) -> float:
        """Return the seconds since the start, by which requests are counted: minutes begin with it."""
        return time.monotonic() - self._began if self._stopped_at is None else self._stopped_at

    def stop_clock(self, seconds: float) -> None:
        """Let the rate limit's clock show this time until the next reset."""
        self._stopped_at = seconds

    def active_faults(self) -> list[Fault]:
        """Return the faults that can happen."""
        return [fault for fault, switch in self.faults.current().items() if switch.is_on]


def running(request: Any) -> Running:
    """Return the sandbox that serves a request."""
    found: Running = request.META[_ENVIRON_KEY]
    return found
