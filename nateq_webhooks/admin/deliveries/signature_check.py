"""Was it genuine: the stored bytes and the stored signature, verified once more with the secrets of today."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_variables

from nateq_webhooks.admin.formatting import Sign
from nateq_webhooks.conf import meta_key, settings
from nateq_webhooks.errors import SecretError
from nateq_webhooks.inbox.request import header_name
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.protocol import signatures
from nateq_webhooks.protocol.signatures import Match, SigningKey


class Genuine(Enum):
    """Whether the signature verifies again."""

    YES = auto()
    """With a secret that the webhook still accepts."""
    YES_EXPIRED = auto()
    """With a secret that is still known, but accepted no more."""
    NO = auto()
    """The secret that signed it is known, and the stored bytes or the stored signature are not what it signed."""
    RETIRED = auto()
    """The secret that signed it is not known any more."""
    NO_HEADER = auto()
    """No header of the name that the signature comes in today was stored, and none of another name holds it."""


SIGNS: Final = {
    Genuine.YES: Sign("✓", "good"),
    Genuine.YES_EXPIRED: Sign("✓", "good"),
    Genuine.NO: Sign("✕", "bad"),
    Genuine.RETIRED: Sign("?", "quiet"),
    Genuine.NO_HEADER: Sign("?", "quiet"),
}


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key that the webhook has, and until when it is accepted (None: for ever)."""

    key: SigningKey
    expires_at: datetime | None


def sentence(answer: Genuine) -> str:
    """Return the answer as a person on call reads it."""
    return {
        Genuine.YES: _("Yes: the stored bytes verify again."),
        Genuine.YES_EXPIRED: _("Yes: the stored bytes verify again, with a secret that has expired since."),
        Genuine.NO: _("No: what is stored is not what was signed. The bytes or the signature were changed afterwards."),
        Genuine.RETIRED: _("Verified when it came; it can't be checked any more, as its secret was retired."),
        Genuine.NO_HEADER: _(
            "Verified when it came; it can't be checked any more, as no header of today's name was stored with it."
        ),
    }[answer]


@sensitive_variables()
def check(delivery: Delivery) -> Genuine:
    """Verify a stored delivery once more. Asks the database once."""
    rows = list(
        Webhook.objects.filter(pk=delivery.webhook_id).values_list(
            "signature_header", "secret", "older_secrets__secret", "older_secrets__expires_at"
        )
    )
    keys = [key for __, current, older, ends in rows for key in (*_keys(current, None), *_keys(older or "", ends))]
    known = {known.key.id: known for known in reversed(keys)}
    name = signature_header(rows[0][0])
    # Under another name, if the webhook's has been changed since: an HMAC that holds is proof whatever it is called.
    values = [delivery.headers[name]] if name in delivery.headers else list(delivery.headers.values())
    results = (signatures.verify(delivery.body, value, [known.key for known in known.values()]) for value in values)
    match = next((result for result in results if isinstance(result, Match)), None)
    if match is not None:
        expires_at = known[match.key_id].expires_at
        return Genuine.YES if expires_at is None or expires_at > timezone.now() else Genuine.YES_EXPIRED
    if delivery.secret_id not in known:
        return Genuine.RETIRED
    return Genuine.NO if name in delivery.headers else Genuine.NO_HEADER


def signature_header(name_on_webhook: str) -> str:
    """Return the name, as stored, of the header that a webhook's signature comes in."""
    return header_name(meta_key(name_on_webhook or settings().signature_header)) or ""


def _keys(secret: str, expires_at: datetime | None) -> Iterator[KnownKey]:
    """Yield a secret's key in the encoding of today, and in the other, in which the site may have taken it before."""
    encodings: tuple[signatures.SecretEncoding, ...] = ("utf-8", "base64")
    for encoding in encodings:
        try:
            yield KnownKey(SigningKey.of(secret, encoding), expires_at)
        except SecretError:
            continue
