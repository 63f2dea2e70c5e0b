"""The stored headers of a request as the delivery's page shows them."""

from collections.abc import Iterator, Mapping

from nateq_webhooks.admin import formatting
from nateq_webhooks.inbox.shown_headers import ShownHeader, shown_headers


def headers(stored: Mapping[str, str], signature: str, *, values: bool, signatures: bool) -> Iterator[ShownHeader]:
    """Yield the stored headers by name, the signature first, with characters that can be seen."""
    ordered = dict(sorted(stored.items(), key=lambda header: (header[0] != signature, header[0])))
    for header in shown_headers(ordered, signature, values=values, signatures=signatures):
        value = None if header.value is None else formatting.visible(header.value)
        yield ShownHeader(formatting.visible(header.name), value, header.is_masked)
