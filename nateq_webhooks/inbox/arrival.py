"""What a request brought beside its body: bounded headers, only known ones in the clear, and the sender's address."""

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nateq_webhooks.conf import settings
from nateq_webhooks.protocol.api import LIVE_KEY_PREFIX, TEST_KEY_PREFIX
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.content_length import AT_LEAST, ContentLengthError, content_length
from nateq_webhooks.protocol.signatures import MAX_HEADER_CHARS, SECRET_PREFIX

MAX_HEADERS: Final = 60
"""Headers kept; a genuine request has about ten."""

MAX_NAME_CHARS: Final = 100
MAX_VALUE_CHARS: Final = MAX_HEADER_CHARS
"""The longest signature that is looked at, so that it is kept whole: the stored bytes can be verified again."""
MAX_TOTAL_BYTES: Final = 8_192
"""What servers commonly accept for all headers together."""

MAX_ADDRESS_CHARS: Final = 64

REDACTED: Final = "[redacted]"

READABLE: Final = frozenset(
    f"HTTP_{name.upper().replace('-', '_')}"
    for name in (
        *("Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection"),
        *("Content-Digest", "Content-Encoding", "Content-Language", "Content-Length", "Content-MD5", "Content-Type"),
        *("Date", "Digest", "Expect", "Forwarded", "Host", "Keep-Alive", "Max-Forwards"),
        *("Origin", "Pragma", "TE", "Traceparent", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent", "Via"),
        *("X-Amzn-Trace-Id", "X-B3-Spanid", "X-B3-Traceid", "X-Cloud-Trace-Context", "X-Correlation-Id"),
        *("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Port", "X-Forwarded-Prefix", "X-Forwarded-Proto"),
        *("X-Nateq-Attempt", "X-Nateq-Delivery", "X-Nateq-Delivery-Id", "X-Nateq-Event", "X-Nateq-Timestamp"),
        *("X-Nateq-Version", "X-Real-IP", "X-Request-Id", "X-Request-Start", "X-Scheme", "CF-Ray", "CF-Connecting-IP"),
    )
) | {"CONTENT_TYPE", "CONTENT_LENGTH"}
"""Headers whose value is kept, as `request.META` names them; any other may carry a credential of whoever sits between
the sender and this site (docs/reference/receiving.md). `READABLE_HEADERS` adds names."""

_CREDENTIAL: Final = re.compile(
    rf"\b(?:bearer|basic|digest|negotiate)\s+\S|{SECRET_PREFIX}|{LIVE_KEY_PREFIX}|{TEST_KEY_PREFIX}|\beyJ[\w-]+\.",
    re.IGNORECASE,
)
"""Credentials in a header of a known name: schemes of Authorization, Nateq's prefixes, JSON web tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """One request at the door: the exact bytes, where they came from, and WSGI's or ASGI's `META`."""

    body: bytes
    meta: Mapping[str, Any]
    remote_addr: str | None


def kept_headers(meta: Mapping[str, Any], signature_key: str) -> dict[str, str]:
    """Return the headers to store, by their usual names, bounded in count and bytes (as UTF-8).

    The signature comes first, so that no flood of others drops it: the stored bytes can be verified again. The values
    of all headers that are not known to be harmless are replaced.
    """
    kept: dict[str, str] = {}
    left = MAX_TOTAL_BYTES
    for key in (signature_key, *meta):
        name = header_name(key)
        if name is None or name in kept:
            continue
        value = column_text(str(meta[key]), MAX_VALUE_CHARS)
        if key != signature_key and is_masked(key, value):
            value = REDACTED
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


def header_name(key: str) -> str | None:
    """Return `X-Nateq-Signature` for `HTTP_X_NATEQ_SIGNATURE`; None for what is no header."""
    return _name_of(key[: MAX_NAME_CHARS + len("HTTP_")])


@functools.lru_cache(maxsize=256)
def _name_of(key: str) -> str | None:
    if key.startswith("HTTP_"):
        key = key[5:]
    elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return None
    return column_text(key.replace("_", "-").title(), MAX_NAME_CHARS)


def is_masked(key: str, value: str) -> bool:
    """Say whether a header's value is neither stored nor shown: its name is not known, or it holds a credential.

    `key` is its name as `request.META` has it.
    """
    if key not in READABLE and key not in settings().readable_keys:
        return True
    return _CREDENTIAL.search(value) is not None


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
