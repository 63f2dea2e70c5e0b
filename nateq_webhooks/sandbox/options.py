"""Checks of a sandbox's options; the error for a wrong one says what is valid."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Final

from nateq_webhooks.sandbox.api import Network
from nateq_webhooks.sandbox.keys import Key
from nateq_webhooks.sandbox.resources import OPERATIONS
from nateq_webhooks.sandbox.sandbox_errors import SandboxError

_MIN: Final = {
    "retry_base": 0.0,
    "retry_longest": 0.0,
    "attempts": 1,
    "timeout": 0.01,
    "senders": 1,
    "rate_limit": 1,
}
_MAX: Final = {
    "retry_base": 86_400.0,
    "retry_longest": 7 * 86_400.0,
    "attempts": 100,
    "timeout": 600.0,
    "senders": 64,
    "rate_limit": 1_000_000,
}
_EVENT: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")


def check_numbers(**numbers: float) -> None:
    """Refuse a number out of its range. Raises `SandboxError`."""
    for name, value in numbers.items():
        if not _MIN[name] <= value <= _MAX[name]:
            raise SandboxError(f"{name} must be from {_MIN[name]:g} to {_MAX[name]:g}, not {value!r}.")


def read_keys(key: str | Iterable[str] | None) -> tuple[Key, ...]:
    """Parse one key or several, or generate one. Raises `SandboxError`."""
    texts = [key] if isinstance(key, str) else list(key or ())
    return tuple(Key.parse(text) for text in texts) or (Key.generate(),)


def read_events(events: Mapping[str, str]) -> dict[str, str]:
    """Check the names of events that are added to the catalogue. Raises `SandboxError`."""
    for name in events:
        if not _EVENT.fullmatch(name):
            raise SandboxError(f"{name!r} is not the name of an event: write it like ticket.merged.")
    return dict(events)


def read_networks(texts: Iterable[str]) -> list[Network]:
    """Read the addresses and networks that keys may be used from. Raises `SandboxError`."""
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise SandboxError(f"{text!r} is neither an IP address nor a network like 10.0.0.0/8.") from error
    return networks


def read_operations(names: Iterable[str]) -> frozenset[str]:
    """Check the names of operations that are withheld. Raises `SandboxError`."""
    possible = [operation.name for operation in OPERATIONS if not operation.is_ours]
    withheld = frozenset(names)
    if unknown := sorted(withheld - set(possible)):
        raise SandboxError(f"{', '.join(unknown)} can't be withheld. The operations are {', '.join(possible)}.")
    return withheld


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def host_names(host: str) -> frozenset[str]:
    """Return the host names of the screen; empty (any name) if other machines can reach it."""
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if is_loopback(host) else frozenset()
