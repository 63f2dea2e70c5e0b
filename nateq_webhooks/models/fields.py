"""Model fields for text that not every database stores, exact comparison, bytes, and secrets."""

from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import FieldError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.lookups import Exact, IsNull, StartsWith
from django.db.models.query_utils import DeferredAttribute

from nateq_webhooks.database import encryption
from nateq_webhooks.database.encoding import storable
from nateq_webhooks.errors import DecryptionError
from nateq_webhooks.protocol.secret_text import ENCRYPTED_PREFIX, REFERENCE_PREFIX, SecretText

if TYPE_CHECKING:
    _CharField = models.CharField[str, str]
    _TextField = models.TextField[str, str]
    _BinaryField = models.BinaryField[bytes, bytes]
    _BooleanField = models.BooleanField[bool, bool]
else:  # Django's fields are generic for the type checker only
    _CharField = models.CharField
    _TextField = models.TextField
    _BinaryField = models.BinaryField
    _BooleanField = models.BooleanField


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


class LatchField(_BooleanField):
    """True or false; saving a row that was read while it was false does not take back what became true meanwhile.

    Only `update` does. Migrations contain Django's field: the column is the same.
    """

    def deconstruct(self) -> Any:
        """Deconstruct as Django's own field, so that migrations do not depend on this class."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.BooleanField", args, kwargs

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:  # noqa: FBT001 - Django's signature
        """Return what to write: for false in a row that is there, what the row has."""
        value = super().pre_save(model_instance, add)
        return value if value or add else models.F(self.attname)


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
    """A signing secret: `SecretText` in the model, and encrypted in the database if the extra `encryption` is there.

    Both forms are read. A secret that no key decrypts is read as it is stored, starts with `fernet:`, and is written
    back unchanged. A reference to an environment variable (`env:NAME`) and an empty text are stored as they are.

    Encryption yields another text each time, so no query finds a secret by its value. What works is `isnull`, the empty
    text, and `stored` and `stored_prefix`, which compare the column as it is. Migrations contain a `CharField`: the
    column is the same.
    """

    descriptor_class = _SecretAttribute

    def from_db_value(self, value: str | None, *args: object) -> str | None:  # noqa: ARG002 - Django's signature
        """Return the stored secret, decrypted if a key decrypts it."""
        if value is None:
            return None
        try:
            return encryption.decrypt_text(value)
        except DecryptionError:
            return SecretText(value)

    def to_python(self, value: Any) -> Any:
        """Return the secret as text."""
        return _hidden(super().to_python(value))

    def get_prep_value(self, value: Any) -> Any:
        """Return the secret for the driver as `SecretText`: error reports show the variables of Django's functions."""
        return _hidden(super().get_prep_value(value))

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """Return the secret as the column stores it."""
        return super().get_db_prep_save(_stored(value), connection)

    def value_to_string(self, obj: models.Model) -> str:
        """Return the secret for `dumpdata`: as it is stored if it is encrypted or a reference, else nothing."""
        stored = _stored(self.value_from_object(obj))
        is_harmless = isinstance(stored, str) and stored.startswith((ENCRYPTED_PREFIX, REFERENCE_PREFIX))
        return str(stored) if is_harmless else ""

    def get_lookup(self, lookup_name: str) -> Any:
        """Return the few lookups that work with an encrypted column."""
        return _LOOKUPS.get(lookup_name)

    def get_transform(self, lookup_name: str) -> None:  # noqa: ARG002 - Django's signature
        """Return None: no transformation works with an encrypted column."""
        return None

    def deconstruct(self) -> Any:
        """Deconstruct as Django's own field, so that migrations do not depend on this class."""
        name, _path, args, options = super().deconstruct()
        return name, "django.db.models.CharField", args, options


class StoredSecretField(SecretField):
    """The type of an expression: a secret as its column has it, encrypted or not."""

    def from_db_value(self, value: str | None, *args: object) -> str | None:  # noqa: ARG002 - Django's signature
        """Return the column's text."""
        return None if value is None else SecretText(value)

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """Return the text as it is."""
        return _CharField.get_db_prep_save(self, _hidden(value), connection)


class _IsStored(Exact):
    """Compares the column with a text as it is stored."""


class _StartsStored(StartsWith):
    """Compares the beginning of the column with a text as it is stored."""


class _IsEmpty(Exact):
    """Compares the column with the empty text, and with nothing else."""

    def get_prep_lookup(self) -> Any:
        if isinstance(self.rhs, str) and self.rhs:
            self.rhs = _hidden(self.rhs)
            raise FieldError("No query finds a signing secret by its value: it may be encrypted. Compare it in Python.")
        return super().get_prep_lookup()


_LOOKUPS: Final = {"isnull": IsNull, "exact": _IsEmpty, "stored": _IsStored, "stored_prefix": _StartsStored}


def _stored(value: Any) -> Any:
    """Return a secret as the column stores it. Raises `ImproperlyConfigured` as `encryption.encrypt` does."""
    if not isinstance(value, str) or not value or value.startswith((ENCRYPTED_PREFIX, REFERENCE_PREFIX)):
        return _hidden(value)
    return encryption.encrypt_text(value)


def _hidden(value: Any) -> Any:
    return SecretText(value) if isinstance(value, str) and not isinstance(value, SecretText) else value
