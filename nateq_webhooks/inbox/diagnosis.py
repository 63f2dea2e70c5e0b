"""Finding out why a request was refused, outside the request.

A cause is only reported as certain if a secret of ours verifies the signature: of the body as received, or as it may
have been before a proxy changed it. Every key that may have been meant is tried against everything in the headers that
looks like a signature. Handles all bytes, bounded in time and memory; only the cause is stored.
"""

import hmac
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.configuration import Configuration
from nateq_webhooks.inbox.request import MAX_HEADERS, MAX_VALUE_CHARS, Reason, Refusal, header_name
from nateq_webhooks.protocol.alterations import Alteration, originals
from nateq_webhooks.protocol.documents import load_object
from nateq_webhooks.protocol.envelope import read
from nateq_webhooks.protocol.secret_forms import other_keys
from nateq_webhooks.protocol.signatures import Reason as SignatureReason
from nateq_webhooks.protocol.signatures import digests

MAX_BODY_BYTES: Final = 64 * 1024
"""Larger bodies are not diagnosed: they would be held in memory, and each attempt takes time."""

MAX_SIGNATURES: Final = 16
"""Values that are compared; a genuine request has one."""

MAX_WEBHOOKS: Final = 200
"""Other webhooks whose secrets are tried."""


class Cause(StrEnum):
    """The probable cause. Certain only if a secret has verified the signature; docs/how-to/rejections.md lists them."""

    OTHER_WEBHOOK = "other_webhook"
    """Signed with the secret of another webhook of ours: `webhook` is its name."""
    EXPIRED_SECRET = "expired_secret"  # noqa: S105 - a cause, not a secret
    """Signed with a secret that this webhook no longer accepts: `secret` is its id."""
    SECRET_FORM = "secret_form"  # noqa: S105 - a cause, not a secret
    """Signed with our secret in another form: `form` (protocol.secret_forms)."""
    RENAMED_HEADER = "renamed_header"
    """Genuine, but its signature comes in the header `header`."""
    MISSING_HEADER = "missing_header"
    """No header holds a signature of ours; `similar` are those that hold something like one."""
    ALTERED_BODY = "altered_body"
    """Genuine until the body was changed on the way: `how` lists the changes (protocol.alterations)."""
    EMPTY_BODY = "empty_body"
    """Signed, but the body is empty."""
    UNKNOWN_SECRET = "unknown_secret"  # noqa: S105 - a cause, not a secret
    """None of our secrets made the signature, of the received body or of a probable original."""
    NO_SECRET = "no_secret"  # noqa: S105 - a cause, not a secret
    """The webhook has no usable secret."""
    UNREADABLE_SIGNATURE = "unreadable_signature"
    """The header holds no signature: `why` is the reason in full."""
    OTHER_ORGANIZATION = "other_organization"
    """Genuine, but of another organization; `webhook` is the one of ours that is set up for it, if any."""
    TOO_LARGE = "too_large"
    """The body is larger than `limit` bytes."""
    NO_LENGTH = "no_length"
    """The end of the body is unknown: Content-Length is not one number, or a chunked body comes without an end."""
    NOT_POST = "not_post"
    """The method was GET: probably a redirect on the way."""
    INACTIVE = "inactive"
    """The webhook is switched off here."""
    UNKNOWN_URL = "unknown_url"
    """No webhook has the id in the URL: `id` is that id."""
    ADDRESS = "address"
    """It comes from `address`, which is in none of the `ALLOWED_NETWORKS`."""
    NO_ADDRESS = "no_address"
    """The sender's address is not known, as on a Unix socket."""
    UNREADABLE_ADDRESS = "unreadable_address"
    """X-Forwarded-For has `address` where the sender's address is expected, which is no IP address."""
    STALE = "stale"
    """It is signed, new here, and older than `REPLAY_WINDOW`."""
    FUTURE = "future"
    """It is signed, and its time is later than this server's clock."""
    NO_TIMESTAMP = "no_timestamp"
    """It is signed, and has no time that could be compared with `REPLAY_WINDOW`."""


CERTAIN: Final = frozenset(
    {Cause.OTHER_WEBHOOK, Cause.EXPIRED_SECRET, Cause.SECRET_FORM, Cause.RENAMED_HEADER, Cause.ALTERED_BODY}
)
"""The causes for which a secret has verified the signature."""

Detail = str | int | Sequence[str]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause with its details: names and ids of ours, names of headers; nothing of a body or of a secret.

    If the signature came in another header than the configured one, `header` is its name, for every cause.
    """

    code: Cause
    details: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Hint:
    """A stored hint: its code, its details, and how many more refusals there were at the time."""

    code: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    dropped: int = 0

    @property
    def is_certain(self) -> bool:
        """Whether a secret of ours has verified the signature, so that the cause is not a guess."""
        return self.code in CERTAIN

    @classmethod
    def read(cls, text: str) -> "Hint":
        """Parse `Rejection.hint`; return an empty hint if there is none or a newer version wrote another format."""
        try:
            parts = load_object(text.encode()) if text else {}
        except ValueError:
            return cls()
        details, dropped = parts.get("details"), parts.get("dropped")
        return cls(
            str(parts.get("code", "")),
            details if isinstance(details, dict) else {},
            dropped if isinstance(dropped, int) else 0,
        )


def hint(finding: Finding | None, dropped: int = 0) -> str:
    """Return the text of `Rejection.hint`: JSON with `code`, `details` and `dropped`, each only if not empty.

    `dropped` is the number of refusals since the last row that were only counted.
    """
    parts: dict[str, object] = {}
    if finding is not None:
        parts = {"code": finding.code.value, "details": dict(finding.details)}
    if dropped:
        parts["dropped"] = dropped
    return json.dumps(parts, ensure_ascii=False) if parts else ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A refused request, held in memory for diagnosis. Its repr shows neither the request nor a secret."""

    webhook: Configuration
    reason: Reason
    received_at: datetime
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    "Named as in WSGI and ASGI: `HTTP_X_NATEQ_SIGNATURE`."


@dataclass(frozen=True, kw_only=True, slots=True)
class _CandidateKey:
    """A key that the sender may have used, and the finding if it matches (None: the webhook's own valid key)."""

    key: bytes = field(repr=False)
    finding: Finding | None


def sample_headers(meta: Mapping[str, Any], signature_key: str) -> dict[str, str]:
    """Return the headers that may hold a signature, unchanged, bounded in count and characters.

    The signature header comes first, so that many other headers can't displace it.
    """
    kept: dict[str, str] = {}
    for key in (signature_key, *meta):
        value = meta.get(key)
        if key.startswith("HTTP_") and isinstance(value, str) and len(value) <= MAX_VALUE_CHARS:
            kept[key] = value
            if len(kept) == MAX_HEADERS:
                break
    return kept


def plain_finding(reason: Reason) -> Finding | None:
    """Return what the reason alone says, without the request; None for a signature that did not match."""
    if reason is Refusal.TOO_LARGE:
        return Finding(Cause.TOO_LARGE, {"limit": settings().max_body_bytes})
    cause = _CAUSE_OF.get(reason)
    return Finding(cause) if cause is not None else None


_CAUSE_OF: Final[Mapping[Reason, Cause]] = {
    Refusal.NO_LENGTH: Cause.NO_LENGTH,
    Refusal.NOT_POST: Cause.NOT_POST,
    Refusal.OTHER_ORGANIZATION: Cause.OTHER_ORGANIZATION,
    Refusal.INACTIVE: Cause.INACTIVE,
    Refusal.STALE: Cause.STALE,
    Refusal.FUTURE: Cause.FUTURE,
    Refusal.NO_TIMESTAMP: Cause.NO_TIMESTAMP,
}


def diagnose(sample: Sample, webhooks: Iterable[Configuration], *, deadline: float) -> Finding:
    """Return the probable cause of a refused request. Never raises.

    `webhooks` are all webhooks of the site. After `deadline` (of `time.monotonic()`) nothing more is tried.
    """
    if sample.reason is Refusal.OTHER_ORGANIZATION:
        return _other_organization(sample, webhooks)
    signatures = _signatures(sample)
    for meant in _keys(sample, webhooks):
        if (header := _match(meant.key, sample.body, signatures)) is not None:
            return _with_header(meant.finding or Finding(Cause.RENAMED_HEADER), header, sample)
    own = [signing.key for signing in sample.webhook.live_keys(sample.received_at)]
    for original in originals(sample.body) if signatures and own else ():
        for key in own:
            if (header := _match(key, original.body, signatures)) is not None:
                return _with_header(_altered(original.alteration), header, sample)
        if time.monotonic() > deadline:
            break
    return _nothing_verifies(sample, signatures)


def _signatures(sample: Sample) -> list[tuple[str, bytes]]:
    """Return every value that looks like a signature with the key of its header, the signature header first."""
    right = sample.webhook.signature_meta_key
    found = [
        (key, digest)
        for key in sorted(sample.headers, key=lambda key: key != right)
        for digest in digests(sample.headers[key])
    ]
    return found[:MAX_SIGNATURES]


def _keys(sample: Sample, webhooks: Iterable[Configuration]) -> Iterator[_CandidateKey]:
    """Yield the webhook's keys (valid, expired, in another form), then those of the other webhooks."""
    webhook, now = sample.webhook, sample.received_at
    for live in webhook.keys:
        is_live = live.expires_at is None or live.expires_at > now
        expired = Finding(Cause.EXPIRED_SECRET, {"secret": live.key.id})
        yield _CandidateKey(key=live.key.key, finding=None if is_live else expired)
    for key in webhook.live_keys(now):
        for form, other in other_keys(key.key, settings().secret_encoding):
            yield _CandidateKey(key=other, finding=Finding(Cause.SECRET_FORM, {"form": form.value}))
    others = [other for other in webhooks if other.id != webhook.id]
    for other_webhook in others[:MAX_WEBHOOKS]:
        finding = Finding(Cause.OTHER_WEBHOOK, {"webhook": other_webhook.name})
        for key in other_webhook.live_keys(now):
            yield _CandidateKey(key=key.key, finding=finding)


def _match(key: bytes, body: bytes, signatures: list[tuple[str, bytes]]) -> str | None:
    """Return the header that holds the signature of the body by `key`."""
    if not signatures:
        return None
    digest = hmac.digest(key, body, "sha256")
    return next((header for header, candidate in signatures if hmac.compare_digest(digest, candidate)), None)


def _with_header(finding: Finding, header: str, sample: Sample) -> Finding:
    """Add the header that held the signature, unless it is the signature header."""
    if header == sample.webhook.signature_meta_key:
        return finding
    return Finding(finding.code, {**finding.details, "header": header_name(header) or header})


def _altered(alteration: Alteration) -> Finding:
    return Finding(Cause.ALTERED_BODY, {"how": [alteration.value]})


def _other_organization(sample: Sample, webhooks: Iterable[Configuration]) -> Finding:
    organization = read(sample.body).event.organization_id
    owners = [webhook.name for webhook in webhooks if organization and webhook.organization_id == organization]
    details: dict[str, Detail] = {"webhook": owners[0]} if owners else {}
    return Finding(Cause.OTHER_ORGANIZATION, details)


def _nothing_verifies(sample: Sample, signatures: list[tuple[str, bytes]]) -> Finding:
    """Return the cause if no secret verifies anything."""
    if sample.reason is SignatureReason.NO_SECRET:
        return Finding(Cause.NO_SECRET)
    if sample.reason is SignatureReason.MISSING:
        similar = dict.fromkeys(header_name(key) or key for key, _digest in signatures)
        return Finding(Cause.MISSING_HEADER, {"similar": list(similar)} if similar else {})
    if sample.reason is not SignatureReason.NO_MATCH:
        return Finding(Cause.UNREADABLE_SIGNATURE, {"why": sample.reason.value})
    if not sample.body:
        return Finding(Cause.EMPTY_BODY)
    if sample.headers.get("HTTP_CONTENT_ENCODING") and sample.body.lstrip()[:1] in (b"{", b"["):
        # Content-Encoding says it is compressed, and it is plain JSON: the compressed bytes that were signed are lost.
        return _altered(Alteration.DECOMPRESSED)
    return Finding(Cause.UNKNOWN_SECRET)
