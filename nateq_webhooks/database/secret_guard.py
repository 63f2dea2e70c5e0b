"""Reading and writing signing secrets: errors and logs of such a statement do not show them.

The values themselves have a safe repr (`SecretText`). Drivers and databases keep further copies: the rows as they were
read, the statement with its values, and messages that repeat a row, such as PostgreSQL's "Failing row contains". They
are removed from the error before it is raised.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar

from django.db import Error, connections
from django.db.backends.utils import CursorDebugWrapper

from nateq_webhooks.protocol.secret_text import HIDDEN, SECRET_PREFIX, SecretText

P = ParamSpec("P")
R = TypeVar("R")

_STATEMENT: Final = ("django.db.backends", "django.db.utils")
"""Packages whose functions have a statement with its values in their variables."""

_ROWS: Final = ("django.db.models",)
"""Packages whose functions have rows in their variables."""

_A_SECRET: Final = re.compile(rf"{SECRET_PREFIX}[^\s,'\")]*")


def guarded_write(using: str, write: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that writes secrets: neither the log of statements nor an error shows the row."""
    with _without_values(using):
        try:
            return write(*args, **kwargs)
        except Error as error:
            _clean(error)
            raise error.with_traceback(_cut(error.__traceback__, _STATEMENT))  # noqa: B904 - the error itself


def guarded_read(using: str, read: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function that reads secrets: the traceback of an error ends before the functions that hold rows."""
    with _without_values(using):
        try:
            return read(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - raised again
            if isinstance(error, Error):
                _clean(error)
            raise error.with_traceback(_cut(error.__traceback__, _ROWS))  # noqa: B904 - the error itself


def _clean(error: BaseException) -> None:
    """Remove the row from an error and from the errors that it is chained to."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = link.__traceback__ if link is error else _cut(link.__traceback__, _STATEMENT + _ROWS)
        link.args = tuple(_first_line(each) if isinstance(each, str) else each for each in link.args)
        link = link.__cause__ or link.__context__


def _first_line(text: str) -> str:
    """Return the message without PostgreSQL's further lines, which repeat the row."""
    return _A_SECRET.sub(HIDDEN, text.partition("\n")[0])


def _cut(traceback: TracebackType | None, modules: tuple[str, ...]) -> TracebackType | None:
    """Return a traceback up to the first function of one of these packages."""
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
    """Logs a statement (with DEBUG) with placeholders, and hides the values of secrets."""

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
    """Make a connection log its statements without their values."""
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
