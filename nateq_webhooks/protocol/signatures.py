"""HMAC-SHA256 over the raw body (Nateq: Verify signatures), and the formats that are accepted.

The header's value is a lower-case hex digest. A `sha256=` prefix, upper case and base64 are accepted, and several
comma-separated values, of which any may match (the sender rotates its secret). Invalid input is a `Mismatch` with a
reason, never an exception.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Literal

from nateq_webhooks.errors import SecretError
from nateq_webhooks.protocol.i18n import gettext_noop
from nateq_webhooks.protocol.secret_text import (
    ENCRYPTED_PREFIX,
    MIN_SECRET_CHARS,
    REFERENCE_PREFIX,
    SecretBytes,
    SecretText,
    visible_chars,
)
from nateq_webhooks.protocol.secret_text import SECRET_PREFIX as SECRET_PREFIX

DEFAULT_HEADER: Final = "X-Nateq-Signature"
"""The default header of the signature; Nateq's page names none."""

MAX_HEADER_CHARS: Final = 1024
"""Eight values of 71 characters (`sha256=` and 64 digits) plus white space."""

MAX_VALUES: Final = 8
"""More than a sender has secrets at the same time; each value is compared with each of our secrets."""

SecretEncoding = Literal["utf-8", "base64"]


class Reason(StrEnum):
    """Why a signature is refused."""

    MISSING = "missing"
    """The request has no such header."""
    EMPTY = "empty"
    """The header is empty."""
    TOO_LONG = "too_long"
    """The header is longer than `MAX_HEADER_CHARS`."""
    TOO_MANY = "too_many"
    """The header has more than `MAX_VALUES` values."""
    NOT_ASCII = "not_ascii"
    """The header has a character outside ASCII."""
    NOT_HEX = "not_hex"
    """No value is 64 hex digits or the base64 of 32 bytes."""
    NO_SECRET = "no_secret"  # noqa: S105 - a reason, not a secret
    """The webhook has no usable secret to verify with."""
    NO_MATCH = "no_match"
    """A well-formed signature that none of the secrets made."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The HMAC key of one secret, with an id that may be stored and shown. Its repr does not show the key."""

    id: str
    key: bytes = field(repr=False)

    @classmethod
    def of(cls, secret: str, encoding: SecretEncoding = "utf-8") -> "SigningKey":
        """Build the key from a secret as Nateq shows it.

        `utf-8` uses the secret as shown, prefix included; `base64` decodes the text after the prefix. The id is derived
        from the key, so the same secret always has the same id; the key can't be derived from the id. Raises
        `SecretError` for a secret that is empty, not valid base64, or too short (`MIN_SECRET_CHARS`): anyone could sign
        with the public prefix alone.
        """
        secret = SecretText(secret)
        key = _key_bytes(secret, encoding)
        _check_length(secret, key, encoding)
        return cls(id="sec_" + hmac.digest(key, b"nateq_webhooks: id of this key", "sha256").hex()[:12], key=key)

    def sign(self, body: bytes) -> str:
        """Return the lower-case hex HMAC-SHA256 of `body` by this key."""
        return hmac.digest(self.key, body, "sha256").hex()


@dataclass(frozen=True, slots=True)
class Match:
    """The signature is valid; `key_id` is the id of the key that made it."""

    key_id: str

    def __bool__(self) -> Literal[True]:
        return True


@dataclass(frozen=True, slots=True)
class Mismatch:
    """The signature is missing or invalid. False, so that `if verify(...)` is safe."""

    reason: Reason

    def __bool__(self) -> Literal[False]:
        return False


def sign(body: bytes, secret: str, *, encoding: SecretEncoding = "utf-8") -> str:
    """Return the lower-case hex HMAC-SHA256 of `body`, as Nateq puts it into the header.

    Accepts a short secret, as a sender may have one. Raises `SecretError` for an empty secret or one that is not in
    `encoding`.
    """
    return hmac.digest(_key_bytes(secret, encoding), body, "sha256").hex()


def verify(
    body: bytes,
    header: str | None,
    secrets: str | Iterable[str | SigningKey],
    *,
    encoding: SecretEncoding = "utf-8",
) -> Match | Mismatch:
    """Return whether `header` has a signature of `body` by any of `secrets`, in constant time.

    `header` is the raw header value, None if it is absent. `secrets` is one secret, or several secrets or
    prepared `SigningKey`s. A secret that is empty, undecodable or too short never matches anything.
    """
    candidates = _candidates(header)
    if isinstance(candidates, Reason):
        return Mismatch(candidates)
    keys = _keys([secrets] if isinstance(secrets, str) else secrets, encoding)
    if not keys:
        return Mismatch(Reason.NO_SECRET)
    matched: str | None = None
    for key in keys:
        digest = hmac.digest(key.key, body, "sha256")
        for candidate in candidates:
            # Every pair is compared, so that the time does not depend on which one matches.
            if hmac.compare_digest(digest, candidate):
                matched = matched or key.id
    return Match(matched) if matched else Mismatch(Reason.NO_MATCH)


def digests(header: str | None) -> list[bytes]:
    """Return the digests in a header; none if it has no signature."""
    candidates = _candidates(header)
    return [] if isinstance(candidates, Reason) else candidates


def _candidates(header: str | None) -> list[bytes] | Reason:
    """Return the digests in a header, or the reason why there is none."""
    if header is None:
        return Reason.MISSING
    if len(header) > MAX_HEADER_CHARS:
        return Reason.TOO_LONG
    if not header.isascii():
        return Reason.NOT_ASCII
    values = [value.strip() for value in header.split(",")]
    if not any(values):
        return Reason.EMPTY
    if len(values) > MAX_VALUES:
        return Reason.TOO_MANY
    digests = [digest for value in values if (digest := _digest(value)) is not None]
    return digests or Reason.NOT_HEX


def _digest(value: str) -> bytes | None:
    """Decode one signature value to its 32 bytes; None if it is neither hex nor base64 of that size."""
    if value[:7].lower() == "sha256=":
        value = value[7:]
    try:
        if len(value) == 64:
            # Not bytes.fromhex, which skips white space between digits.
            return binascii.unhexlify(value)
        if len(value) in (43, 44):
            standard = value.translate(_URL_SAFE) + "=" * (44 - len(value))
            decoded = base64.b64decode(standard, validate=True)
            return decoded if len(decoded) == hashlib.sha256().digest_size else None
    except binascii.Error:
        return None
    return None


_URL_SAFE: Final = str.maketrans("-_", "+/")


def _keys(secrets: Iterable[str | SigningKey], encoding: SecretEncoding) -> list[SigningKey]:
    keys = []
    for secret in secrets:
        if isinstance(secret, SigningKey):
            keys.append(secret)
            continue
        try:
            keys.append(SigningKey.of(secret, encoding))
        except SecretError:
            continue
    return keys


def _check_length(secret: str, key: bytes, encoding: SecretEncoding) -> None:
    if visible_chars(secret) < MIN_SECRET_CHARS:
        raise SecretError(
            gettext_noop(
                "The signing secret is too short: it needs at least 16 visible characters after the prefix whsec_, or "
                "anyone could guess it. Copy the whole secret from Nateq: Settings > Developers > Webhooks."
            )
        )
    if encoding == "base64" and len(key) < MIN_SECRET_CHARS:
        raise SecretError(
            gettext_noop(
                "The signing secret is too short: decoded from base64 it needs at least 16 bytes, or anyone could "
                "guess it. Copy the whole secret from Nateq: Settings > Developers > Webhooks."
            )
        )


def _key_bytes(secret: str, encoding: SecretEncoding) -> bytes:
    if not secret:
        raise SecretError(
            gettext_noop("The signing secret is empty. Copy it from Nateq: Settings > Developers > Webhooks.")
        )
    if secret.startswith((ENCRYPTED_PREFIX, REFERENCE_PREFIX)):
        raise SecretError(
            gettext_noop(
                'No signing secret starts with "fernet:" or "env:": that is how an encrypted secret and the name of an '
                "environment variable are stored. Copy the secret from Nateq: Settings > Developers > Webhooks."
            )
        )
    if encoding == "utf-8":
        return SecretBytes(secret.encode("utf-8", "surrogatepass"))
    try:
        key = SecretBytes(base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except ValueError:
        key = SecretBytes()
    if not key:
        raise SecretError(
            gettext_noop(
                'The signing secret is not base64 after its prefix, but NATEQ_WEBHOOKS["SECRET_ENCODING"] is "base64". '
                'Set it to "utf-8" to use secrets as they are shown.'
            )
        ) from None
    return key
