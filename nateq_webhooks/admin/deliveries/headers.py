"""The stored headers of a request as the delivery's page shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nateq_webhooks.admin import formatting
from nateq_webhooks.conf import meta_key
from nateq_webhooks.inbox.request import REDACTED, is_masked


@dataclass(frozen=True, slots=True)
class Header:
    """A header; `value` is None if the user may not see it."""

    name: str
    value: str | None
    is_masked: bool


def headers(stored: Mapping[str, str], signature: str, *, values: bool) -> Iterator[Header]:
    """Yield the stored headers by name, the signature first; values that may be secrets are masked.

    Rows that were stored before a name was masked, or by another version, are masked here.
    """
    for name, value in sorted(stored.items(), key=lambda header: (header[0] != signature, header[0])):
        hidden = name != signature and (value == REDACTED or is_masked(meta_key(name), value))
        shown = REDACTED if hidden else formatting.visible(value)
        yield Header(formatting.visible(name), shown if values else None, hidden)
