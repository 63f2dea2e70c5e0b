"""Model fields for text that not every database stores, exact comparison, bytes, and secrets."""

from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.query_utils import DeferredAttribute

from nateq_webhooks.database.encoding import storable
from nateq_webhooks.protocol.secret_text import SecretText

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
    _TextField = models.TextField[str, str]
    _BinaryField = models.BinaryField[bytes, bytes]
else:  # Django's fields are generic for the type checker only
    _CharField = models.CharField
    _TextField = models.TextField
    _BinaryField = models.BinaryField


class SafeCharField(_CharField):
    """Text; characters that the database can't store are escaped.

    Migrations contain Django's field: the column is the same.
    """

    def deconstruct(self) -> Any:
        """Deconstruct as Django's own field, so that migrations do not depend on this class."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the text as the column stores it."""
        prepared_value = super().get_db_prep_value(value, connection, prepared)
        if not isinstance(prepared_value, str):
            return prepared_value
        text = storable(prepared_value, connection.alias)
        return text if text == prepared_value else text[: self.max_length]


class SafeTextField(_TextField):
    """Text without a limit; characters that the database can't store are escaped."""

    def deconstruct(self) -> Any:
        """Deconstruct as Django's own field, so that migrations do not depend on this class."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the text as the column holds it."""
        prepared_value = super().get_db_prep_value(value, connection, prepared)
        return storable(prepared_value, connection.alias) if isinstance(prepared_value, str) else prepared_value


class ExactCharField(_CharField):
    """Text that is compared exactly: the default collation of MariaDB and MySQL ignores case and accents."""

    def get_db_prep_value(self, value: Any, connection: BaseDatabaseWrapper, prepared: bool = False) -> Any:  # noqa: FBT001, FBT002
        """Return the text as the column stores it."""
        prepared_value = super().get_db_prep_value(value, connection, prepared)
        if not isinstance(prepared_value, str):
            return prepared_value
        text = storable(prepared_value, connection.alias, binary=True)
        return text if text == prepared_value else text[: self.max_length]

    def db_parameters(self, connection: BaseDatabaseWrapper) -> Any:
        """Return Django's parameters, with a binary collation on MariaDB and MySQL."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class BytesField(_BinaryField):
    """Bytes that are read as `bytes` with every driver (some return a memoryview)."""

    def from_db_value(self, value: object, *args: object) -> bytes | None:  # noqa: ARG002 - Django's signature
        """Return the stored bytes."""
        return None if value is None else bytes(value)  # type: ignore[call-overload]


class _SecretAttribute(DeferredAttribute):
    """A model's signing secret: text that is assigned becomes `SecretText`, whose repr does not show it."""

    def __set__(self, instance: models.Model, value: object) -> None:
        instance.__dict__[self.field.attname] = _hidden(value)


class SecretField(_CharField):
    """A signing secret: `SecretText`, read from the database, in the model, and as a query parameter.

    Migrations contain a `CharField`: the column is the same.
    """

    descriptor_class = _SecretAttribute

    def from_db_value(self, value: str | None, *args: object) -> str | None:  # noqa: ARG002 - Django's signature
        """Return the stored secret."""
        return None if value is None else SecretText(value)

    def to_python(self, value: Any) -> Any:
        """Return the secret as text."""
        return _hidden(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        """Return the secret for the driver as `SecretText`: error reports show the variables of Django's functions."""
        return _hidden(super().get_prep_value(value))

    def deconstruct(self) -> Any:
        """Deconstruct as Django's own field, so that migrations do not depend on this class."""
        name, _path, args, options = super().deconstruct()
        return name, "django.db.models.CharField", args, options


def _hidden(value: Any) -> Any:
    return SecretText(value) if isinstance(value, str) and not isinstance(value, SecretText) else value
