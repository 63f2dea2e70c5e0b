"""What a request brought beside its body: bounded headers without secrets, and the sender's address."""

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.content_length import AT_LEAST, ContentLengthError, content_length
from nateq_webhooks.protocol.signatures import MAX_HEADER_CHARS

MAX_HEADERS: Final = 60
"""Headers kept; a genuine request has about ten."""

MAX_NAME_CHARS: Final = 100
MAX_VALUE_CHARS: Final = MAX_HEADER_CHARS
"""The longest signature that is looked at, so that it is kept whole: the stored bytes can be verified again."""
MAX_TOTAL_BYTES: Final = 8_192
"""What servers commonly accept for all headers together."""

MAX_ADDRESS_CHARS: Final = 64

REDACTED: Final = "[redacted]"

_SECRET_PARTS: Final = ("authorization", "cookie", "token", "secret", "key", "password", "credential")


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One request at the door: the exact bytes, where they came from, and WSGI's or ASGI's `META`."""

    body: bytes
    meta: Mapping[str, Any]
    remote_addr: str | None


def kept_headers(meta: Mapping[str, Any], signature_key: str) -> dict[str, str]:
    """Return the headers to store, by their usual names, bounded in count and bytes (as UTF-8).

    The signature comes first, so that no flood of others drops it: the stored bytes can be verified again. The values
    of headers that may carry a secret are replaced.
    """
    kept: dict[str, str] = {}
    left = MAX_TOTAL_BYTES
    for key in (signature_key, *meta):
        name = header_name(key)
        if name is None or name in kept:
            continue
        value = meta[key]
        if key != signature_key and may_be_secret(key):
            value = REDACTED
        value = column_text(str(value), MAX_VALUE_CHARS)
        left -= len(name) + (len(value) if value.isascii() else len(value.encode()))
        if left < 0 or len(kept) == MAX_HEADERS:
            break
        kept[name] = value
    return kept


def header_names(meta: Mapping[str, Any]) -> list[str]:
    """Return the names of the request's headers, bounded in count and characters, without a value."""
    names = (header_name(key) for key in meta)
    return list(itertools.islice(filter(None, names), MAX_HEADERS))


def declared_size(meta: Mapping[str, Any]) -> int | None:
    """Return how many bytes the request says that its body has; None when it says nothing that can be true."""
    try:
        declared = content_length(meta.get("CONTENT_LENGTH"))
    except ContentLengthError:
        return None
    return None if declared == AT_LEAST else declared


@functools.lru_cache(maxsize=256)
def header_name(key: str) -> str | None:
    """Return `X-Nateq-Signature` for `HTTP_X_NATEQ_SIGNATURE`; None for what is no header."""
    if key.startswith("HTTP_"):
        key = key[5:]
    elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return None
    return column_text(key.replace("_", "-").title(), MAX_NAME_CHARS)


@functools.lru_cache(maxsize=256)
def may_be_secret(key: str) -> bool:
    """Say whether a header of this name may carry a secret: such a value is neither stored nor shown."""
    lower = key.lower()
    return any(part in lower for part in _SECRET_PARTS)


def remote_address(meta: Mapping[str, Any], trusted_proxies: int) -> str | None:
    """Return the sender's address: the peer's, or what the outermost of so many trusted proxies saw.

    Each proxy appends the address it saw to X-Forwarded-For, so only that many entries from the right can be believed.
    None when there is none, as on a unix socket.
    """
    address = str(meta.get("REMOTE_ADDR") or "")
    if trusted_proxies:
        forwarded = [entry.strip() for entry in str(meta.get("HTTP_X_FORWARDED_FOR", "")).split(",")]
        if len(forwarded) >= trusted_proxies and forwarded[-trusted_proxies]:
            address = forwarded[-trusted_proxies]
    return column_text(address, MAX_ADDRESS_CHARS) or None
