"""The options of a sandbox and their checks; the error for a wrong one says what is valid."""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, Self

from nateq_webhooks.protocol.api import LIMIT_PER_MINUTE, TEST_KEY_PREFIX
from nateq_webhooks.sandbox.faults import Faults
from nateq_webhooks.sandbox.keys import Key
from nateq_webhooks.sandbox.sandbox_errors import SandboxError
from nateq_webhooks.sandbox.schedule import LONGEST_SECONDS

LOOPBACK: Final = "127.0.0.1"
MEMORY: Final = ":memory:"

OPERATIONS: Final = ("events", "list", "create", "get", "update", "delete", "rotate_secret", "logs")
"""The operations of Nateq's API, which can be withheld by name."""

_RANGES: Final = {
    "port": (0, 65_535),
    "retry_base": (0.0, 86_400.0),
    "retry_longest": (0.0, 7 * 86_400.0),
    "attempts": (1, 100),
    "timeout": (0.01, 600.0),
    "senders": (1, 64),
    "rate_limit": (1, 1_000_000),
}
_EVENT: Final = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The options of a sandbox, each valid by itself. Times are in seconds."""

    keys: tuple[str, ...] = field(repr=False)
    host: str = LOOPBACK
    port: int = 0
    database: str = MEMORY
    retry_base: float = 10.0
    retry_longest: float = LONGEST_SECONDS
    attempts: int = 10
    timeout: float = 10.0
    senders: int = 8
    rate_limit: int = LIMIT_PER_MINUTE[TEST_KEY_PREFIX]
    seed: int | None = None
    faults: Mapping[str, Any] = field(default_factory=dict)
    events: Mapping[str, str] = field(default_factory=dict)
    allow_ips: tuple[str, ...] = ()
    withhold: tuple[str, ...] = ()
    verbose: bool = False

    @classmethod
    def checked(cls, key: str | Iterable[str] | None, **options: Any) -> Self:
        """Return the options. Generates a key if there is none. Raises `SandboxError` for a value that is not valid."""
        for name, (least, most) in _RANGES.items():
            if name in options and not least <= options[name] <= most:
                raise SandboxError(f"{name} must be from {least:.15g} to {most:.15g}, not {options[name]!r}.")
        keys = (key,) if isinstance(key, str) else tuple(key or ())
        for text in keys:
            Key.parse(text)
        for name in options.get("events") or {}:
            if not _EVENT.fullmatch(name):
                raise SandboxError(f"{name!r} is not the name of an event: write it like ticket.merged.")
        withheld = tuple(options.get("withhold", ()))
        if unknown := sorted(set(withheld) - set(OPERATIONS)):
            raise SandboxError(f"{', '.join(unknown)} can't be withheld. The operations are {', '.join(OPERATIONS)}.")
        Faults().update(dict(options.get("faults") or {}))
        values: dict[str, Any] = {
            **options,
            "keys": keys or (Key.generate().text,),
            "database": _path(options.get("database", MEMORY)),
            "faults": dict(options.get("faults") or {}),
            "events": dict(options.get("events") or {}),
            "allow_ips": tuple(options.get("allow_ips", ())),
            "withhold": withheld,
        }
        made = cls(**values)
        made.networks()
        return made

    def as_json(self) -> dict[str, Any]:
        """Return the options for the process that runs the sandbox."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the options that `as_json` wrote."""
        values: dict[str, Any] = {each.name: document[each.name] for each in fields(cls)}
        values |= {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
        return cls(**values)

    def parsed_keys(self) -> tuple[Key, ...]:
        """Return the keys with their scopes and organizations."""
        return tuple(map(Key.parse, self.keys))

    def networks(self) -> list[Network]:
        """Return the addresses and networks that keys may be used from. Raises `SandboxError`."""
        networks: list[Network] = []
        for text in self.allow_ips:
            try:
                networks.append(ipaddress.ip_network(text, strict=False))
            except ValueError as error:
                raise SandboxError(f"{text!r} is neither an IP address nor a network like 10.0.0.0/8.") from error
        return networks

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the sandbox."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def host_names(self) -> list[str]:
        """Return the host names of the screen and the API: any if other machines can reach them (`ALLOWED_HOSTS`)."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        return ["localhost", LOOPBACK, "[::1]", own] if self.is_loopback else ["*"]


def _path(database: str | Path) -> str:
    """Return where the database is, whatever folder the process starts in."""
    text = str(database)
    return text if text in (MEMORY, "") else str(Path(text).absolute())
