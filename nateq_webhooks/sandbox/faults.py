"""The fault switches: errors that the sandbox makes on request."""

import random
import threading
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.sandbox.sandbox_errors import InvalidError, SandboxError


class Fault(StrEnum):
    """The faults that can be switched on. The first six happen to a delivery, the others to a request to the API."""

    DROP = "drop"
    """The delivery is never sent; the log says `dropped`."""
    DUPLICATE = "duplicate"
    """The delivery is sent twice at the same time, with one delivery id."""
    REORDER = "reorder"
    """The delivery is held until a later one was sent, at most for `seconds`."""
    DELAY = "delay"
    """The first attempt is made `seconds` late."""
    CORRUPT_SIGNATURE = "corrupt_signature"
    """An attempt has a wrong signature; decided for each attempt."""
    NEW_ID = "new_id"
    """Every retry of the delivery has a different delivery id."""
    API_401 = "api_401"
    """The API answers 401 AUTHENTICATION_FAILED to a valid key."""
    API_403 = "api_403"
    """The API answers 403 INSUFFICIENT_PERMISSION to a valid key."""
    API_429 = "api_429"
    """The API answers 429 with `seconds` as Retry-After."""
    API_500 = "api_500"
    """The API answers 500 and does nothing."""
    LOSE_CREATE_ANSWER = "lose_create_answer"
    """The API creates the webhook and closes the connection without a response."""


DEFAULT_SECONDS: Final = {Fault.DELAY: 5.0, Fault.REORDER: 5.0, Fault.API_429: 1.0}
"""The faults that take a time, with its default."""

_MAX_SECONDS: Final = 86_400.0
_MAX_COUNT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """How often a fault happens: the next `count` times, then with the probability `rate`."""

    rate: float = 0.0
    count: int = 0
    seconds: float = 0.0

    @property
    def is_on(self) -> bool:
        """Whether the fault can happen."""
        return self.count > 0 or self.rate > 0

    def as_json(self) -> dict[str, float]:
        """Return the switch as the API shows it."""
        return {"rate": self.rate, "count": self.count, "seconds": self.seconds}


class Faults:
    """All switches, initially off. Each fault has its own random numbers, which a seed makes repeatable."""

    def __init__(self, seed: int | None = None) -> None:
        self._lock = threading.Lock()
        self.restart(seed)

    def restart(self, seed: int | None) -> None:
        """Switch every fault off, and begin the random numbers again."""
        with self._lock:
            self._dice = {
                fault: random.Random(None if seed is None else f"{seed}/{fault}")  # noqa: S311 - faults, not secrets
                for fault in Fault
            }
            self._switches = {fault: _off(fault) for fault in Fault}

    def set(self, fault: str, *, rate: float = 0.0, count: int = 0, seconds: float | None = None) -> None:
        """Let `fault` happen the next `count` times, and after that with the probability `rate` (0 to 1).

        `seconds` is the length of a delay, the longest time that a reordered delivery is held, or the Retry-After.
        Raises `SandboxError` for an unknown fault or a value out of range.
        """
        self.update({fault: {"rate": rate, "count": count, "seconds": seconds}})

    def update(self, wanted: dict[str, Any]) -> None:
        """Set several switches by name from values that came from outside: all of them, or none."""
        switches: dict[Fault, Switch] = {}
        problems: dict[str, str] = {}
        for name, values in wanted.items():
            try:
                fault = Fault(name)
                switches[fault] = _switch(fault, values)
            except SandboxError as error:
                problems[name] = str(error)
            except ValueError:
                problems[name] = f"is not a fault. The faults are {', '.join(Fault)}."
        if problems:
            raise InvalidError(problems)
        with self._lock:
            self._switches.update(switches)

    def clear(self) -> None:
        """Switch every fault off."""
        with self._lock:
            self._switches = {fault: _off(fault) for fault in Fault}

    def happens(self, fault: Fault) -> bool:
        """Roll the dice for `fault` once; a strike uses up one of its `count`."""
        with self._lock:
            switch = self._switches[fault]
            if switch.count:
                self._switches[fault] = Switch(rate=switch.rate, count=switch.count - 1, seconds=switch.seconds)
                return True
            return switch.rate > 0 and self._dice[fault].random() < switch.rate

    def seconds(self, fault: Fault) -> float:
        """Return the time that goes with `fault`."""
        return self._switches[fault].seconds

    def current(self) -> dict[Fault, Switch]:
        """Return the current setting of each fault."""
        with self._lock:
            return dict(self._switches)


def parse(text: str) -> tuple[str, dict[str, Any]]:
    """Read a switch from a command line: `drop`, `drop:count=3`, `delay:rate=0.1,seconds=5`."""
    name, _, settings = text.partition(":")
    if not settings:
        return name, {"rate": 1.0}
    values: dict[str, Any] = {}
    for part in settings.split(","):
        key, _, value = part.partition("=")
        try:
            values[key.strip()] = int(value) if key.strip() == "count" else float(value)
        except ValueError:
            raise SandboxError(
                f"The fault {text!r} can't be read: write it like drop:count=3 or delay:rate=0.1,seconds=5."
            ) from None
    return name, values


def _off(fault: Fault) -> Switch:
    return Switch(seconds=DEFAULT_SECONDS.get(fault, 0.0))


def _switch(fault: Fault, values: object) -> Switch:
    if not isinstance(values, dict) or values.keys() - {"rate", "count", "seconds"}:
        raise SandboxError("must be an object with nothing but rate, count and seconds.")
    rate, count, seconds = values.get("rate", 0.0), values.get("count", 0), values.get("seconds")
    if not _is_number(rate) or not 0 <= rate <= 1:
        raise SandboxError(f"rate must be a number from 0 to 1, not {rate!r}.")
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= _MAX_COUNT:
        raise SandboxError(f"count must be a whole number from 0 to {_MAX_COUNT}, not {count!r}.")
    if seconds is None:
        seconds = DEFAULT_SECONDS.get(fault, 0.0)
    elif not _is_number(seconds) or not 0 <= seconds <= _MAX_SECONDS:
        raise SandboxError(f"seconds must be a number from 0 to {_MAX_SECONDS:g}, not {seconds!r}.")
    elif seconds and fault not in DEFAULT_SECONDS:
        raise SandboxError("takes no seconds.")
    return Switch(rate=float(rate), count=count, seconds=float(seconds))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
