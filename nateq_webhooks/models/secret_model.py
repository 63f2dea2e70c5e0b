"""Models with a signing secret: an unusable one is not written, and neither a pickle nor an error shows it."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Final, Self, TypeVar

from django.core.exceptions import ValidationError
from django.db import models, router

from nateq_webhooks.database.secret_guard import guarded_read, guarded_write
from nateq_webhooks.errors import SecretError, SecretUnavailableError
from nateq_webhooks.models.fields import StoredSecretField
from nateq_webhooks.models.signing_keys import is_encrypted, problem_text, require_usable, why_unavailable
from nateq_webhooks.protocol.secret_text import ENCRYPTED_PREFIX, REFERENCE_PREFIX, SecretText
from nateq_webhooks.protocol.signatures import SigningKey

Row = TypeVar("Row", bound=models.Model)

FIELD: Final = "secret"
"""The name of the column in each of these tables."""


class SecretModelQuerySet(models.QuerySet[Row]):
    """Rows with a signing secret. An unusable one is refused; an empty one is accepted: it is not known yet."""

    def update(self, **kwargs: Any) -> int:
        """Update as Django does. Raises `SecretError` for a secret that is too short or not in the site's encoding."""
        if isinstance(kwargs.get(FIELD), str):
            kwargs[FIELD] = SecretText(kwargs[FIELD])
            refuse_unusable(kwargs[FIELD])
        return guarded_write(self.db, super().update, **kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Row], *args: Any, **kwargs: Any) -> list[Row]:
        """Create as Django does. Raises `SecretError` as `update` does."""
        rows = list(objs)
        for row in rows:
            refuse_unusable(getattr(row, FIELD))
        return guarded_write(self.db, super().bulk_create, rows, *args, **kwargs)

    bulk_create.alters_data = True  # type: ignore[attr-defined]

    def bulk_update(self, objs: Iterable[Row], fields: Iterable[str], *args: Any, **kwargs: Any) -> int:
        """Update as Django does. Raises `SecretError` as `update` does."""
        rows, names = list(objs), list(fields)
        if FIELD in names:
            for row in rows:
                refuse_unusable(getattr(row, FIELD))
        return super().bulk_update(rows, names, *args, **kwargs)

    bulk_update.alters_data = True  # type: ignore[attr-defined]

    def with_stored(self) -> "models.QuerySet[Any]":
        """Return the rows with `stored`: the secret as the column has it, encrypted or not."""
        return self.annotate(stored=models.ExpressionWrapper(models.F(FIELD), output_field=StoredSecretField()))

    def plain(self) -> Self:
        """Return the rows whose secret is in plain text."""
        rows = self.exclude(**{FIELD: ""})
        for prefix in (ENCRYPTED_PREFIX, REFERENCE_PREFIX):
            rows = rows.exclude(**{f"{FIELD}__stored_prefix": prefix})
        return rows

    def replace_stored(self, pk: Any, stored: str, new: str) -> bool:
        """Write the same secret in another form, if the column has not changed since it was read; return whether.

        `modified_at` stays: the key is the same, and thousands of changed rows would be read again once a second.
        """
        value = models.Value(SecretText(new), output_field=StoredSecretField())
        # By its beginning, too: with MariaDB's usual collation equality ignores case, and LIKE BINARY does not.
        row = self.filter(pk=pk, **{f"{FIELD}__stored": stored, f"{FIELD}__stored_prefix": stored})
        return guarded_write(self.db, super(SecretModelQuerySet, row).update, **{FIELD: value}) > 0

    replace_stored.alters_data = True  # type: ignore[attr-defined]

    def _fetch_all(self) -> None:
        guarded_read(self.db, super()._fetch_all)

    def _iterator(self, *args: Any) -> Iterator[Any]:
        rows, end = super()._iterator(*args), object()  # type: ignore[misc]
        while (row := guarded_read(self.db, next, rows, end)) is not end:
            yield row


class SecretModel(models.Model):
    """A row with a signing secret in its column `secret`."""

    secret: Any
    _stored_secret: str | None = None

    class Meta:
        abstract = True

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling: of a stored row without the secret, which is then read from the database."""
        state: dict[str, Any] = super().__getstate__()
        if not self._state.adding:
            state.pop(FIELD, None)
            state.pop("_stored_secret", None)
        return state

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as Django does. Raises `SecretError` for a new, unusable secret (`refuse_unusable`)."""
        fields = kwargs.get("update_fields")
        if FIELD in self.__dict__ and (fields is None or FIELD in fields):
            secret = self.__dict__[FIELD]
            if secret != self._stored_secret:
                refuse_unusable(secret)
        super().save(*args, **kwargs)
        self._stored_secret = self.__dict__.get(FIELD)

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Any:
        """Create the row, and remember the stored secret: it may be written again even if it is unusable."""
        row = super().from_db(*args, **kwargs)
        row._stored_secret = row.__dict__.get(FIELD)  # noqa: SLF001 - of this class
        return row

    def refresh_from_db(self, using: str | None = None, fields: Any = None, *args: Any, **kwargs: Any) -> None:
        """Read the row again, as Django does."""
        super().refresh_from_db(using, fields, *args, **kwargs)
        if fields is None or FIELD in fields:
            self._stored_secret = self.__dict__.get(FIELD)

    def check_secret(self) -> None:
        """Raise `ValidationError` for an unusable secret; a stored one that can't be read now may stay."""
        if self.secret == self._stored_secret and why_unavailable(self.secret):
            return
        check_secret(self.secret)

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        """Save; a database error does not show the row."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        guarded_write(using, super().save_base, *args, **kwargs)

    save_base.alters_data = True  # type: ignore[attr-defined]


def refuse_unusable(secret: str) -> None:
    """Raise `SecretError` for an unusable secret.

    An empty one is accepted: it is not known yet. So is one that can't be read now: its key or variable may come back.
    """
    if secret:
        with contextlib.suppress(SecretUnavailableError):
            require_usable(secret)


def check_secret(secret: str) -> None:
    """Raise `ValidationError` for an unusable secret: empty, too short, or not in the site's encoding."""
    try:
        if is_encrypted(secret):
            SigningKey.of(secret)  # raises: nobody enters a secret in the form in which it is stored
        require_usable(secret)
    except SecretError as error:
        raise ValidationError({"secret": problem_text(error)}) from None
