"""Errors in the reader's language. The client speaks English and does not use Django, so its errors are named here."""

from typing import Any, Final

from django.utils.translation import gettext, gettext_noop, ngettext

from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqConfigurationError,
    NateqConnectionError,
    NateqNotFoundError,
    NateqNotOfferedError,
    NateqPermissionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
    NateqUnexpectedAnswerError,
    NateqValidationError,
    NateqWebhooksError,
)

KINDS: Final[dict[type[Any], str]] = {
    NateqConfigurationError: gettext_noop(
        'The client is not set up: NATEQ_WEBHOOKS["API_KEY"] or its base URL is missing, or can\'t be used.'
    ),
    NateqAuthenticationError: gettext_noop("Nateq does not accept the API key: make a new one there."),
    NateqPermissionError: gettext_noop(
        "The API key does not have this permission: check its scopes and its allow-list at Nateq."
    ),
    NateqNotOfferedError: gettext_noop("This server does not offer that to an API key: do it in Nateq's dashboard."),
    NateqNotFoundError: gettext_noop("Nateq has no such webhook that the API key sees."),
    NateqValidationError: gettext_noop("Nateq did not accept the request."),
    NateqRateLimitError: gettext_noop("The API key has no requests left this minute: try again later."),
    NateqServerError: gettext_noop("Nateq's server failed: try again later."),
    NateqConnectionError: gettext_noop("Nateq can't be reached: check the network, the proxy and the base URL."),
    NateqTimeoutError: gettext_noop("Nateq did not answer in time: try again later."),
    NateqUnexpectedAnswerError: gettext_noop("The answer is not from Nateq's API: check the base URL."),
    ApiError: gettext_noop("Nateq refused this."),
}
"""A sentence for each class of the client's errors; a subclass comes before its base class."""


def localized(error: NateqWebhooksError) -> str:
    """Return an error in the reader's language: a sentence about its class, then the client's message in English.

    U+2068 and U+2069 isolate the direction of the English message. In English the message alone is returned.
    """
    kind = next((text for kind, text in KINDS.items() if isinstance(error, kind)), "")
    sentence = gettext(kind) if kind else ""
    return str(error) if sentence == kind else f"{sentence} \u2068{error}\u2069"


def webhooks_in_words(number: int) -> str:
    """Return a number of webhooks in words, for a sentence about what a key sees."""
    return ngettext("%(number)d webhook", "%(number)d webhooks", number) % {"number": number}
