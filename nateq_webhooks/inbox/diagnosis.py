"""Finding out why a signature did not match, after the fact and outside the request.

Only what a secret of ours verifies is believed: the body as it came, or as it may have been before something on the
way changed it, is hashed with every key that may have been meant, and compared to whatever looks like a signature in
any header. Total over all bytes, and bounded in time and memory. Nothing of it is stored but the name of the cause.
"""

import hmac
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from nateq_webhooks.conf import settings
from nateq_webhooks.inbox.arrival import MAX_HEADERS, MAX_VALUE_CHARS, header_name
from nateq_webhooks.inbox.configuration import Configuration
from nateq_webhooks.inbox.findings import Cause, Detail, Finding
from nateq_webhooks.inbox.reasons import Reason, Refusal
from nateq_webhooks.protocol.alterations import Alteration, originals
from nateq_webhooks.protocol.envelope import read
from nateq_webhooks.protocol.secret_forms import other_keys
from nateq_webhooks.protocol.signatures import Reason as Bad
from nateq_webhooks.protocol.signatures import digests

MAX_BODY_BYTES: Final = 64 * 1024
"""Larger bodies are not looked into: the diary would hold them in memory, and trying takes time."""

MAX_SIGNATURES: Final = 16
"""Values that are compared; a request has one, in one header or another."""

MAX_WEBHOOKS: Final = 200
"""Other webhooks whose secrets are tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Specimen:
    """A refused request, held in memory to be looked into. Its repr shows nothing that came with it, and no secret."""

    webhook: Configuration
    reason: Reason
    received_at: datetime
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    "As WSGI and ASGI name them: `HTTP_X_NATEQ_SIGNATURE`."


@dataclass(frozen=True, kw_only=True, slots=True)
class _Key:
    """A key that may have been meant, and what it would mean if it matches; None: that it should have."""

    key: bytes = field(repr=False)
    finding: Finding | None


def specimen_headers(meta: Mapping[str, Any], signature_key: str) -> dict[str, str]:
    """Return the headers that may hold a signature, as they came, bounded in count and characters.

    The one that should hold it comes first, so that no flood of others drops it.
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
    """Return what the reason alone tells, without the body; None for a signature that did not match."""
    if reason is Refusal.TOO_LARGE:
        return Finding(Cause.TOO_LARGE, {"limit": settings().max_body_bytes})
    if reason is Refusal.NO_LENGTH:
        return Finding(Cause.NO_LENGTH)
    if reason is Refusal.NOT_POST:
        return Finding(Cause.NOT_POST)
    if reason is Refusal.OTHER_ORGANIZATION:
        return Finding(Cause.OTHER_ORGANIZATION)
    return None


def diagnose(specimen: Specimen, webhooks: Iterable[Configuration], *, deadline: float) -> Finding:
    """Say what may be the matter with a refused request. Never raises.

    `webhooks` are all of ours. After `deadline` (of `time.monotonic()`) nothing more is tried.
    """
    if specimen.reason is Refusal.OTHER_ORGANIZATION:
        return _whose_organization(specimen, webhooks)
    signatures = _signatures(specimen)
    for meant in _keys(specimen, webhooks):
        if (header := _match(meant.key, specimen.body, signatures)) is not None:
            return _with_header(meant.finding or Finding(Cause.RENAMED_HEADER), header, specimen)
    own = [signing.key for signing in specimen.webhook.live_keys(specimen.received_at)]
    seconds = int(specimen.received_at.timestamp())
    for original in originals(specimen.body, seconds=seconds) if signatures and own else ():
        for key in own:
            if (header := _match(key, original.body, signatures)) is not None:
                return _with_header(_altered(original.alterations), header, specimen)
        if time.monotonic() > deadline:
            break
    return _nothing_verifies(specimen, signatures)


def _signatures(specimen: Specimen) -> list[tuple[str, bytes]]:
    """Return what looks like a signature in any header, with that header's key, the right header first."""
    right = specimen.webhook.signature_meta_key
    found = [
        (key, digest)
        for key in sorted(specimen.headers, key=lambda key: key != right)
        for digest in digests(specimen.headers[key])
    ]
    return found[:MAX_SIGNATURES]


def _keys(specimen: Specimen, webhooks: Iterable[Configuration]) -> Iterator[_Key]:
    """Yield the keys that may have been meant: our own, as it stands, expired or in another form, then the others'."""
    webhook, now = specimen.webhook, specimen.received_at
    for live in webhook.keys:
        is_live = live.expires_at is None or live.expires_at > now
        expired = Finding(Cause.EXPIRED_SECRET, {"secret": live.key.id})
        yield _Key(key=live.key.key, finding=None if is_live else expired)
    for key in webhook.live_keys(now):
        for form, other in other_keys(key.key, settings().secret_encoding):
            yield _Key(key=other, finding=Finding(Cause.SECRET_FORM, {"form": form.value}))
    others = [other for other in webhooks if other.id != webhook.id]
    for other_webhook in others[:MAX_WEBHOOKS]:
        finding = Finding(Cause.OTHER_WEBHOOK, {"webhook": other_webhook.name})
        for key in other_webhook.live_keys(now):
            yield _Key(key=key.key, finding=finding)


def _match(key: bytes, body: bytes, signatures: list[tuple[str, bytes]]) -> str | None:
    """Return the key of the header that holds this key's signature of the body."""
    if not signatures:
        return None
    digest = hmac.digest(key, body, "sha256")
    return next((header for header, candidate in signatures if hmac.compare_digest(digest, candidate)), None)


def _with_header(finding: Finding, header: str, specimen: Specimen) -> Finding:
    """Add in which header the signature came, unless that is the right one."""
    if header == specimen.webhook.signature_meta_key:
        return finding
    return Finding(finding.code, {**finding.details, "header": header_name(header) or header})


def _altered(alterations: Iterable[Alteration]) -> Finding:
    return Finding(Cause.ALTERED_BODY, {"how": [alteration.value for alteration in alterations]})


def _whose_organization(specimen: Specimen, webhooks: Iterable[Configuration]) -> Finding:
    organization = read(specimen.body).event.organization_id
    owners = [webhook.name for webhook in webhooks if organization and webhook.organization_id == organization]
    details: dict[str, Detail] = {"webhook": owners[0]} if owners else {}
    return Finding(Cause.OTHER_ORGANIZATION, details)


def _nothing_verifies(specimen: Specimen, signatures: list[tuple[str, bytes]]) -> Finding:
    """Say what is left when no secret verifies anything."""
    if specimen.reason is Bad.NO_SECRET:
        return Finding(Cause.NO_SECRET)
    if specimen.reason is Bad.MISSING:
        similar = dict.fromkeys(header_name(key) or key for key, _digest in signatures)
        return Finding(Cause.MISSING_HEADER, {"similar": list(similar)} if similar else {})
    if specimen.reason is not Bad.NO_MATCH:
        return Finding(Cause.UNREADABLE_SIGNATURE, {"why": specimen.reason.value})
    if not specimen.body:
        return Finding(Cause.EMPTY_BODY)
    if specimen.headers.get("HTTP_CONTENT_ENCODING") and specimen.body.lstrip()[:1] in (b"{", b"["):
        # It claims to be compressed and is plain JSON; what the sender had compressed can't always be made again.
        return _altered([Alteration.DECOMPRESSED])
    return Finding(Cause.UNKNOWN_SECRET)
