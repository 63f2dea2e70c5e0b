"""Verifies a stored delivery again: its bytes and its signature, with the secrets that the webhook has now."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks.admin.formatting import StatusStyle
from nateq_webhooks.conf import meta_key, settings
from nateq_webhooks.errors import SecretError
from nateq_webhooks.inbox.request import header_name
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.signing_keys import signing_key, why_unavailable
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.signatures import Match, SigningKey


class SignatureState(Enum):
    """The outcome of verifying a stored signature again."""

    VALID = auto()
    """It verifies with a secret that the webhook accepts."""
    VALID_EXPIRED = auto()
    """It verifies with a secret that is stored, but has expired."""
    INVALID = auto()
    """The secret that signed it is stored, but the stored bytes or the stored signature were changed."""
    SECRET_GONE = auto()
    """The secret that signed it is not stored any more."""
    SECRET_UNREADABLE = auto()
    """A secret of the webhook can't be read now, and may be the one that signed it."""
    HEADER_GONE = auto()
    """It was stored without the header that is configured now, and no other stored header has the signature."""
    REMOVED = auto()
    """Its content was removed by retention."""
    ERASED = auto()
    """Its content was erased, in whole or in part."""
    REDACTED = auto()
    """Values were masked before it was stored."""


STATUS_STYLES: Final = {
    SignatureState.VALID: StatusStyle("✓", "good"),
    SignatureState.VALID_EXPIRED: StatusStyle("✓", "good"),
    SignatureState.INVALID: StatusStyle("✕", "bad"),
    SignatureState.SECRET_GONE: StatusStyle("?", "quiet"),
    SignatureState.SECRET_UNREADABLE: StatusStyle("?", "quiet"),
    SignatureState.HEADER_GONE: StatusStyle("?", "quiet"),
    SignatureState.REMOVED: StatusStyle("?", "quiet"),
    SignatureState.ERASED: StatusStyle("?", "quiet"),
    SignatureState.REDACTED: StatusStyle("?", "quiet"),
}


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key of the webhook, and when it expires (None: never)."""

    key: SigningKey
    expires_at: datetime | None


def sentence(state: SignatureState) -> str:
    """Return the outcome as a sentence."""
    return {
        SignatureState.VALID: _("Yes: the stored bytes verify again."),
        SignatureState.VALID_EXPIRED: _("Yes: the stored bytes verify again, with a secret that has expired since."),
        SignatureState.INVALID: _(
            "No: what is stored is not what was signed. The bytes or the signature were changed afterwards."
        ),
        SignatureState.SECRET_GONE: _(
            "Verified when it came; it can't be checked any more, as its secret was retired."
        ),
        SignatureState.SECRET_UNREADABLE: _(
            "Verified when it came; it can't be checked now, as a secret of the webhook can't be read."
        ),
        SignatureState.HEADER_GONE: _(
            "Verified when it came; it can't be checked any more, as the signature header that is "
            "configured now was not stored with it."
        ),
        SignatureState.REMOVED: _(
            "Verified when it came; it can't be checked any more: its payload was removed by retention."
        ),
        SignatureState.ERASED: _("Verified when it came; it can't be checked: erased."),
        SignatureState.REDACTED: _(
            "Verified when it came; it can't be checked again: values were masked before it was stored."
        ),
    }[state]


_STATE_OF_CHANGE: Final = {
    Delivery.ContentChange.RETENTION: SignatureState.REMOVED,
    Delivery.ContentChange.ERASURE: SignatureState.ERASED,
    Delivery.ContentChange.REDACTION: SignatureState.REDACTED,
}


@sensitive_variables()
def check(delivery: Delivery) -> SignatureState:
    """Verify a stored delivery again. Needs one query."""
    if delivery.content_change is not None:
        return _STATE_OF_CHANGE[Delivery.ContentChange(delivery.content_change)]
    rows = list(
        Webhook.objects.filter(pk=delivery.webhook_id).values_list(
            "signature_header", "secret", "older_secrets__secret", "older_secrets__expires_at"
        )
    )
    keys = [key for __, current, older, ends in rows for key in (*_keys(current, None), *_keys(older or "", ends))]
    known = {known.key.id: known for known in reversed(keys)}
    name = signature_header(rows[0][0])
    # The header may have been renamed since. A valid HMAC is proof, whatever its header is called.
    values = [delivery.headers[name]] if name in delivery.headers else list(delivery.headers.values())
    results = (signatures.verify(delivery.body, value, [known.key for known in known.values()]) for value in values)
    match = next((result for result in results if isinstance(result, Match)), None)
    if match is not None:
        expires_at = known[match.key_id].expires_at
        return (
            SignatureState.VALID if expires_at is None or expires_at > timezone.now() else SignatureState.VALID_EXPIRED
        )
    if delivery.secret_id not in known:
        is_unreadable = any(why_unavailable(secret) for row in rows for secret in row[1:3] if secret)
        return SignatureState.SECRET_UNREADABLE if is_unreadable else SignatureState.SECRET_GONE
    return SignatureState.INVALID if name in delivery.headers else SignatureState.HEADER_GONE


def signature_header(name_on_webhook: str) -> str:
    """Return the name, as it is stored, of the header with a webhook's signature."""
    return header_name(meta_key(name_on_webhook or settings().signature_header)) or ""


def _keys(secret: str, expires_at: datetime | None) -> Iterator[KnownKey]:
    """Yield a secret's keys in both encodings: the site may have used the other one before."""
    encodings: tuple[signatures.SecretEncoding, ...] = ("utf-8", "base64")
    for encoding in encodings:
        try:
            yield KnownKey(signing_key(secret, encoding), expires_at)
        except SecretError:
            continue
