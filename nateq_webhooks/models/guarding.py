"""Tables that hold signing secrets: what fails while one is read or written, or is logged of it, shows none.

Their own values never print themselves (`SecretText`). What is left is what drivers and databases make of them: the
rows as they were read, the statement with its values, and messages that repeat a row, such as PostgreSQL's
"Failing row contains". They are taken off the error before it goes on.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from django.db import Error, connections, models, router
from django.db.backends.utils import CursorDebugWrapper

from nateq_webhooks.conf import settings
from nateq_webhooks.protocol.secret_text import HIDDEN, SECRET_PREFIX, SecretText
from nateq_webhooks.protocol.signatures import SigningKey

P = ParamSpec("P")
R = TypeVar("R")
Row = TypeVar("Row", bound=models.Model)

FIELD: Final = "secret"
"""The name of the column in each of these tables."""

_STATEMENT: Final = ("django.db.backends", "django.db.utils")
"""Where functions begin that hold a statement with its values."""

_ROWS: Final = ("django.db.models",)
"""Where functions begin that hold rows as they were read."""

_A_SECRET: Final = re.compile(rf"{SECRET_PREFIX}[^\s,'\")]*")


class GuardedQuerySet(models.QuerySet[Row]):
    """Rows with a signing secret. One that could verify nothing is not written; an empty one is: none is known yet."""

    def update(self, **kwargs: Any) -> int:
        """Update as Django does. Raises `SecretError` for a secret that is too short or not in the site's encoding."""
        if isinstance(kwargs.get(FIELD), str):
            kwargs[FIELD] = SecretText(kwargs[FIELD])
            refuse_unusable(kwargs[FIELD])
        return writing(self.db, super().update, **kwargs)

    update.alters_data = True  # type: ignore[attr-defined]

    def bulk_create(self, objs: Iterable[Row], *args: Any, **kwargs: Any) -> list[Row]:
        """Create as Django does. Raises `SecretError` as `update` does."""
        rows = list(objs)
        for row in rows:
            refuse_unusable(getattr(row, FIELD))
        return writing(self.db, super().bulk_create, rows, *args, **kwargs)

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
        reading(self.db, super()._fetch_all)

    def _iterator(self, *args: Any) -> Iterator[Any]:
        rows, end = super()._iterator(*args), object()  # type: ignore[misc]
        while (row := reading(self.db, next, rows, end)) is not end:
            yield row


class HoldsSecret(models.Model):
    """A row with a signing secret, in its column `secret`."""

    _stored_secret: str | None = None

    class Meta:
        abstract = True

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: of a stored row all but the secret, which is read from the database when needed."""
        state: dict[str, Any] = super().__getstate__()
        if not self._state.adding:
            state.pop(FIELD, None)
            state.pop("_stored_secret", None)
        return state

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save as Django does. Raises `SecretError` for a new secret that could verify nothing (`refuse_unusable`)."""
        fields = kwargs.get("update_fields")
        if FIELD in self.__dict__ and (fields is None or FIELD in fields):
            secret = self.__dict__[FIELD]
            if secret != self._stored_secret:
                refuse_unusable(secret)
        super().save(*args, **kwargs)
        self._stored_secret = self.__dict__.get(FIELD)

    @classmethod
    def from_db(cls, *args: Any, **kwargs: Any) -> Any:
        """Make the row, and remember which secret is stored: that one may be written again, whatever it is."""
        row = super().from_db(*args, **kwargs)
        row._stored_secret = row.__dict__.get(FIELD)  # noqa: SLF001 - of this class
        return row

    def refresh_from_db(self, using: str | None = None, fields: Any = None, *args: Any, **kwargs: Any) -> None:
        """Read the row anew, as Django does."""
        super().refresh_from_db(using, fields, *args, **kwargs)
        if fields is None or FIELD in fields:
            self._stored_secret = self.__dict__.get(FIELD)

    def save_base(self, *args: Any, **kwargs: Any) -> None:
        """Save; an error of the database says nothing of the row."""
        using = kwargs.get("using") or router.db_for_write(type(self), instance=self)
        writing(using, super().save_base, *args, **kwargs)

    save_base.alters_data = True  # type: ignore[attr-defined]


def refuse_unusable(secret: str) -> None:
    """Raise `SecretError` for a secret that could verify nothing; an empty one says that none is known yet."""
    if secret:
        SigningKey.of(secret, settings().secret_encoding)


def writing(using: str, write: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what writes secrets: the log of statements gets them without their values, an error nothing of the row."""
    with _without_values(using):
        try:
            return write(*args, **kwargs)
        except Error as error:
            _clean(error)
            raise error.with_traceback(_cut(error.__traceback__, _STATEMENT))  # noqa: B904 - the error itself


def reading(using: str, read: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call what reads secrets: an error has left the functions that hold the rows as they were read."""
    with _without_values(using):
        try:
            return read(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again
            if isinstance(error, Error):
                _clean(error)
            raise error.with_traceback(_cut(error.__traceback__, _ROWS))  # noqa: B904 - the error itself


def _clean(error: BaseException) -> None:
    """Take what a database or a driver repeats of a row off an error and what it is chained to."""
    known: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in known:
        known.add(id(link))
        link.__traceback__ = link.__traceback__ if link is error else _cut(link.__traceback__, _STATEMENT + _ROWS)
        link.args = tuple(_first_line(each) if isinstance(each, str) else each for each in link.args)
        link = link.__cause__ or link.__context__


def _first_line(text: str) -> str:
    """Return what went wrong; PostgreSQL's further lines repeat the row."""
    return _A_SECRET.sub(HIDDEN, text.partition("\n")[0])


def _cut(traceback: TracebackType | None, modules: tuple[str, ...]) -> TracebackType | None:
    """Return a traceback as far as it is outside of some modules."""
    kept: list[TracebackType] = []
    while traceback is not None:
        name = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if any(name == module or name.startswith(f"{module}.") for module in modules):
            break
        kept.append(traceback)
        traceback = traceback.tb_next
    whole: TracebackType | None = None
    for each in reversed(kept):
        whole = TracebackType(whole, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return whole


class _CursorWithoutValues(CursorDebugWrapper):
    """Logs a statement (under DEBUG) with places for its values, and a secret's value as hidden."""

    def debug_sql(
        self,
        sql: str | None = None,
        params: Any = None,
        use_last_executed_query: bool = False,  # noqa: ARG002, FBT001, FBT002 - Django's signature
        many: bool = False,  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:
        return super().debug_sql(sql, _hidden(params), use_last_executed_query=False, many=many)


def _hidden(params: Any) -> Any:
    if isinstance(params, list | tuple):
        return tuple(_hidden(each) for each in params)
    return HIDDEN if isinstance(params, SecretText) else params


@contextmanager
def _without_values(using: str) -> Iterator[None]:
    """Have a connection log its statements without their values."""
    connection = connections[using]
    before = connection.__dict__.get("make_debug_cursor")
    connection.__dict__["make_debug_cursor"] = lambda cursor: _CursorWithoutValues(cursor, connection)
    try:
        yield
    finally:
        if before is None:
            connection.__dict__.pop("make_debug_cursor", None)
        else:
            connection.__dict__["make_debug_cursor"] = before
