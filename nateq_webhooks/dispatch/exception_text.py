"""What a receiver raised, as text that can be recorded whatever its class does; and whether the process must end.

An exception's class belongs to the project or a library. Its `__str__`, the class's name, the traceback and the causes
may raise, be wrong or be huge, so each of them is read in a `try`.
"""

import asyncio
import concurrent.futures
import contextlib
import dis
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import CodeType, TracebackType
from typing import Final

import asgiref.sync
import django.db.transaction

import nateq_webhooks
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.protocol.redaction import MASK, TextMask

MAX_NAME_CHARS: Final = 200
"""Characters kept of an exception class's name."""

_CALLERS: Final = (
    os.path.join(os.path.dirname(nateq_webhooks.__file__), ""),
    *(module.__file__ or "" for module in (asgiref.sync, contextlib, django.db.transaction)),
    *(os.path.join(os.path.dirname(package.__file__ or ""), "") for package in (asyncio, concurrent.futures)),
)
"""Files and directories whose functions call a receiver: this package, what it calls an async one by, the wrapper of
`@transaction.atomic`."""

MAX_CHAIN: Final = 1_000
"""Exceptions that may have led to the one that is formatted: each takes about a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class ExceptionText:
    """An exception as text that every database stores: its class's name, that and its own text, its traceback."""

    name: str
    text: str
    traceback: str
    is_printable: bool
    "Whether its class let itself be shown: only then it is handed on to handlers of the log."
    is_masked: bool = False
    "Whether the delivery has values that are masked: handlers of the log get the texts instead of the exception."

    def masked(self, mask: TextMask) -> "ExceptionText":
        """Return it with some values masked. The variables of its frames have them even if its text has not."""
        if not mask:
            return self
        text, trace = mask.masked(self.text)[:MAX_ERROR_CHARS], mask.masked(self.traceback)[-MAX_TRACEBACK_CHARS:]
        return replace(self, text=text, traceback=trace, is_masked=True)

    def without_content(self) -> "ExceptionText":
        """Return its name only: what it must not contain is not known."""
        return replace(self, text=f"{self.name}: {MASK}", traceback="", is_masked=True)

    def storable(self) -> Iterator[tuple[str, str]]:
        """Yield text and traceback to store, until a database takes them: as they are, escaped, without content."""
        yield self.text, self.traceback
        yield _ascii(self.text, MAX_ERROR_CHARS), _ascii(self.traceback, MAX_TRACEBACK_CHARS)
        yield "(the database does not store the error's text)", ""


def describe(error: BaseException) -> ExceptionText:
    """Return an exception as text. Raises nothing that the exception's class raises."""
    name = _text_or_none(lambda: type(error).__qualname__, MAX_NAME_CHARS)
    text = _text_or_none(lambda: str(error), MAX_ERROR_CHARS)
    trace = _text_or_none(lambda: _formatted(error), -MAX_TRACEBACK_CHARS)
    is_printable = None not in (name, text, trace)
    name = _printable(name) if name else "(an exception without a name)"
    text = f"{name}: {'(its text can not be shown)' if text is None else text}"
    if trace is None:
        frames = _text_or_none(
            lambda: "".join(traceback.format_tb(_from_receiver(error.__traceback__))), MAX_TRACEBACK_CHARS
        )
        trace = f"{frames or ''}{text}\n(what else belongs to it can not be shown)\n"[-MAX_TRACEBACK_CHARS:]
    return ExceptionText(
        name, column_text(text, MAX_ERROR_CHARS), column_text(trace, MAX_TRACEBACK_CHARS), is_printable
    )


def _text_or_none(ask: Callable[[], str], limit: int) -> str | None:
    """Return the first characters of a text, or the last with a negative limit; None if asking for it raises."""
    try:
        text = ask()
        part = slice(limit, None) if limit < 0 else slice(limit)
        return "".join(str.__getitem__(text, part))  # a subclass of str may do anything, too
    except BaseException as error:
        if ends_the_process(error):
            raise
        return None


def _formatted(error: BaseException) -> str:
    """Return the traceback with those of what led to the exception. Raises `ValueError` if that are too many."""
    todo, seen = [error], {id(error)}
    while todo:
        one = todo.pop()
        parts = one.exceptions if isinstance(one, BaseExceptionGroup) else ()
        for other in (one.__cause__, one.__context__, *parts):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                todo.append(other)
        if len(seen) > MAX_CHAIN:
            raise ValueError(f"More than {MAX_CHAIN} exceptions led to it.")
    return "".join(traceback.format_exception(type(error), error, _from_receiver(error.__traceback__)))


def _from_receiver(whole: TracebackType | None) -> TracebackType | None:
    """Return a traceback from the receiver's first frame on; the whole one if no frame is the receiver's."""
    found = whole
    while found is not None and found.tb_frame.f_code.co_filename.startswith(_CALLERS):
        found = found.tb_next
    return whole if found is None else found


def _printable(name: str) -> str:
    return name if name.isprintable() else name.encode("unicode_escape").decode()


def _ascii(text: str, limit: int) -> str:
    return text.encode("ascii", "backslashreplace").decode()[:limit]


def ends_the_process(error: BaseException) -> bool:
    """Return whether a signal to this process raised the exception, so that it must be raised again.

    Signals are handled in the main thread: by a Python function that raises (gunicorn's workers, time limits), or by
    Python itself (Ctrl-C). What a receiver raises by itself, `SystemExit` and `KeyboardInterrupt` included, is its
    failure and no more.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    handlers = _handlers()
    frame, innermost = error.__traceback__, None
    while frame is not None:
        if frame.tb_frame.f_code in handlers:
            return True
        frame, innermost = frame.tb_next, frame
    is_ctrl_c = issubclass(type(error), KeyboardInterrupt) and innermost is not None
    return is_ctrl_c and signal.getsignal(signal.SIGINT) is signal.default_int_handler and not _raises(innermost)


def _handlers() -> set[CodeType]:
    """Return the code of the functions that handle signals in this process."""
    functions = (signal.getsignal(number) for number in signal.valid_signals())
    codes = (getattr(getattr(function, "__func__", function), "__code__", None) for function in functions)
    return {code for code in codes if code is not None}


def _raises(innermost: TracebackType | None) -> bool:
    """Return whether the exception came from a `raise` in Python code: Ctrl-C comes at any other instruction."""
    if innermost is None:
        return False
    return innermost.tb_frame.f_code.co_code[innermost.tb_lasti] in _RAISE


_RAISE: Final = {dis.opmap[name] for name in ("RAISE_VARARGS", "RERAISE")}
