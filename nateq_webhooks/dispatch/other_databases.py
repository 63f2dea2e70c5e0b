"""Telling of a receiver that writes to another database: that write is not part of its run's transaction."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from django.db import connections

logger: Final = logging.getLogger("nateq_webhooks")

_READS: Final = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "SHOW", "SET", "EXPLAIN", "WITH", "PRAGMA")

_told: Final[set[tuple[str, str]]] = set()
"""Receivers and aliases that were warned of in this process; once is enough."""


@contextmanager
def warned_of_other_databases(receiver: str, own_alias: str | None) -> Iterator[None]:
    """Log a warning, once per receiver and database, when the block writes to another database than the runs'."""
    with ExitStack() as stack:
        for alias in connections:
            if alias != own_alias and (receiver, alias) not in _told:
                stack.enter_context(connections[alias].execute_wrapper(_watch(receiver, alias)))
        yield


def _watch(receiver: str, alias: str) -> Callable[..., Any]:
    def watch(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:  # noqa: FBT001 - Django's signature
        if not sql.lstrip(" (\n").upper().startswith(_READS) and (receiver, alias) not in _told:
            _told.add((receiver, alias))
            logger.warning(
                'Receiver %s writes to the database "%s", which is not part of its run: when the run fails or its '
                "worker dies, that write stays and is made again. Write to the run's own database, make the write "
                "idempotent with run.idempotency_key, or connect it with atomic=False.",
                receiver,
                alias,
            )
        return execute(sql, params, many, context)

    return watch
