"""Checks of the site's own API."""

from typing import Any

from django.core import checks
from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.urls import NoReverseMatch, reverse

from nateq_webhooks.rest.throttle import CACHE_ALIAS

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks", deploy=True)
def check_api_cache(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report, for a deployment with the API, that its processes share no cache to count requests in."""
    try:
        reverse("nateq_webhooks_api:status")
    except (NoReverseMatch, AttributeError):  # AttributeError: no ROOT_URLCONF at all
        return []
    cache = caches[CACHE_ALIAS]
    if not isinstance(cache, LocMemCache | DummyCache):
        return []
    return [
        checks.Warning(
            f"The API's rate limits hold for each process by itself: CACHES[{CACHE_ALIAS!r}] is a "
            f"{type(cache).__name__}, which processes do not share.",
            hint="Use a cache that they share, such as Redis or the database's. With one process all is well.",
            id=f"{_PREFIX}.W060",
        )
    ]
