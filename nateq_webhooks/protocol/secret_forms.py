"""Forms of a secret: two sides may derive different keys from the same one."""

import base64
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from nateq_webhooks.protocol.signatures import SECRET_PREFIX, SecretEncoding


class Form(StrEnum):
    """How the sender derives its key, unlike this site."""

    TRIMMED = "trimmed"
    """It signs with the secret without the white space around it."""
    WITHOUT_PREFIX = "without_prefix"
    """It signs with what follows the prefix."""
    WITH_PREFIX = "with_prefix"
    """It signs with the prefix before the secret."""
    DECODED = "decoded"
    """It decodes the secret from base64; this site uses it as shown."""
    AS_SHOWN = "as_shown"
    """It uses the secret as shown; this site decodes it from base64."""


_PREFIX: Final = SECRET_PREFIX.encode()


def other_keys(key: bytes, encoding: SecretEncoding) -> Iterator[tuple[Form, bytes]]:
    """Yield other keys that a sender may derive from the secret from which `encoding` made `key`."""
    if encoding == "base64":
        shown = base64.b64encode(key)
        yield Form.AS_SHOWN, _PREFIX + shown
        yield Form.AS_SHOWN, shown
        return
    bare = key.strip()
    tail = bare.removeprefix(_PREFIX)
    forms = [
        (Form.TRIMMED, bare),
        (Form.WITHOUT_PREFIX, tail),
        (Form.WITH_PREFIX, _PREFIX + bare),
        (Form.DECODED, _decoded(tail)),
    ]
    yield from ((form, other) for form, other in forms if other and other != key)


def _decoded(text: bytes) -> bytes:
    """Decode base64 or its URL-safe variant, padded or not; empty if it is neither."""
    standard = text.rstrip(b"=").translate(_URL_SAFE)
    try:
        return base64.b64decode(standard + b"=" * (-len(standard) % 4), validate=True)
    except ValueError:
        return b""


_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
