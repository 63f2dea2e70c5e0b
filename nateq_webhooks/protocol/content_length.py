"""The header Content-Length, parsed with bounds: a server may pass on any text."""

import re
from typing import Final

from nateq_webhooks.errors import NateqWebhooksError

MAX_DIGITS: Final = 18
"""Digits of a length that is returned exactly: it fits into a column of every database."""

AT_LEAST: Final = 10**MAX_DIGITS
"""Returned for every longer number; no body has so many bytes."""

_DIGITS: Final = re.compile(r"[0-9]+", re.ASCII)


class ContentLengthError(NateqWebhooksError, ValueError):
    """The header Content-Length is not one number of ASCII digits (RFC 9110, section 8.6)."""


def content_length(header: object) -> int | None:
    """Return the number of bytes, `AT_LEAST` for 10^18 and more; None if the header is absent or empty.

    Raises `ContentLengthError` for anything else: a sign, white space, digits of other scripts, two values.
    """
    if header is None or header == "":
        return None
    if not isinstance(header, str) or not _DIGITS.fullmatch(header):
        raise ContentLengthError("The header Content-Length is not one number of ASCII digits.")
    digits = header.lstrip("0")
    return int(digits or "0") if len(digits) <= MAX_DIGITS else AT_LEAST
