"""What went wrong, for people: the client speaks English and knows no Django, so its kind of error is said here."""

from typing import Any, Final

from django.utils.translation import gettext, gettext_noop

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
    NateqAuthenticationError: gettext_noop("Nateq does not take the API key: make a new one there."),
    NateqPermissionError: gettext_noop("The API key may not do this: look at its scopes and its allow-list at Nateq."),
    NateqNotOfferedError: gettext_noop("This server does not offer that to an API key: do it in Nateq's dashboard."),
    NateqNotFoundError: gettext_noop("Nateq has no such webhook that the API key sees."),
    NateqValidationError: gettext_noop("Nateq does not take what was sent."),
    NateqRateLimitError: gettext_noop("The API key has no requests left this minute: try again in a while."),
    NateqServerError: gettext_noop("Nateq's server failed: try again later."),
    NateqConnectionError: gettext_noop("Nateq can't be reached: look at the network, the proxy and the base URL."),
    NateqTimeoutError: gettext_noop("Nateq did not answer in time: try again later."),
    NateqUnexpectedAnswerError: gettext_noop("What answered is not Nateq's API: look at the base URL."),
    ApiError: gettext_noop("Nateq refused this."),
}
"""Each kind of the client's errors in a sentence; a subclass stands before its class."""


def told(error: NateqWebhooksError) -> str:
    """Return an error in the reader's language; after a sentence about its kind, the client's own words in English.

    Between U+2068 and U+2069 those keep their direction to themselves. In English they say it all.
    """
    kind = next((text for kind, text in KINDS.items() if isinstance(error, kind)), "")
    words = gettext(kind) if kind else ""
    return str(error) if words == kind else f"{words} \u2068{error}\u2069"
