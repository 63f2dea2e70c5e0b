"""The request of a sender: its exact body, its headers, its address, and whether its signature is valid.

Nothing of a request is kept before its signature has been verified. What is kept is bounded, and of headers only
known ones are kept with their value.
"""

import functools
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, UnreadablePostError

from nateq_webhooks.conf import settings
from nateq_webhooks.errors import NateqWebhooksError
from nateq_webhooks.inbox.configuration import Configuration
from nateq_webhooks.models.rejection import Refusal as Refusal
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.api import LIVE_KEY_PREFIX, TEST_KEY_PREFIX
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.content_length import AT_LEAST, ContentLengthError, content_length
from nateq_webhooks.protocol.envelope import Envelope, read
from nateq_webhooks.protocol.redaction import MASK
from nateq_webhooks.protocol.signatures import MAX_HEADER_CHARS, SECRET_PREFIX

MAX_HEADERS: Final = 60
"""Headers kept; a genuine request has about ten."""

MAX_NAME_CHARS: Final = 100
MAX_VALUE_CHARS: Final = MAX_HEADER_CHARS
"""As long as the longest signature that is verified, so that the stored bytes can be verified again."""
MAX_TOTAL_BYTES: Final = 8_192
"""What servers commonly accept for all headers together."""

MAX_ADDRESS_CHARS: Final = 64

REDACTED: Final = MASK
"""Replaces the value of a header that may be a credential."""

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
"""Headers whose value is kept, as `request.META` names them. Any other may carry a credential of a proxy between the
sender and this site (docs/reference/receiving.md). `READABLE_HEADERS` adds names."""

_CREDENTIAL: Final = re.compile(
    rf"\b(?:bearer|basic|digest|negotiate)\s+\S|{SECRET_PREFIX}|{LIVE_KEY_PREFIX}|{TEST_KEY_PREFIX}|\beyJ[\w-]+\.",
    re.IGNORECASE,
)
"""Credentials in a header of a known name: schemes of Authorization, Nateq's prefixes, JSON web tokens."""

_CHUNK_BYTES: Final = 64 * 1024


NO_MATCH: Final = signatures.Reason.NO_MATCH
"""The reason for a well-formed signature that none of the secrets made."""

Reason = signatures.Reason | Refusal
"""Why a request is refused."""


UNVERIFIABLE: Final = frozenset((signatures.Reason.NO_MATCH, signatures.Reason.NO_SECRET))
"""The reasons for a well-formed signature: a secret that can't be read now may have made it."""


class BodyMalformedError(NateqWebhooksError):
    """The server can't read the body because it is not valid HTTP, such as a chunk without a size."""


class BodyLostError(NateqWebhooksError):
    """The body is incomplete or was read by other code, so the signature can't be verified."""


@dataclass(frozen=True, kw_only=True, slots=True)
class IncomingRequest:
    """A request to the receiver view: the exact bytes, WSGI's or ASGI's `META`, and the sender's address."""

    body: bytes
    meta: Mapping[str, Any]
    remote_addr: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A request with a valid signature, parsed and ready to be stored."""

    webhook: Configuration
    request: IncomingRequest
    content: Envelope
    key_id: str


def read_request(request: HttpRequest) -> IncomingRequest | Refusal:
    """Read Django's request, or return why it is refused.

    Raises `BodyLostError` and `BodyMalformedError`.
    """
    body = read_body(request, settings().max_body_bytes)
    if isinstance(body, Refusal):
        return body
    return IncomingRequest(
        body=body, meta=request.META, remote_addr=remote_address(request.META, settings().trusted_proxies)
    )


def verify(webhook: Configuration, request: IncomingRequest) -> Verified | Reason:
    """Verify a request's signature and organization, and parse it; else return the reason to refuse it."""
    header = request.meta.get(webhook.signature_meta_key)
    match = signatures.verify(request.body, header, webhook.live_keys(datetime.now(UTC)))
    if isinstance(match, signatures.Mismatch):
        return match.reason
    content = read(request.body, by_content=settings().identity == "content")
    organization = content.event.organization_id
    if webhook.organization_id and organization and organization != webhook.organization_id:
        return Refusal.OTHER_ORGANIZATION
    return Verified(webhook=webhook, request=request, content=content, key_id=match.key_id)


def read_body(request: HttpRequest, limit: int) -> bytes | Refusal:
    """Return the exact bytes of the body, at most `limit` of them, and leave them readable to others.

    Django's `request.body` is empty for a chunked request under WSGI, loads any size under ASGI, and has a limit of
    its own. Returns a `Refusal` if the body is too large or its end is unknown; raises `BodyMalformedError` or
    `BodyLostError`.
    """
    try:
        declared = content_length(request.META.get("CONTENT_LENGTH"))
    except ContentLengthError:
        return Refusal.NO_LENGTH
    if declared is not None and declared > limit:
        return Refusal.TOO_LARGE
    try:
        if declared is None and isinstance(request, WSGIRequest):
            body = _read_without_length(request.environ, limit)
        else:
            body = _read_from_django(request, limit)
    except UnreadablePostError as error:
        raise BodyLostError("The sender closed the connection before the body was complete.") from error
    except NateqWebhooksError:
        raise
    except Exception as error:  # each server has exception classes of its own for a body that is not HTTP
        raise BodyMalformedError(f"The server can't read the body: {type(error).__name__}.") from error
    if isinstance(body, Refusal):
        return body
    if len(body) > limit:
        return Refusal.TOO_LARGE
    if declared is not None and len(body) < declared:
        raise BodyLostError(
            f"Only {len(body)} of {declared} bytes of the body are there: the sender closed the connection, or a "
            "middleware or the server read the stream before the view."
        )
    # Where Django keeps a body that has been read: other code that reads request.body later finds it.
    request._body = body  # noqa: SLF001
    return body


def _read_from_django(request: HttpRequest, limit: int) -> bytes:
    """Read from Django's stream, which ends where the body ends."""
    if hasattr(request, "_body"):
        return request.body
    if request._read_started:  # type: ignore[attr-defined]  # noqa: SLF001 - Django has no public name for it
        raise BodyLostError(
            "A middleware (or code before the view) has read the request's stream, for instance with request.read() "
            "or by parsing a form: the exact bytes are gone. Let it use request.body instead."
        )
    return request.read(limit + 1)


def _read_without_length(environ: dict[str, Any], limit: int) -> bytes | Refusal:
    """Read a body without a Content-Length, if the server says where it ends (`wsgi.input_terminated`)."""
    if not environ.get("wsgi.input_terminated"):
        return Refusal.NO_LENGTH if environ.get("HTTP_TRANSFER_ENCODING") else b""
    parts: list[bytes] = []
    left = limit + 1
    while left > 0 and (part := _read_part(environ["wsgi.input"], min(left, _CHUNK_BYTES))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _read_part(stream: Any, size: int) -> bytes:
    try:
        part: bytes = stream.read(size)
    except OSError as error:
        raise UnreadablePostError(*error.args) from error
    return part


def kept_headers(meta: Mapping[str, Any], signature_key: str) -> dict[str, str]:
    """Return the headers to store, by their usual names, bounded in count and bytes (as UTF-8).

    The signature comes first, so that many other headers can't displace it: the stored bytes can be verified again.
    The values of headers that are not known to be harmless are replaced.
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
    """Return the names of the request's headers, bounded in count and characters, without values."""
    names = (header_name(key) for key in meta)
    return list(itertools.islice(filter(None, names), MAX_HEADERS))


def declared_size(meta: Mapping[str, Any]) -> int | None:
    """Return the body size in bytes that the request declares; None if it declares none or an impossible one."""
    try:
        declared = content_length(meta.get("CONTENT_LENGTH"))
    except ContentLengthError:
        return None
    return None if declared == AT_LEAST else declared


def header_name(key: str) -> str | None:
    """Return `X-Nateq-Signature` for `HTTP_X_NATEQ_SIGNATURE`; None for a key that is not a header."""
    return _name_of(key[: MAX_NAME_CHARS + len("HTTP_")])


@functools.lru_cache(maxsize=256)
def _name_of(key: str) -> str | None:
    if key.startswith("HTTP_"):
        key = key[5:]
    elif key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        return None
    return column_text(key.replace("_", "-").title(), MAX_NAME_CHARS)


def is_masked(key: str, value: str) -> bool:
    """Return whether a header's value is neither stored nor shown: its name is not known, or it holds a credential.

    `key` is its name as `request.META` has it.
    """
    if key not in READABLE and key not in settings().readable_keys:
        return True
    return _CREDENTIAL.search(value) is not None


def remote_address(meta: Mapping[str, Any], trusted_proxies: int) -> str | None:
    """Return the sender's address: the peer's, or the one that the outermost trusted proxy saw.

    Each proxy appends the address it saw to X-Forwarded-For, so only that many entries from the right can be trusted.
    None if there is no address, as on a unix socket.
    """
    address = str(meta.get("REMOTE_ADDR") or "")
    if trusted_proxies:
        forwarded = forwarded_addresses(meta)
        if len(forwarded) >= trusted_proxies and forwarded[-trusted_proxies]:
            address = forwarded[-trusted_proxies]
    return column_text(address, MAX_ADDRESS_CHARS) or None


def forwarded_addresses(meta: Mapping[str, Any]) -> list[str]:
    """Return the entries of X-Forwarded-For, the nearest proxy's last; empty if there is no such header."""
    header = str(meta.get("HTTP_X_FORWARDED_FOR") or "")
    return [entry.strip() for entry in header.split(",")] if header else []
