"""Refusing a request: the log line, the signal, and the record of it. Costs the request no statement."""

import logging
import uuid
from collections.abc import Mapping
from typing import Any, Final

from nateq_webhooks import signals
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import StoreError
from nateq_webhooks.inbox.configuration import Configuration, find
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.inbox.request import Reason, Refusal, header_name, remote_address
from nateq_webhooks.models import Delivery
from nateq_webhooks.protocol.signatures import Reason as SignatureReason

logger: Final = logging.getLogger("nateq_webhooks")


def refuse(webhook: Configuration, reason: Reason, *, meta: Mapping[str, Any], body: bytes | None = None) -> None:
    """Log a refused request, announce it, and hand it to the recorder.

    `body` is None if it was not read. It is held in memory for a second at most.
    """
    remote_addr = remote_address(meta, settings().trusted_proxies)
    logger.warning("%s", _log_line(webhook, reason, meta.get(webhook.signature_meta_key)))
    signals.delivery_rejected.send_robust(
        sender=Delivery, webhook_id=webhook.id, reason=reason.value, remote_addr=remote_addr
    )
    recorder.record(webhook, reason, meta=meta, remote_addr=remote_addr, body=body)


def refuse_method(webhook_id: uuid.UUID, *, meta: Mapping[str, Any]) -> None:
    """Record a GET to a webhook's URL: it often is a POST that was redirected on the way."""
    try:
        webhook = find(webhook_id)
    except StoreError:
        return
    if webhook is not None:
        remote_addr = remote_address(meta, settings().trusted_proxies)
        recorder.record(webhook, Refusal.NOT_POST, meta=meta, remote_addr=remote_addr, body=None)


def _log_line(webhook: Configuration, reason: Reason, header: str | None) -> str:
    """Return what was refused, with what value, and what to do."""
    name = header_name(webhook.signature_meta_key)
    start = f'Delivery to webhook "{webhook.name}" refused:'
    if reason is SignatureReason.MISSING:
        return (
            f"{start} it has no header {name}. If the signature comes in another one, name it in "
            'NATEQ_WEBHOOKS["SIGNATURE_HEADER"] or on the webhook.'
        )
    if reason is SignatureReason.NO_SECRET:
        return (
            f"{start} it has no usable signing secret: each is empty, too short, expired or not in SECRET_ENCODING. "
            f"Enter Nateq's under Webhooks > {webhook.name}."
        )
    if reason is SignatureReason.NO_MATCH:
        return (
            f"{start} {name} ({len(header or '')} characters) matches none of its {len(webhook.keys)} secrets. "
            f"Rotated at Nateq? Add the new one under Webhooks > {webhook.name} > Signing secrets."
        )
    if reason is Refusal.OTHER_ORGANIZATION:
        return (
            f"{start} its signature is valid, but it belongs to another organization than "
            f"{webhook.organization_id!r}. Change or clear the organization under Webhooks > {webhook.name} if that "
            "is wrong."
        )
    if reason is Refusal.TOO_LARGE:
        return f'{start} its body is larger than NATEQ_WEBHOOKS["MAX_BODY_BYTES"] allows.'
    if reason is Refusal.NO_LENGTH:
        return (
            f"{start} its Content-Length is not one number, "
            "or its body is chunked and this server does not say where such a body ends."
        )
    return f"{start} {name} ({len(header or '')} characters) holds no signature: {reason.value}."
