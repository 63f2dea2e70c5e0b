"""The control channel: how a test in another process reads and changes a sandbox.

It is a path of the sandbox's server that a random token protects. Faults and limits do not apply to it.
"""

import json
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from nateq_webhooks.protocol.api import LogStatus
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.sandbox.faults import Fault, Switch
from nateq_webhooks.sandbox.log import Attempt
from nateq_webhooks.sandbox.sandbox_errors import InvalidError, SandboxError, StoppedError
from nateq_webhooks.sandbox.webhooks import SandboxWebhook

CONTROL_PATH: Final = "/_control"

_SECONDS: Final = 60.0
"""How long to wait for the answer to a call that does not wait for anything itself."""


class Control:
    """Calls a sandbox on this machine."""

    def __init__(self, host: str, port: int, token: str) -> None:
        self._address = host, port
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, name: str, *, seconds: float = _SECONDS, **arguments: Any) -> Any:
        """Call an operation and return its result.

        Raises `InvalidError` if the sandbox refuses the arguments, and `StoppedError` if it does not answer.
        """
        try:
            body = json.dumps({"call": name, "arguments": arguments})
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidError({"data": "must be JSON, and not nested too deep."}) from error
        connection = HTTPConnection(*self._address, timeout=seconds)
        try:
            connection.request("POST", CONTROL_PATH, body, self._headers)
            response = connection.getresponse()
            document = load_object(response.read()) if response.status == 200 else {}
        except (OSError, HTTPException, ValueError) as error:
            raise StoppedError(f"The sandbox does not answer ({type(error).__name__}); it may have stopped.") from error
        finally:
            connection.close()
        if "invalid" in document:
            raise InvalidError(document["invalid"])
        if "result" not in document:
            raise SandboxError(f"The sandbox failed at {name}; its error output says why.")
        return document["result"]


class ControlledWebhooks:
    """The webhooks of all organizations, which a test reads and changes without a key."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def create(self, url: object, events: object) -> SandboxWebhook:
        """Create a webhook with a new secret. Raises `InvalidError`, which names the fields."""
        return _webhook(self._control.call("create_webhook", url=url, events=events))

    def all(self) -> list[SandboxWebhook]:
        """Return every webhook, newest first."""
        return [_webhook(each) for each in self._control.call("webhooks")]

    def get(self, webhook_id: str) -> SandboxWebhook | None:
        """Return the webhook with this id, or None."""
        return _webhook_or_none(self._control.call("webhook", webhook_id=webhook_id))

    def update(self, webhook_id: str, changes: dict[str, object]) -> SandboxWebhook | None:
        """Change `url`, `events` and `is_active` if they are given; other keys are ignored.

        Returns the changed webhook, or None if it does not exist. Raises `InvalidError`.
        """
        return _webhook_or_none(self._control.call("update_webhook", webhook_id=webhook_id, changes=changes))

    def rotate_secret(self, webhook_id: str) -> SandboxWebhook | None:
        """Give the webhook a new secret, which signs every later attempt, retries too. None if it does not exist."""
        return _webhook_or_none(self._control.call("rotate_secret", webhook_id=webhook_id))

    def delete(self, webhook_id: str) -> bool:
        """Delete the webhook with its deliveries and its log; False if it does not exist."""
        return bool(self._control.call("delete_webhook", webhook_id=webhook_id))


class ControlledFaults:
    """The fault switches of a sandbox."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def set(self, fault: str, *, rate: float = 0.0, count: int = 0, seconds: float | None = None) -> None:
        """Let `fault` happen the next `count` times, and after that with the probability `rate` (0 to 1).

        `seconds` is the length of a delay, the longest time that a reordered delivery is held, or the Retry-After.
        Raises `SandboxError` for an unknown fault or a value out of range.
        """
        self.update({fault: {"rate": rate, "count": count, "seconds": seconds}})

    def update(self, wanted: dict[str, Any]) -> None:
        """Set several switches by name: all of them, or none. Raises `SandboxError` as `set` does."""
        self._control.call("set_faults", wanted=wanted)

    def clear(self) -> None:
        """Switch every fault off."""
        self._control.call("clear_faults")

    def current(self) -> dict[Fault, Switch]:
        """Return the current setting of each fault."""
        return {Fault(name): Switch(**values) for name, values in self._control.call("faults").items()}

    def seconds(self, fault: Fault) -> float:
        """Return the time that goes with `fault`."""
        return self.current()[fault].seconds


def attempt_of(document: dict[str, Any]) -> Attempt:
    """Return an entry of the log that the sandbox sent."""
    faults = tuple(Fault(name) for name in document["faults"])
    return Attempt(**document | {"status": LogStatus(document["status"]), "faults": faults})


def _webhook(document: dict[str, Any]) -> SandboxWebhook:
    return SandboxWebhook(**document | {"events": tuple(document["events"])})


def _webhook_or_none(document: dict[str, Any] | None) -> SandboxWebhook | None:
    return None if document is None else _webhook(document)
