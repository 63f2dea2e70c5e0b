"""Why a request is refused."""

from enum import StrEnum
from typing import Final

from nateq_webhooks.protocol import signatures


class Refusal(StrEnum):
    """Why a request is refused before anything is stored, beside the reasons of a bad signature."""

    OTHER_ORGANIZATION = "other_organization"
    """Signed, but of another organization than the webhook's."""
    TOO_LARGE = "too_large"
    """The body is larger than `MAX_BODY_BYTES`."""
    NO_LENGTH = "no_length"
    """Where the body ends is not known: no readable Content-Length, or chunked under a server that does not say."""
    NOT_POST = "not_post"
    """It was a GET: a redirect on the way makes one of a POST."""


NO_MATCH: Final = signatures.Reason.NO_MATCH
"""The reason for a well-formed signature that none of the secrets made."""

Reason = signatures.Reason | Refusal
"""Why a request is refused."""
