"""`Sandbox`: starts the process of a sandbox, controls it, and ends it."""

import json
import os
import secrets
import subprocess
import sys
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from nateq_webhooks.protocol.api import API_PATH, LIMIT_PER_MINUTE, TEST_KEY_PREFIX
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.control import Control, ControlledFaults, ControlledWebhooks, attempt_of
from nateq_webhooks.sandbox.keys import Key
from nateq_webhooks.sandbox.log import Attempt
from nateq_webhooks.sandbox.options import LOOPBACK, MEMORY, Options
from nateq_webhooks.sandbox.sandbox_errors import NotDeliveredError, SandboxError
from nateq_webhooks.sandbox.schedule import LONGEST_SECONDS

_SECONDS_TO_END: Final = 10.0


class Sandbox:
    """A local Nateq in a process of its own, which ends with this one. A context manager: it runs inside the `with`.

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
        options = Options.checked(
            key,
            host=host,
            port=port,
            database=database,
            retry_base=retry_base,
            retry_longest=retry_longest,
            attempts=attempts,
            timeout=timeout,
            senders=senders,
            rate_limit=rate_limit,
            seed=seed,
            faults=faults,
            events=events,
            allow_ips=allow_ips,
            withhold=withhold,
        )
        self._launch(options)

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Return a sandbox with these options. Raises `SandboxError` if it can't listen or use its database."""
        sandbox = cls.__new__(cls)
        sandbox._launch(options)  # noqa: SLF001 - of this class
        return sandbox

    def _launch(self, options: Options) -> None:
        """Start the process, which listens but answers nothing before `start`."""
        self.key = Key.parse(options.keys[0]).text
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "nateq_webhooks.sandbox", "--controlled"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(),
        )
        self._end = weakref.finalize(self, _end, self._process)
        token = secrets.token_urlsafe(32)
        # By the standard input, because others on this machine can see a program's arguments. It stays open: the
        # process ends when this one has ended, however that happened.
        try:
            ready = self._tell({"options": options.as_json(), "token": token})
        except SandboxError:
            self._end()
            raise
        self.url: str = ready["url"]
        """The URL of the settings screen."""
        self._control = Control(ready["host"], ready["port"], token)
        self.webhooks = ControlledWebhooks(self._control)
        self.faults = ControlledFaults(self._control)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server and the sender; deliveries that an earlier process left in the file are sent first."""
        self._tell({"start": True})

    def stop(self) -> None:
        """Stop. Undelivered events stay in the database file, and are sent after the next start."""
        self._end()

    def reset(self) -> None:
        """Put everything back as it was at the start, without the time that a new process takes.

        Deletes every webhook, delivery and attempt, sets the faults that were given and begins the seed and the rate
        limit's minute again. An attempt that is being made ends without an entry in the log.
        """
        self._control.call("reset")

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def base_url(self) -> str:
        """The URL of the API, for a client."""
        return self.url + API_PATH

    @property
    def log(self) -> list[Attempt]:
        """Every attempt at every delivery, newest first."""
        return [attempt_of(each) for each in self._control.call("log")]

    def send(self, event: str, data: object = None, count: int = 1, *, webhook_id: str | None = None) -> list[str]:
        """Accept an event, `count` times, for every active webhook that subscribes to it; return the delivery ids.

        Without `data` each event gets a different example. With `webhook_id` it is sent only to that webhook.
        """
        ids: list[str] = self._control.call("send", event=event, data=data, count=count, webhook_id=webhook_id)
        return ids

    def wait_until_delivered(self, timeout: float = 10.0) -> None:
        """Wait until all accepted events are delivered, except those that a fault dropped.

        Raises `NotDeliveredError` after `timeout` seconds, or when a delivery has no attempts left.
        """
        found = self._control.call("wait", seconds=timeout + 60.0, timeout=timeout)
        if found["undelivered"]:
            states = ", ".join(f"{count} {state}" for state, count in found["undelivered"].items())
            raise NotDeliveredError(
                f"Not everything was delivered within {timeout:g} s: {states}, {found['delivered']} delivered. "
                f"The last answer: {found['last_answer'][:200]}"
            )

    def _tell(self, document: dict[str, Any]) -> dict[str, Any]:
        """Write a line to the process and return its answer. Raises `SandboxError` for a refusal or no answer."""
        line = b""
        try:
            if self._process.stdin and self._process.stdout:
                self._process.stdin.write(json.dumps(document).encode() + b"\n")
                self._process.stdin.flush()
                line = self._process.stdout.readline()
        except (OSError, ValueError):  # it has ended: there is nobody to read, or the pipe was closed by `stop`
            line = b""
        if not line:
            raise SandboxError("The sandbox's process has ended; its error output says why.")
        answer = load_object(line)
        if "error" in answer:
            raise SandboxError(answer["error"])
        return answer


def _environment() -> dict[str, str]:
    """Return the environment of the process: it finds the modules that this one finds, and no settings of the site."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return environment | {"PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path)}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process: at the end of its input it finishes what it records; one that does not is killed."""
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout:
        process.stdout.close()
