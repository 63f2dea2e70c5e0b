"""The stored headers of a delivery as they leave the site: the one place that decides what is shown of each value.

A signature is shown whole only to those who may see the signing secrets: with the body beside it, it is a request that
anybody can send again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from nateq_webhooks.conf import meta_key
from nateq_webhooks.inbox.request import READABLE, REDACTED, is_masked
from nateq_webhooks.protocol.signatures import DEFAULT_HEADER, digests

SHOWN_CHARS: Final = 12
"""The characters of a signature that everybody sees who sees values, to compare two of them."""


@dataclass(frozen=True, slots=True)
class ShownHeader:
    """A header; `value` is None if none may be seen."""

    name: str
    value: str | None
    is_masked: bool = False


def shown_headers(
    stored: Mapping[str, str], signature_header: str, *, values: bool, signatures: bool
) -> Iterator[ShownHeader]:
    """Yield the stored headers. `signatures` is whether their reader may see signing secrets.

    Values that may be credentials are masked, also in rows that were stored before a name was masked, or by another
    version.
    """
    signature_key = meta_key(signature_header)
    for name, value in stored.items():
        key = meta_key(name)
        if not values:
            yield ShownHeader(name, None)
        elif key != signature_key and (value == REDACTED or is_masked(key, value)):
            yield ShownHeader(name, REDACTED, is_masked=True)
        elif not signatures and (key in (signature_key, _DEFAULT_KEY) or _has_digest(key, value)):
            yield ShownHeader(name, shortened(value))
        else:
            yield ShownHeader(name, value)


def shortened(value: str) -> str:
    """Return the first characters of a value, at most half of them."""
    return f"{value[: min(SHOWN_CHARS, len(value) // 2)]}…"


def _has_digest(key: str, value: str) -> bool:
    """Return whether a header of `READABLE_HEADERS` has a signature: that of a webhook whose header was renamed."""
    return key not in READABLE and bool(digests(value))


_DEFAULT_KEY: Final = meta_key(DEFAULT_HEADER)
