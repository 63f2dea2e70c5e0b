"""The rules for each setting: a rule returns what is wrong with a value and what to do, or None."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

from django.utils.module_loading import import_string

from nateq_webhooks.conf import retention
from nateq_webhooks.protocol.api import LIVE_KEY_PREFIX, TEST_KEY_PREFIX, is_api_key
from nateq_webhooks.protocol.backoff import LONGEST
from nateq_webhooks.protocol.networks import network_problem
from nateq_webhooks.protocol.redaction import ANY, parse_path
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER

Rule = Callable[[Any], tuple[str, str] | None]
"""A rule is called with a value of the right type."""


def _public_url(value: str) -> tuple[str, str] | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        is_fine = (parts.port is None or parts.port > 0) and not any(character.isspace() for character in value)
    except ValueError:
        is_fine = False
    if not is_fine or parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return "not the address of a site", "Write its scheme and host, such as 'https://shop.example'."
    return None


def _api_key(value: str) -> tuple[str, str] | None:
    if not value or is_api_key(value):
        return None
    hint = (
        f"A key starts with {LIVE_KEY_PREFIX!r} or {TEST_KEY_PREFIX!r}; after that it has letters, digits and -._~+/."
    )
    return "not an API key", hint


def _api_keys(value: Mapping[Any, Any]) -> tuple[str, str] | None:
    for name, key in value.items():
        if not isinstance(name, str) or not name.strip() or any(name.startswith(p) for p in _KEY_PREFIXES):
            return "not a dict from names to keys", _API_KEYS_HINT
        if not isinstance(key, str) or not key:
            return f"no key for {name[:200]!r}", _API_KEYS_HINT
        if complaint := _api_key(key):
            return f"the value for {name[:200]!r} is {complaint[0]}", complaint[1]
    return None


_KEY_PREFIXES: Final = (LIVE_KEY_PREFIX, TEST_KEY_PREFIX)
_API_KEYS_HINT: Final = "Write {'org_2': key} or {'shop': key}: an organization's id, or the name of a webhook."


def _secret_keys(value: list[Any]) -> tuple[str, str] | None:
    for key in value:
        if not isinstance(key, str) or len(key) < MIN_KEY_CHARS or len(set(key)) < _MIN_DIFFERENT_CHARS:
            return f"not a list of random texts of at least {MIN_KEY_CHARS} characters", _SECRET_KEYS_HINT
        if key != key.strip():
            return "a list with a key that has white space around it", _SPACE_HINT
    return ("the same key twice", _SECRET_KEYS_HINT) if len(set(value)) < len(value) else None


MIN_KEY_CHARS: Final = 32
"""Random letters and digits of this length have 190 bits (ours: docs/how-to/encrypt-secrets.md)."""

_MIN_DIFFERENT_CHARS: Final = 10
"""Fewer are no random text: 32 random hex digits have 14 different ones on average."""

_SECRET_KEYS_HINT: Final = "Use random texts, as secrets.token_urlsafe(32) makes them."  # noqa: S105 - no secret
_SPACE_HINT: Final = (
    "Strip it, in all processes: with another space it is another key. A list from the environment has none after its "
    "commas."
)


def _base_url(value: str) -> tuple[str, str] | None:
    complaint = _public_url(value)
    if complaint or "@" in value:
        return "not the address of an API", "Write its scheme, host and path, such as 'https://api.nateq.io/api/v1'."
    return None


def header_problem(value: str) -> tuple[str, str] | None:
    """Return what is wrong with the name of an HTTP header and what to do, or None."""
    if value and value.isascii() and value.replace("-", "").isalnum():
        return None
    return "not the name of an HTTP header", f"Use letters, digits and dashes, such as {DEFAULT_HEADER!r}."


def _readable_headers(value: list[Any]) -> tuple[str, str] | None:
    for name in value:
        if not isinstance(name, str) or header_problem(name):
            return "not a list of names of HTTP headers", "Write names such as ['X-Shop-Region']."
    return None


def _max_body_bytes(value: int) -> tuple[str, str] | None:
    if 1 <= value <= 64 * 1024 * 1024:
        return None
    return "out of range", "It counts bytes, from 1 to 67108864 (64 MiB)."


def _trusted_proxies(value: int) -> tuple[str, str] | None:
    return None if 0 <= value <= 10 else ("out of range", "Legal values: 0 to 10.")


def _allowed_networks(value: list[Any]) -> tuple[str, str] | None:
    for entry in value:
        if (problem := network_problem(entry)) is not None:
            text, values = problem
            return text % values, "Write addresses and networks, such as ['192.0.2.7', '198.51.100.0/24']."
    return None


def _max_tries(value: int) -> tuple[str, str] | None:
    return None if 1 <= value <= 1000 else ("out of range", "Legal values: 1 to 1000.")


def _dispatch(value: str) -> tuple[str, str] | None:
    if value in ("inline", "worker", "tasks", "celery"):
        return None
    hint = "Legal values: 'inline', 'worker', 'tasks', 'celery', or the dotted path of a class."
    if "." not in value:
        return "unknown", hint
    try:
        import_string(value)
    except Exception as error:  # noqa: BLE001 - a module of the site may raise anything
        return f"not importable ({error})", hint
    return None


def _tenants(value: str) -> tuple[str, str] | None:
    if not value:
        return None
    hint = "Name a class with current(), all() and activate(), such as 'nateq_webhooks.tenants.DjangoTenants'."
    try:
        named = import_string(value)
    except Exception as error:  # noqa: BLE001 - a module of the site may raise anything
        return f"not importable ({error})", hint
    missing = [name for name in ("current", "all", "activate") if not callable(getattr(named, name, None))]
    return (f"without {missing[0]}()", hint) if missing else None


def _span(value: timedelta) -> tuple[str, str] | None:
    if timedelta() < value <= timedelta(days=365):
        return None
    return "out of range", "Use a positive timedelta of at most 365 days."


def _wait(value: timedelta) -> tuple[str, str] | None:
    return None if not value else _span(value)


def _retry_base(value: timedelta) -> tuple[str, str] | None:
    if timedelta() <= value <= LONGEST:
        return None
    return "out of range", f"Use a timedelta of at most {LONGEST // _HOUR} hours: no wait between two tries is longer."


_HOUR: Final = timedelta(hours=1)


def _years(value: timedelta) -> tuple[str, str] | None:
    if not value or timedelta(days=1) <= value <= timedelta(days=36_500):
        return None
    return "out of range", "Use a timedelta of 1 to 36500 days; timedelta() means for ever."


def _one_of(*legal: str) -> Callable[[str], tuple[str, str] | None]:
    def rule(value: str) -> tuple[str, str] | None:
        return None if value in legal else ("unknown", f"Legal values: {', '.join(map(repr, legal))}.")

    return rule


def _path(value: str) -> tuple[str, str] | None:
    if not value or all(name and name == name.strip() for name in value.split(".")):
        return None
    return "not a path", "Write names with dots between them, such as 'data.conversation_id'."


def redacted_paths(value: Iterable[str | Mapping[str, Any]]) -> Iterator[tuple[tuple[str, ...], bool]]:
    """Yield the paths of a legal `REDACT`, each with whether its values are masked before they are stored."""
    for entry in value:
        text, is_stored = (entry, False) if isinstance(entry, str) else (entry["path"], entry.get("store", False))
        if (path := parse_path(text)) is not None:
            yield path, is_stored


def _redact(value: list[Any]) -> tuple[str, str] | None:
    for entry in value:
        known = {"path": entry} if isinstance(entry, str) else entry
        if not isinstance(known, Mapping) or not isinstance(known.get("path"), str):
            return f"{entry!r} is not a path", _REDACT_HINT
        if unknown := set(known) - {"path", "store"}:
            return f"the entry of {known['path']!r} has the unknown key {min(unknown, key=str)!r}", _REDACT_HINT
        if not isinstance(known.get("store", False), bool):
            return f"'store' of {known['path']!r} is not True or False", _REDACT_HINT
        path = parse_path(known["path"])
        if path is None or any(name != name.strip() for name in path):
            return f"{known['path']!r} is not a path", _REDACT_HINT
        if path[0] in _IN_COLUMNS or path == ("data", "id"):
            hint = "It has a column of its own, which is shown and searched everywhere. Name paths below 'data'."
            return f"{known['path']!r} can't be masked", hint
    return None


_REDACT_HINT: Final = "Write paths such as 'data.requester.email', or {'path': 'data.requester.email', 'store': True}."
_IN_COLUMNS: Final = ("event", "timestamp", "organization_id", "metadata", ANY)
"""What begins a path to the parts of the envelope that identify a delivery."""


def _task_backend(value: str) -> tuple[str, str] | None:
    return None if value else ("empty", "Write a name from the setting TASKS; the usual one is 'default'.")


def _task_queue(value: str) -> tuple[str, str] | None:
    if value == value.strip() and (not value or value.isprintable()):
        return None
    return "not the name of a queue", "Write printable characters with no space around them; empty: the default queue."


def _rate_limits(value: Mapping[Any, Any]) -> tuple[str, str] | None:
    for name, rate in value.items():
        fine = isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0.001 <= rate <= 10_000
        if not isinstance(name, str) or not name or not fine:
            return "not a dict of rates", "Write {'shop.receivers.crm': 5.0}: runs a second, from 0.001 to 10000."
    return None


def _breaker_after(value: int) -> tuple[str, str] | None:
    return None if 0 <= value <= 1_000_000 else ("out of range", "It counts failures; 0 means never.")


RULES: Final[Mapping[str, Rule]] = {
    "PUBLIC_URL": _public_url,
    "SIGNATURE_HEADER": header_problem,
    "READABLE_HEADERS": _readable_headers,
    "SECRET_ENCODING": _one_of("utf-8", "base64"),
    "MAX_BODY_BYTES": _max_body_bytes,
    "TRUSTED_PROXIES": _trusted_proxies,
    "ALLOWED_NETWORKS": _allowed_networks,
    "REPLAY_WINDOW": _wait,
    "REDACT": _redact,
    "DISPATCH": _dispatch,
    "TASK_BACKEND": _task_backend,
    "TASK_QUEUE": _task_queue,
    "RUN_LEASE": _span,
    "RUN_TIMEOUT": _span,
    "RETRY_BASE": _retry_base,
    "RETRY_MAX_AGE": _span,
    "MAX_TRIES": _max_tries,
    "ACK": _one_of("stored", "processed"),
    "ACK_TIMEOUT": _span,
    "ORDERED_BY": _path,
    "ORDER_ON_DEAD": _one_of("skip", "block"),
    "RATE_LIMITS": _rate_limits,
    "BREAKER_AFTER": _breaker_after,
    "BREAKER_PAUSE": _span,
    "IDENTITY": _one_of("delivery_id", "content"),
    "API_KEY": _api_key,
    "API_KEYS": _api_keys,
    "BASE_URL": _base_url,
    "TENANTS": _tenants,
    "ROTATION_OVERLAP": _wait,
    "SECRET_KEYS": _secret_keys,
    "RETENTION": retention.problem,
    "REMOVED_KEPT_FOR": _span,
    "AUDIT_RETENTION": _years,
}

CONFIDENTIAL: Final = ("API_KEY", "API_KEYS", "BASE_URL", "SECRET_KEYS")
"""Settings whose value no message repeats: the keys, and an address that may contain one."""
