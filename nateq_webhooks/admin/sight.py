"""What whose eyes may see: what customers wrote is for those with a permission of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.http import HttpRequest

from nateq_webhooks.admin import cells
from nateq_webhooks.conf import meta_key
from nateq_webhooks.inbox.request import REDACTED, is_masked


@dataclass(frozen=True, slots=True)
class Header:
    """A header as the page shows it; `value` is None where it is not for the reader's eyes."""

    name: str
    value: str | None
    is_masked: bool


def may_see_payload(request: HttpRequest) -> bool:
    """Say whether the user may see what customers wrote: payloads, header values, errors, tracebacks."""
    return request.user.has_perm("nateq_webhooks.view_payload")


def may_reveal_secret(request: HttpRequest) -> bool:
    """Say whether the user may see, choose and replace signing secrets, and have requests signed anew."""
    return request.user.has_perm("nateq_webhooks.reveal_secret")


def may_replay(request: HttpRequest) -> bool:
    """Say whether the user may have receivers run again."""
    return request.user.has_perm("nateq_webhooks.replay_delivery")


def headers(stored: Mapping[str, str], signature: str, *, values: bool) -> Iterator[Header]:
    """Yield the stored headers by name, the one of the signature first; what may be a secret is masked.

    What was stored before a name was masked, or by another version, is masked here.
    """
    for name, value in sorted(stored.items(), key=lambda header: (header[0] != signature, header[0])):
        hidden = name != signature and (value == REDACTED or is_masked(meta_key(name), value))
        shown = REDACTED if hidden else cells.visible(value)
        yield Header(cells.visible(name), shown if values else None, hidden)
