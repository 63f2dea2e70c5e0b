"""Recording a failed try of a run: what was raised, when it is tried again, and a line in the log."""

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Final

from django.db import Error, connections, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch.exception_text import ExceptionText, describe
from nateq_webhooks.dispatch.failed_tries import record_try
from nateq_webhooks.dispatch.statements import mark_started
from nateq_webhooks.errors import DecryptionError, GiveUp, RetryLater, RolledBackError
from nateq_webhooks.models import Run
from nateq_webhooks.models.redaction import text_mask
from nateq_webhooks.protocol.backoff import backoff
from nateq_webhooks.protocol.log_records import TRACEBACK_TEXT

logger: Final = logging.getLogger("nateq_webhooks")

MIN_RETRY_SECONDS: Final = 1.0
"""The shortest wait that a receiver may ask for; if it asks for none, the wait is that of any failure."""


class Outcome(Enum):
    """What became of one try."""

    SUCCEEDED = auto()
    """The receiver's work is committed."""
    FAILED = auto()
    """It is undone; the run is tried again later, or given up."""
    PUT_OFF = auto()
    """It is undone, as the receiver asked: to be tried later, or never."""
    LOST = auto()
    """Another worker has taken the run over; what this one did is undone."""


Following = Callable[[], Run | None]
"""Returns the run of the same claim that is to be started after the current one; None if that is not known yet."""


def nothing_follows() -> None:
    """Return None: it is not known which run is started next."""


def was_committed(run: Run, alias: str) -> bool:
    """Return whether the success of a run is in the database; if it was rolled back, record that the run failed."""
    if status_of(run, alias) != Run.Status.RUNNING:
        return True
    lost = RolledBackError(
        "The database rolled the run back without an error: the receiver ended its transaction by itself, lost its "
        "connection, or swallowed an error of a raw cursor."
    )
    return record_failure(run, lost, timezone.now(), alias)[0] is not Outcome.FAILED


def status_of(run: Run, alias: str) -> str | None:
    """Return a run's status as it is in the database; None if the run was deleted."""
    return Run.objects.using(alias).filter(pk=run.pk).values_list("status", flat=True).first()


def record_failure(
    run: Run, error: BaseException, started: datetime, alias: str, following: Following = nothing_follows
) -> tuple[Outcome, Run | None]:
    """Record a failed try in a transaction of its own, and mark what follows as started in it.

    Return the outcome, and what was marked.
    """
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    raised = _described(run, error)
    now = timezone.now()
    next_try_at = _next_try_at(run, error, now)
    try:
        recorded, after = _write(run, raised, next_try_at, started, now, alias, following)
        if not recorded:
            return _log_why_not_recorded(run, error, raised, alias), None
    except (Error, ValueError) as problem:
        _log_unrecorded(run, error, raised, problem)
        return Outcome.LOST, None
    _log(run, error, raised, next_try_at)
    return Outcome.PUT_OFF if _is_requested(error) else Outcome.FAILED, after


def _described(run: Run, error: BaseException) -> ExceptionText:
    """Return an exception as text; values of the delivery that `REDACT` names are masked in it."""
    raised = describe(error)
    if not settings().redaction:
        return raised
    try:
        return raised.masked(text_mask(run.delivery.whole_body()))
    except (Error, DecryptionError):
        return raised.without_content()


def _write(
    run: Run,
    raised: ExceptionText,
    next_try_at: datetime | None,
    started: datetime,
    now: datetime,
    alias: str,
    following: Following,
) -> tuple[bool, Run | None]:
    """Write a failure; return whether the run was still held, and what was marked as started with it.

    A text that the database refuses must not keep the failure from being recorded: MariaDB's columns may not store
    emoji, or a connection's character set no Arabic. Raises what the last way to write it raised.
    """
    texts = list(raised.storable())

    def write(text: str, trace: str) -> tuple[bool, Run | None]:
        with transaction.atomic(using=alias):
            recorded = (
                Run.objects.using(alias)
                .leased(run)
                .fail(next_try_at=next_try_at, finished_at=now, duration=now - started, error=text, traceback=trace)
            )
            if recorded:
                record_try(alias, run, started_at=started, finished_at=now, error=text)
            after = following() if recorded else None
            is_marked = after is not None and mark_started(alias, after, timezone.now())
        return bool(recorded), after if is_marked else None

    for number, (text, trace) in enumerate(texts, 1):
        try:
            return retry_transaction(functools.partial(write, text, trace))
        except (Error, ValueError):  # ValueError: the driver can't encode it for the connection
            if number == len(texts) or not _is_connected(alias):
                raise
    raise AssertionError("the last way either returns or raises")


def _is_connected(alias: str) -> bool:
    connection = connections[alias]
    return connection.connection is not None and connection.is_usable()


def _log_why_not_recorded(run: Run, error: BaseException, raised: ExceptionText, alias: str) -> Outcome:
    """Log what became of a run that raised and is not held any more, and return it.

    It was committed all the same (an on_commit callback raised, or the connection was lost while the answer to COMMIT
    was on its way), its delivery was deleted, or another worker has it.
    """
    status = status_of(run, alias)
    ours = Run.objects.using(alias).filter(pk=run.pk, tries=run.tries, status=Run.Status.SUCCEEDED)
    is_committed = status is not None and ours.exists()
    name, shown, extra = _with_traceback(error, raised)
    values = (run.pk, run.receiver, name)
    if status is None:
        logger.warning(
            "Run %s of receiver %s raised %s, but its delivery was deleted while it ran.",
            *values,
            exc_info=shown,
            extra=extra,
        )
    elif is_committed:
        logger.warning(
            "Run %s of receiver %s raised %s after its work was committed. It has succeeded.",
            *values,
            exc_info=shown,
            extra=extra,
        )
    else:
        logger.warning(
            "Run %s of receiver %s raised %s, but another worker has taken it over.",
            *values,
            exc_info=shown,
            extra=extra,
        )
    return Outcome.SUCCEEDED if is_committed else Outcome.LOST


def _is_requested(error: BaseException) -> bool:
    """Return whether the receiver requested what becomes of the run. By its type: `__class__` may lie."""
    return issubclass(type(error), (RetryLater, GiveUp))


def has_tries_left(run: Run) -> bool:
    """Return whether a run may be tried again after the try that is counted in it."""
    return run.tries < settings().max_tries


def _next_try_at(run: Run, error: BaseException, now: datetime) -> datetime | None:
    """Return when to try again; None to give up."""
    if issubclass(type(error), GiveUp):
        return None
    asked = _asked_seconds(error)
    if asked is None and not has_tries_left(run):
        return None
    if asked is None or asked <= 0:
        wait = backoff(run.tries, settings().retry_base)
    else:
        wait = timedelta(seconds=max(asked, MIN_RETRY_SECONDS))
    return now + wait if wait <= settings().retry_max_age - (now - run.created_at) else None


def _asked_seconds(error: BaseException) -> float | None:
    """Return how long a receiver asked to wait; None if it asked for nothing, or for no number of seconds."""
    if not issubclass(type(error), RetryLater):
        return None
    try:
        seconds = float(error.seconds)  # type: ignore[attr-defined]
        timedelta(seconds=seconds)  # raises for what is no length of time
        return seconds
    except Exception:  # noqa: BLE001 - a class of the site's own may keep anything there, or nothing
        return None


def _log(run: Run, error: BaseException, raised: ExceptionText, next_try_at: datetime | None) -> None:
    """Log a failure that was recorded, and when the run is tried again; a request to try again is no error."""
    values = (run.receiver, run.delivery_id, run.tries)
    name, shown, extra = _loggable(error, raised)
    with _reporting_handlers(run, raised):
        if next_try_at is None:
            logger.error(
                "Receiver %s failed on delivery %s (try %s, given up): %s", *values, name, exc_info=shown, extra=extra
            )
            return
        until = f"{next_try_at:%Y-%m-%d %H:%M:%S}"
        if _is_requested(error):
            logger.info(
                "Receiver %s asked to try delivery %s again (try %s, tried again at %s UTC): %s", *values, until, name
            )
        else:
            logger.error(
                "Receiver %s failed on delivery %s (try %s, tried again at %s UTC): %s",
                *values,
                until,
                name,
                exc_info=shown,
                extra=extra,
            )


def _log_unrecorded(run: Run, error: BaseException, raised: ExceptionText, problem: Exception) -> None:
    """Log a failure that could not be recorded. The run starts again when its lease ends; only this line says why."""
    name, shown, extra = _loggable(error, raised)
    with _reporting_handlers(run, raised):
        logger.error(
            "Receiver %s failed on delivery %s (try %s), and this could not be recorded (%s): %s",
            run.receiver,
            run.delivery_id,
            run.tries,
            type(problem).__name__,
            name,
            exc_info=shown,
            extra=extra,
        )


_Logged = tuple[str, BaseException | None, dict[str, str] | None]
"""The exception's name, the exception whose traceback handlers log, and `extra` with a traceback as text instead."""


def _loggable(error: BaseException, raised: ExceptionText) -> _Logged:
    """Return what to log of an exception; of a request to try again its name only."""
    return (raised.name, None, None) if _is_requested(error) else _with_traceback(error, raised)


def _with_traceback(error: BaseException, raised: ExceptionText) -> _Logged:
    """Return what to log of an exception, with its traceback.

    An exception that can't be formatted would break the log's handlers, so its traceback is part of the name. Of one
    with masked values handlers get the text only: some report the variables of each frame, too.
    """
    if raised.is_masked:
        return raised.name, None, {TRACEBACK_TEXT: raised.traceback}
    if raised.is_printable:
        return raised.name, error, None
    return f"{raised.name}\n{raised.traceback}", None, None


@contextmanager
def _reporting_handlers(run: Run, raised: ExceptionText) -> Iterator[None]:
    """Write to standard error if a handler of the log raises, as `logging` does: the failure is recorded already."""
    try:
        yield
    except Exception as problem:  # noqa: BLE001 - a handler of the site's own
        failed = f"Receiver {run.receiver} failed on delivery {run.delivery_id} (try {run.tries}): {raised.name}"
        sys.stderr.write(f"{failed}; a handler of the log raised {type(problem).__name__}.\n")
