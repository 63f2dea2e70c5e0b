"""Refusing a request: the log line, the signal, and the record of it. Costs the request no statement."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from django.db.models import QuerySet

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import StoreError
from nateq_webhooks.inbox.allowed_networks import address_finding
from nateq_webhooks.inbox.configuration import Configuration, cache, find
from nateq_webhooks.inbox.diagnosis import Cause, Finding, Hint
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.inbox.request import Reason, Refusal, header_name, remote_address
from nateq_webhooks.models import Delivery, Rejection
from nateq_webhooks.models.rejection import MAX_REJECTIONS_KEPT
from nateq_webhooks.protocol.signatures import Reason as SignatureReason

logger: Final = logging.getLogger("nateq_webhooks")

_NO_SIGNATURE: Final = (
    'Delivery to webhook "%(webhook)s" refused: %(header)s (%(characters)s characters) holds no signature: %(reason)s.'
)

_LOG_LINES: Final[Mapping[Reason, str]] = {
    SignatureReason.MISSING: (
        'Delivery to webhook "%(webhook)s" refused: it has no header %(header)s. If the signature comes in another '
        'one, name it in NATEQ_WEBHOOKS["SIGNATURE_HEADER"] or on the webhook.'
    ),
    SignatureReason.NO_SECRET: (
        'Delivery to webhook "%(webhook)s" refused: the webhook has no usable signing secret. Each one is empty, too '
        "short, expired or not in SECRET_ENCODING. Enter Nateq's under Webhooks > %(webhook)s."
    ),
    SignatureReason.NO_MATCH: (
        'Delivery to webhook "%(webhook)s" refused: %(header)s (%(characters)s characters) matches none of its '
        "%(secrets)s secrets. Rotated at Nateq? Add the new one under Webhooks > %(webhook)s > Signing secrets."
    ),
    Refusal.OTHER_ORGANIZATION: (
        'Delivery to webhook "%(webhook)s" refused: its signature is valid, but it belongs to another organization '
        "than %(organization)r. Change or clear the organization under Webhooks > %(webhook)s if that is wrong."
    ),
    Refusal.TOO_LARGE: (
        'Delivery to webhook "%(webhook)s" refused: its body is larger than NATEQ_WEBHOOKS["MAX_BODY_BYTES"] allows.'
    ),
    Refusal.NO_LENGTH: (
        'Delivery to webhook "%(webhook)s" refused: its Content-Length is not one number, or its body is chunked and '
        "this server does not say where such a body ends."
    ),
    Refusal.ADDRESS: (
        'Delivery to webhook "%(webhook)s" refused: its address is in none of the networks in '
        'NATEQ_WEBHOOKS["ALLOWED_NETWORKS"]. Its refused request in the admin says which address it is.'
    ),
    Refusal.STALE: (
        'Delivery to webhook "%(webhook)s" refused: its signature is valid, but its timestamp is older than '
        'NATEQ_WEBHOOKS["REPLAY_WINDOW"], and no such delivery is stored.'
    ),
    Refusal.FUTURE: (
        'Delivery to webhook "%(webhook)s" refused: its signature is valid, but its timestamp is in the future. '
        "Compare the clock of this server with the time."
    ),
    Refusal.NO_TIMESTAMP: (
        'Delivery to webhook "%(webhook)s" refused: its signature is valid, but it has no timestamp that could be '
        'compared with NATEQ_WEBHOOKS["REPLAY_WINDOW"].'
    ),
}
"""What to log for a reason: what was refused, with what value, and what to do. For others: `_NO_SIGNATURE`."""


def refuse(
    webhook: Configuration,
    reason: Reason,
    *,
    meta: Mapping[str, Any],
    body: bytes | None = None,
    finding: Finding | None = None,
) -> None:
    """Log a refused request, announce it, and hand it to the recorder.

    `body` is None if it was not read. It is held in memory for a second at most. `finding` is the cause, if it is known
    without the body.
    """
    remote_addr = remote_address(meta, settings().trusted_proxies)
    values = _log_values(webhook, reason, meta.get(webhook.signature_meta_key))
    logger.warning(_LOG_LINES.get(reason, _NO_SIGNATURE), values)
    signals.delivery_rejected.send_robust(
        sender=Delivery, webhook_id=webhook.id, reason=reason.value, remote_addr=remote_addr
    )
    recorder.record(webhook, reason, meta=meta, remote_addr=remote_addr, body=body, finding=finding)


def refuse_method(webhook_id: uuid.UUID, *, meta: Mapping[str, Any]) -> None:
    """Record a GET to a webhook's URL: it often is a POST that was redirected on the way."""
    try:
        webhook = find(webhook_id)
    except StoreError:
        return
    if webhook is not None:
        remote_addr = remote_address(meta, settings().trusted_proxies)
        recorder.record(webhook, Refusal.NOT_POST, meta=meta, remote_addr=remote_addr, body=None)


def refuse_unknown(webhook_id: uuid.UUID | str, *, meta: Mapping[str, Any]) -> None:
    """Record a POST to a webhook that is switched off, or to an id that no webhook has; its body is not read.

    Text is an id that is no UUID. Anybody can send the second kind, so all ids together have the limits of one webhook.
    """
    webhook = cache.cached(webhook_id) if isinstance(webhook_id, uuid.UUID) else None
    reason = Refusal.UNKNOWN_URL if webhook is None else Refusal.INACTIVE
    remote_addr = remote_address(meta, settings().trusted_proxies)
    finding = Finding(Cause.UNKNOWN_URL, {"id": str(webhook_id)}) if webhook is None else None
    recorder.record(webhook, reason, meta=meta, remote_addr=remote_addr, body=None, finding=finding)


def refuse_address(webhook_id: uuid.UUID | str, *, meta: Mapping[str, Any], is_post: bool) -> None:
    """Record a request from an address that `ALLOWED_NETWORKS` does not have; its body is not read.

    Like other refused requests: a POST to an active webhook is logged and announced, too, and a GET to an unknown URL
    leaves no trace. Text is an id that is no UUID.
    """
    active = known = None
    if isinstance(webhook_id, uuid.UUID):
        try:
            active = find(webhook_id)
        except StoreError:
            return
        known = active or cache.cached(webhook_id)
    finding = address_finding(meta)
    if active is not None and is_post:
        refuse(active, Refusal.ADDRESS, meta=meta, finding=finding)
    elif known is not None or is_post:
        remote_addr = remote_address(meta, settings().trusted_proxies)
        recorder.record(known, Refusal.ADDRESS, meta=meta, remote_addr=remote_addr, body=None, finding=finding)


def _log_values(webhook: Configuration, reason: Reason, header: str | None) -> dict[str, object]:
    return {
        "webhook": webhook.name,
        "header": header_name(webhook.signature_meta_key),
        "characters": len(header or ""),
        "secrets": len(webhook.keys),
        "organization": webhook.organization_id,
        "reason": reason.value,
    }


def explanation(rows: QuerySet[Rejection], webhook_id: uuid.UUID | None, reason: str) -> Rejection | None:
    """Return the newest rejection of a webhook and reason whose cause is certain; None if there is none.

    Only one request a second is examined, so the newest row often says less than an earlier one. Reads the newest
    `MAX_REJECTIONS_KEPT` rows at most.
    """
    newest = rows.filter(webhook=webhook_id, reason=reason).exclude(hint="").order_by("-pk")
    found = newest.select_related(None).only("pk", "hint", "received_at", "webhook_id", "reason")[:MAX_REJECTIONS_KEPT]
    return next((each for each in found if Hint.read(each.hint).is_certain), None)
