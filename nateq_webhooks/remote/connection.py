"""The client that the site's settings describe, and what is odd about its key."""

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from nateq_webhooks.conf import is_debug, is_https_url, settings
from nateq_webhooks.remote.errors import RemoteError

if TYPE_CHECKING:
    from nateq_webhooks.client import NateqClient

_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def connect() -> "NateqClient":
    """Return a client with the settings' key and address, else the environment's; the caller closes it.

    Raises `RemoteError` without the extra `client`, and `NateqConfigurationError` for a key or an address that can't
    be used.
    """
    try:
        # Imported here: a site that only receives does not load httpx.
        from nateq_webhooks.client import NateqClient
    except ModuleNotFoundError as error:
        raise RemoteError(str(error)) from None
    return NateqClient(settings().api_key or None, settings().base_url or None)


def warnings(client: "NateqClient") -> Iterator[str]:
    """Yield what looks like the key of the wrong environment."""
    site = settings().public_url
    if client.is_test_key and _is_production():
        yield _(
            "This key is a tg_test_ key, with Nateq's sandbox data, but this site (%(site)s) looks like production. "
            'Set NATEQ_WEBHOOKS["API_KEY"] to a tg_live_ key if its real events are meant.'
        ) % {"site": site or "DEBUG = False"}
    if not client.is_test_key and not _is_production():
        yield _(
            "This key is a tg_live_ key, with production data, but this site (%(site)s) looks like a developer's. "
            'Set NATEQ_WEBHOOKS["API_KEY"] to a tg_test_ key if a trial is meant.'
        ) % {"site": site or "DEBUG = True"}


def _is_production() -> bool:
    """Guess from `PUBLIC_URL`; without one, from `DEBUG`."""
    site = settings().public_url
    if is_debug():
        return False
    return not site or (is_https_url(site) and urlsplit(site).hostname not in _LOCAL_NAMES)
