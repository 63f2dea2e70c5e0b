"""Counts requests in windows of a minute, in the site's cache: over all processes if they share it."""

import logging
import math
import time
from typing import Final

from django.core.cache import caches

from nateq_webhooks.protocol.api_answers import WINDOW_SECONDS, Quota

CACHE_ALIAS: Final = "default"
"""The cache that requests are counted in."""

_KEPT_SECONDS: Final = 2 * WINDOW_SECONDS

logger: Final = logging.getLogger("nateq_webhooks")


def take(identity: str, limit: int, now: float | None = None) -> Quota:
    """Count one request of a caller, and return what it has left.

    The windows are those of a clock in seconds, the system's if `now` is None: they begin with each minute. A cache
    that fails limits nothing, because a caller that is refused for it could do nothing about it.
    """
    now = time.time() if now is None else now
    window = int(now // WINDOW_SECONDS)
    try:
        used = _count(f"nateq_webhooks.api.{identity}.{window}")
    except Exception as error:  # noqa: BLE001 - each cache raises errors of its own
        logger.warning("The cache failed, so a request of the API was not counted: %s.", type(error).__name__)
        used = 1
    if used > limit:
        left = (window + 1) * WINDOW_SECONDS - now
        return Quota(limit=limit, remaining=0, retry_after=max(1, math.ceil(left)))
    return Quota(limit=limit, remaining=limit - used)


def _count(key: str) -> int:
    cache = caches[CACHE_ALIAS]
    cache.add(key, 0, _KEPT_SECONDS)
    try:
        return cache.incr(key)
    except ValueError:  # a cache that keeps nothing, or has dropped it
        return 1
