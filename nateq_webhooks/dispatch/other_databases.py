"""Telling of a receiver that writes to another database: that write is not part of its run's transaction."""

import logging
from collections.abc import Callable
from typing import Any, Final

from django.db import connections

logger: Final = logging.getLogger("nateq_webhooks")

_READS: Final = ("SELECT", "SAVEPOINT", "RELEASE", "ROLLBACK", "BEGIN", "SHOW", "SET", "EXPLAIN", "WITH", "PRAGMA")

_told: Final[set[tuple[str, str]]] = set()
"""Receivers and aliases that were warned of in this process; once is enough."""


class warned_of_other_databases:  # noqa: N801 - used as a function
    """Log a warning, once per receiver and database, when the block writes to another database than the runs'.

    No generator: `contextlib` sets attributes of an exception that passes through one, which its class may refuse.
    """

    def __init__(self, receiver: str, own_alias: str | None) -> None:
        aliases = (alias for alias in connections if alias != own_alias and (receiver, alias) not in _told)
        self._watches = [(connections[alias], _watch(receiver, alias)) for alias in aliases]

    def __enter__(self) -> None:
        for connection, watch in self._watches:
            connection.execute_wrappers.append(watch)

    def __exit__(self, *exception: object) -> None:
        for connection, watch in self._watches:
            connection.execute_wrappers.remove(watch)


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
