"""What whose eyes may see: what customers wrote is for those with a permission of its own."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from django.http import HttpRequest

from nateq_webhooks.admin import cells
from nateq_webhooks.inbox.arrival import REDACTED, may_be_secret
from nateq_webhooks.protocol.api import LIVE_KEY_PREFIX, TEST_KEY_PREFIX
from nateq_webhooks.protocol.signatures import SECRET_PREFIX

_SECRET_VALUE: Final = re.compile(
    rf"\b(?:bearer|basic|digest)\s+\S|{SECRET_PREFIX}|{LIVE_KEY_PREFIX}|{TEST_KEY_PREFIX}|\beyJ[\w-]+\.", re.IGNORECASE
)
"""Credentials that came in a header of another name: schemes of Authorization, Nateq's prefixes, JSON web tokens."""


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
    """Yield the stored headers by name, the one of the signature first; what may be a secret is masked."""
    for name, value in sorted(stored.items(), key=lambda header: (header[0] != signature, header[0])):
        is_masked = name != signature and (may_be_secret(name) or bool(_SECRET_VALUE.search(value)))
        shown = REDACTED if is_masked else cells.visible(value)
        yield Header(cells.visible(name), shown if values else None, is_masked)
