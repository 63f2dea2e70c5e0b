"""Two columns that Django's own would get wrong on one database or another."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
    _BinaryField = models.BinaryField[bytes, bytes]
else:  # Django's fields are generic for the type checker only
    _CharField = models.CharField
    _BinaryField = models.BinaryField


class ExactCharField(_CharField):
    """Text that is compared exactly: MariaDB's and MySQL's default collation takes ABC for abc and é for e."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Return Django's parameters, with a binary collation where the default one folds."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class BytesField(_BinaryField):
    """Bytes that read as `bytes` with every driver (some give a memoryview)."""

    def from_db_value(self, value: object, *args: object) -> bytes | None:  # noqa: ARG002 - Django's signature
        """Return the stored bytes."""
        return None if value is None else bytes(value)  # type: ignore[call-overload]
