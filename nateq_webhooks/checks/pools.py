"""A check of the connection pool of the deliveries' database."""

from typing import Any

from django.core import checks
from django.db import DEFAULT_DB_ALIAS, router

from nateq_webhooks.models import Run
from nateq_webhooks.runners.pools import connections_needed, pool_size

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks")
def check_pool(**kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001 - Django's signature
    """Report a connection pool that is too small for a worker with one thread."""
    alias = router.db_for_write(Run) or DEFAULT_DB_ALIAS
    size, needed = pool_size(alias), connections_needed(1)
    if size is None or size >= needed:
        return []
    return [
        checks.Warning(
            f"The connection pool of database {alias!r} has at most {size} connections; a worker needs {needed}: one "
            "for each thread, one to renew leases and one for maintenance. Leases that can't be renewed run out, and "
            "runs start twice.",
            hint=(
                f'Set OPTIONS["pool"]["max_size"] to {needed} or more: 2 more than nateq_worker --concurrency. If it '
                'is less than 4, which is the default of "min_size", set that, too.'
            ),
            id=f"{_PREFIX}.W025",
        )
    ]
