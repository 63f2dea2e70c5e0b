"""The check of the database's character set."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import Error, connections, router

from nateq_webhooks.database.encoding import column_charsets, connection_charset, encoding_of
from nateq_webhooks.models import Delivery

_PREFIX = "nateq_webhooks"


@checks.register("nateq_webhooks", checks.Tags.database)
def check_encoding(databases: Sequence[str] | None = None, **kwargs: Any) -> list[checks.CheckMessage]:  # noqa: ARG001
    """Report a character set that lacks characters: they are stored as escapes, and payloads only as bytes."""
    alias = router.db_for_write(Delivery)
    if alias not in (databases or ()):
        return []
    try:
        found = _of_postgresql(alias) if connections[alias].vendor == "postgresql" else _of_mysql(alias)
    except Error:
        return []
    return [checks.Warning(message, hint=hint, id=f"{_PREFIX}.W045") for message, hint in found]


def _of_postgresql(alias: str) -> list[tuple[str, str]]:
    encoding = encoding_of(connections[alias])
    if encoding == "UTF8":
        return []
    message = (
        f"The database's encoding is {encoding}: characters that it lacks are stored as escapes, and a payload that "
        "contains some can't be queried."
    )
    return [(message, "Move to a database with the encoding UTF8.")]


def _of_mysql(alias: str) -> list[tuple[str, str]]:
    connection = connections[alias]
    if connection.vendor != "mysql":
        return []
    found = []
    charset = connection_charset(connection)
    if charset != "utf8mb4":
        message = f"The connection's character set is {charset}: characters that it lacks are stored as escapes."
        found.append((message, 'Leave "charset" out of the database\'s OPTIONS, or set it to "utf8mb4".'))
    narrow = sorted(column_charsets(connection) - {"utf8mb4"})
    if narrow:
        message = (
            f"Columns of this app have the character set {', '.join(narrow)}: characters that it lacks, such as emoji, "
            "are stored as escapes."
        )
        hint = "ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4 for each table whose name begins with nateq_webhooks_."
        found.append((message, hint))
    return found
