"""Models with a signing secret: an unusable one is not written, and neither a pickle nor an error shows it."""

from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

from django.db import models, router

from nateq_webhooks.conf import settings
from nateq_webhooks.database.secret_guard import guarded_read, guarded_write
from nateq_webhooks.protocol.secret_text import SecretText
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

    def _fetch_all(self) -> None:
        guarded_read(self.db, super()._fetch_all)

    def _iterator(self, *args: Any) -> Iterator[Any]:
        rows, end = super()._iterator(*args), object()  # type: ignore[misc]
        while (row := guarded_read(self.db, next, rows, end)) is not end:
            yield row


class SecretModel(models.Model):
    """A row with a signing secret in its column `secret`."""

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

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        """Save; a database error does not show the row."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        guarded_write(using, super().save_base, *args, **kwargs)

    save_base.alters_data = True  # type: ignore[attr-defined]


def refuse_unusable(secret: str) -> None:
    """Raise `SecretError` for an unusable secret; an empty one is accepted: it is not known yet."""
    if secret:
        SigningKey.of(secret, settings().secret_encoding)
