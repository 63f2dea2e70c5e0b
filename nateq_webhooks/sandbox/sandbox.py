"""The sandbox: database, sender and server, started and stopped together."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nateq_webhooks.protocol.api import API_PATH, LIMIT_PER_MINUTE, TEST_KEY_PREFIX
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.sandbox.api import Api
from nateq_webhooks.sandbox.database import MEMORY, Database
from nateq_webhooks.sandbox.deliveries import Deliveries, State
from nateq_webhooks.sandbox.exchange import Request, Response
from nateq_webhooks.sandbox.faults import Fault, Faults
from nateq_webhooks.sandbox.log import Attempt, Log
from nateq_webhooks.sandbox.options import (
    check_numbers,
    host_names,
    read_events,
    read_keys,
    read_networks,
    read_operations,
)
from nateq_webhooks.sandbox.resources import Resources
from nateq_webhooks.sandbox.sandbox_errors import NotDeliveredError, SandboxError
from nateq_webhooks.sandbox.schedule import LONGEST_SECONDS, Schedule
from nateq_webhooks.sandbox.screen import Screen
from nateq_webhooks.sandbox.sender import Sender
from nateq_webhooks.sandbox.server import Server
from nateq_webhooks.sandbox.webhooks import Webhooks

LOOPBACK: Final = "127.0.0.1"
_UNDELIVERED: Final = (State.PENDING, State.HELD, State.SENDING, State.FAILED)


class Sandbox:
    """A local Nateq. As a context manager it runs inside the `with` and is closed after it.

    `key` is one key or several, each like `tg_test_local`, `tg_test_local:webhooks:manage,tickets:read` or
    `tg_test_local@org_2`, which belongs to another organization; without one a key is generated. Port 0 uses a free
    port. Times are in seconds. A `seed` makes the jitter of retries and the random faults repeatable. `events` are
    added to the catalogue (name and description), `allow_ips` are the addresses or networks that keys may be used
    from, `withhold` names operations of the API that respond with `ENDPOINT_NOT_PUBLIC`. Raises `SandboxError` for a
    value that is not valid.
    """

    def __init__(
        self,
        key: str | Iterable[str] | None = None,
        *,
        host: str = LOOPBACK,
        port: int = 0,
        database: str | Path = MEMORY,
        retry_base: float = 10.0,
        retry_longest: float = LONGEST_SECONDS,
        attempts: int = 10,
        timeout: float = 10.0,
        senders: int = 8,
        rate_limit: int = LIMIT_PER_MINUTE[TEST_KEY_PREFIX],
        seed: int | None = None,
        faults: Mapping[str, Any] | None = None,
        events: Mapping[str, str] | None = None,
        allow_ips: Iterable[str] = (),
        withhold: Iterable[str] = (),
    ) -> None:
        check_numbers(
            retry_base=retry_base,
            retry_longest=retry_longest,
            attempts=attempts,
            timeout=timeout,
            senders=senders,
            rate_limit=rate_limit,
        )
        keys = read_keys(key)
        self.key = keys[0].text
        self.faults = Faults(seed)
        self.faults.update(dict(faults or {}))
        catalogue = EVENTS | read_events(events or {})
        allowed = read_networks(allow_ips)
        withheld = read_operations(withhold)
        self._database = Database(database)
        try:
            self._server = Server(host, port, self._respond)
        except SandboxError:
            self._database.close()
            raise
        self.webhooks = Webhooks(self._database, catalogue)
        self._deliveries = Deliveries(self._database, self.webhooks, self.faults, catalogue)
        self._log = Log(self._database)
        schedule = Schedule(base=retry_base, longest=retry_longest, attempts=attempts)
        self._sender = Sender(
            self.webhooks,
            self._deliveries,
            self._log,
            self.faults,
            schedule,
            timeout=timeout,
            threads=senders,
            seed=seed,
        )
        resources = Resources(
            webhooks=self.webhooks,
            deliveries=self._deliveries,
            log=self._log,
            faults=self.faults,
            catalogue=catalogue,
            wake=self._sender.wake,
        )
        self._api = Api(
            resources,
            self.faults,
            keys,
            rate_limit=rate_limit,
            allowed=allowed,
            withheld=withheld,
            hosts=host_names(host),
        )
        shared_context = {
            "base_url": self.base_url,
            "keys": keys,
            "catalogue": catalogue,
            "active_faults": self._active_faults,
        }
        self._screen = Screen(resources, shared_context, host_names(host))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and the sender; deliveries that an earlier process left in the file are sent first."""
        self._deliveries.recover()
        self._sender.start()
        self._server.start()

    def stop(self) -> None:
        """Stop. Undelivered events stay in the database file, and are sent after the next start."""
        self._server.close()
        self._sender.stop()
        self._database.close()

    @property
    def url(self) -> str:
        """The URL of the settings screen."""
        name, port = self._server.server_name, self._server.server_port
        if name in ("0.0.0.0", "::"):  # noqa: S104 - listens everywhere, is reached here
            name = LOOPBACK
        return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"

    @property
    def base_url(self) -> str:
        """The URL of the API, for a client."""
        return self.url + API_PATH

    @property
    def log(self) -> list[Attempt]:
        """Every attempt at every delivery, newest first."""
        return self._log.all()

    def send(self, event: str, data: object = None, count: int = 1, *, webhook_id: str | None = None) -> list[str]:
        """Accept an event, `count` times, for every active webhook that subscribes to it; return the delivery ids.

        Without `data` each event gets a different example. With `webhook_id` it is sent only to that webhook.
        """
        ids = self._deliveries.accept(event, data, count, webhook_id)
        self._sender.wake()
        return ids

    def wait_until_delivered(self, timeout: float = 10.0) -> None:
        """Wait until all accepted events are delivered, except those that a fault dropped.

        Raises `NotDeliveredError` after `timeout` seconds, or when a delivery has no attempts left.
        """
        deadline = time.monotonic() + timeout
        with self._sender.changed:
            while self._deliveries.has(State.PENDING, State.HELD, State.SENDING):
                left = deadline - time.monotonic()
                if left <= 0 or self._deliveries.has(State.FAILED):
                    break
                self._sender.changed.wait(left)
        counts = self._deliveries.counts()
        undelivered = {state: counts[state] for state in _UNDELIVERED if counts[state]}
        if undelivered:
            states = ", ".join(f"{count} {state}" for state, count in undelivered.items())
            last = next((attempt.response_body for attempt in self.log if attempt.response_body), "none")
            raise NotDeliveredError(
                f"Not everything was delivered within {timeout:g} s: {states}, {counts[State.DELIVERED]} delivered. "
                f"The last answer: {last[:200]}"
            )

    def _respond(self, request: Request) -> Response:
        if request.path == API_PATH or request.path.startswith(f"{API_PATH}/"):
            return self._api.respond(request)
        return self._screen.respond(request)

    def _active_faults(self) -> list[Fault]:
        return [fault for fault, switch in self.faults.current().items() if switch.is_on]
