r"""The characters that a database can store: MariaDB's utf8mb3 has no emoji, PostgreSQL's LATIN1 no Arabic.

Other characters are stored as escapes (`\U0001f600`), so that an error, a name or a reason is never lost.
"""

import re
from enum import StrEnum
from typing import Any, Final

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from nateq_webhooks.protocol.columns import column_text

TABLES: Final = "nateq\\_webhooks\\_%"
"""The names of this app's tables, as SQL's LIKE takes them."""


class CharacterSet(StrEnum):
    """The characters that a database stores."""

    ALL = "utf-8"
    BMP = "utf8mb3"
    "Those of up to three bytes in UTF-8: no emoji."
    LATIN1 = "latin-1"
    ASCII = "ascii"


def storable(text: str, alias: str, *, binary: bool = False) -> str:
    """Return `text` as the database stores it: U+FFFD for NUL and halves of surrogate pairs, escapes for the rest.

    `binary` is for a column with its own collation (`ExactCharField`), which stores every character that the connection
    can send. Queries the database once per process, for the other columns of MariaDB.
    """
    if text.isascii() and text.isprintable():  # nearly always
        return text
    text = column_text(text, len(text))
    if text.isascii():
        return text
    repertoire = of_connection(alias) if binary else of_columns(alias)
    if repertoire is CharacterSet.ALL:
        return text
    if repertoire is CharacterSet.BMP:
        return _ASTRAL.sub(lambda found: f"\\U{ord(found[0]):08x}", text)
    return text.encode(repertoire, "backslashreplace").decode(repertoire)


_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")


def is_storable_json(text: str, alias: str) -> bool:
    """Return whether a JSON column stores this ASCII text: PostgreSQL decodes escapes to the database encoding."""
    repertoire = of_connection(alias) if connections[alias].vendor == "postgresql" else CharacterSet.ALL
    if repertoire is CharacterSet.ALL or "\\u" not in text:
        return True
    limit = 0xFF if repertoire is CharacterSet.LATIN1 else 0x7F
    return all(not found[1] or int(found[1], 16) <= limit for found in _JSON_ESCAPE.finditer(text))


_JSON_ESCAPE: Final = re.compile(r"\\\\|\\u([0-9a-fA-F]{4})")
"""An escaped backslash, or the number of an escaped character."""


def of_connection(alias: str) -> CharacterSet:
    """Return the characters that the connection can send and the encoding of the database includes."""
    known = _of_connection.get(alias)
    if known is None:
        connection = connections[alias]
        if connection.vendor == "postgresql":
            known = _of_postgresql(encoding_of(connection))
        elif connection.vendor == "mysql":
            known = _of_mysql(connection_charset(connection))
        else:
            known = CharacterSet.ALL
        _of_connection[alias] = known
    return known


def of_columns(alias: str) -> CharacterSet:
    """Return the characters that all text columns of this app can store."""
    known = _of_columns.get(alias)
    if known is None:
        found = {of_connection(alias), *map(_of_mysql, column_charsets(connections[alias]))}
        known = _of_columns[alias] = max(found, key=list(CharacterSet).index)
    return known


_of_connection: Final[dict[str, CharacterSet]] = {}
_of_columns: Final[dict[str, CharacterSet]] = {}


def forget() -> None:
    """Query each database again."""
    _of_connection.clear()
    _of_columns.clear()


def encoding_of(connection: BaseDatabaseWrapper) -> str:
    """Return the encoding of a PostgreSQL database, which the server sends when the connection is made."""
    connection.ensure_connection()
    driver: Any = connection.connection
    if hasattr(driver, "get_parameter_status"):  # psycopg2
        return str(driver.get_parameter_status("server_encoding"))
    return str(driver.info.parameter_status("server_encoding"))


def connection_charset(connection: BaseDatabaseWrapper) -> str:
    """Return the character set that a connection to MariaDB or MySQL is made with."""
    return str(connection.get_connection_params().get("charset", "utf8mb4"))


def column_charsets(connection: BaseDatabaseWrapper) -> set[str]:
    """Return the character sets of this app's text columns on MariaDB or MySQL; none elsewhere."""
    if connection.vendor != "mysql":
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT character_set_name FROM information_schema.columns WHERE table_schema = DATABASE() "
            "AND character_set_name IS NOT NULL AND table_name LIKE %s",
            [TABLES],
        )
        return {str(name) for (name,) in cursor.fetchall()}


def _of_postgresql(encoding: str) -> CharacterSet:
    # SQL_ASCII stores any bytes, but counts bytes instead of characters, and its JSON accepts ASCII only.
    return {"UTF8": CharacterSet.ALL, "LATIN1": CharacterSet.LATIN1}.get(encoding, CharacterSet.ASCII)


def _of_mysql(charset: str) -> CharacterSet:
    wide = {"utf8mb4": CharacterSet.ALL, "utf8mb3": CharacterSet.BMP, "utf8": CharacterSet.BMP}
    return wide.get(charset.lower(), CharacterSet.ASCII)
