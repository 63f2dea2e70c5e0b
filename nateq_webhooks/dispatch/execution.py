"""One run, once: call the receiver, and commit its work together with the word that it succeeded.

No savepoint is put around the receiver: an error that it swallows inside its transaction must undo the run, not half
of it. What can't be seen from inside the block (a transaction that the database rolled back without a word) is found
by the settlement, which reads what was committed.
"""

import copy
import logging
import traceback
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from django.db import Error, connections, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.dispatch.calling import call
from nateq_webhooks.dispatch.leases import Lease
from nateq_webhooks.dispatch.other_databases import warned_of_other_databases
from nateq_webhooks.dispatch.statements import mark_succeeded
from nateq_webhooks.errors import GiveUp, RetryLater, RolledBackError, RunLostError, TimedOutError
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from nateq_webhooks.protocol.backoff import backoff
from nateq_webhooks.protocol.columns import column_text
from nateq_webhooks.receivers import Receiver

logger: Final = logging.getLogger("nateq_webhooks")


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


def execute(run: Run, receiver: Receiver, lease: Lease) -> Outcome:
    """Run a receiver whose run this process holds. Never raises what a receiver raises."""
    started = timezone.now()
    lease.begin()
    try:
        with _transaction(lease.alias) if receiver.atomic else nullcontext():
            _call(receiver, run, lease.alias)
            _refuse_broken_transaction(lease.alias)
            _mark_succeeded(run, started, lease)
    except RunLostError as error:
        logger.warning("Run %s of %s: %s", run.pk, run.receiver, error)
        return Outcome.LOST
    except (Exception, SystemExit, CancelledError) as error:  # noqa: BLE001 - recorded, whatever a receiver raises
        return _failed(run, error, started, lease.alias)
    return Outcome.SUCCEEDED


def was_committed(run: Run, alias: str) -> bool:
    """Say whether a run that seemed to succeed is in the database; if it was rolled back, record that it failed."""
    if _status(run, alias) != Run.Status.RUNNING:
        return True
    lost = RolledBackError(
        "The database rolled the run back without an error: the receiver ended its transaction by itself, lost its "
        "connection, or swallowed an error of a raw cursor."
    )
    return _failed(run, lost, timezone.now(), alias) is not Outcome.FAILED


@contextmanager
def _transaction(alias: str) -> Iterator[None]:
    """Open the one transaction of a run, which commits whole or not at all."""
    connection = connections[alias]
    with transaction.atomic(using=alias, durable=True):
        tripwire = connection.vendor == "mysql"
        if tripwire:
            # A deadlock rolls MariaDB's whole transaction back, and what comes after commits. If the receiver
            # swallows that error, this savepoint is gone, and its release fails.
            _execute(alias, "SAVEPOINT nateq_run")
        yield
        if tripwire:
            _execute(alias, "RELEASE SAVEPOINT nateq_run")


def _refuse_broken_transaction(alias: str) -> None:
    """Say what is wrong when the receiver returned from a transaction that can only be rolled back."""
    if connections[alias].in_atomic_block and connections[alias].needs_rollback:
        raise RolledBackError(
            "The receiver swallowed a database error: what it wrote is lost, so the run is undone. "
            "Put a transaction.atomic() of its own around the statement that may fail."
        )


def _execute(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def _call(receiver: Receiver, run: Run, alias: str) -> None:
    # Each receiver has an event loaded from the bytes, and rows of its own: none sees another's changes, nor do we.
    with warned_of_other_databases(receiver.name, alias):
        call(receiver, sender=Delivery, event=run.delivery.load_event(), delivery=run.delivery, run=copy.copy(run))


def _mark_succeeded(run: Run, started: datetime, lease: Lease) -> None:
    """Say so in the receiver's own transaction, last of all.

    Raises `TimedOutError` when it took too long, and `RunLostError` when another worker has taken the run over.
    `next_try_at` stays: the run is due until its delivery has been settled.
    """
    if lease.has_timed_out:
        raise TimedOutError(f"The receiver ran for {lease.age:.0f} s, longer than RUN_TIMEOUT; its work is undone.")
    if not mark_succeeded(lease.alias, run, timezone.now(), started):
        raise RunLostError("its lease ran out and another worker has taken it over; this try is undone.")


def _held(run: Run, alias: str) -> Any:
    """Return the run's row if it is still ours."""
    return Run.objects.using(alias).filter(pk=run.pk, lease=run.lease, status=Run.Status.RUNNING)


def _status(run: Run, alias: str) -> str | None:
    return Run.objects.using(alias).filter(pk=run.pk).values_list("status", flat=True).first()


def _failed(run: Run, error: BaseException, started: datetime, alias: str) -> Outcome:
    """Record a failed try in a transaction of its own, and when to try again."""
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    now = timezone.now()
    next_try_at = _next_try_at(run, error, now)
    # A dead run stays due until it is settled, which no gate holds up.
    changes: dict[str, Any] = {"next_try_at": next_try_at} if next_try_at else {"lane": OPEN_LANE}
    try:
        recorded = _held(run, alias).update(
            status=Run.Status.FAILED if next_try_at else Run.Status.DEAD,
            finished_at=now,
            duration=now - started,
            lease=None,
            error=_error_text(error),
            traceback=_traceback_text(error),
            **changes,
        )
        # Nothing recorded: it was committed all the same (an on_commit callback raised, or the connection was lost
        # while the answer to COMMIT was on its way), or another worker has it.
        if not recorded:
            ours = Run.objects.using(alias).filter(pk=run.pk, tries=run.tries, status=Run.Status.SUCCEEDED)
            committed = ours.exists()
            what = "was committed all the same" if committed else "is another worker's by now"
            logger.warning("Run %s of %s raised, but %s.", run.pk, run.receiver, what, exc_info=error)
            return Outcome.SUCCEEDED if committed else Outcome.LOST
    except Error as problem:
        # The lease runs out by itself, and then the run starts again: nothing is lost by not recording this.
        logger.warning("The failure of run %s could not be recorded: %s", run.pk, type(problem).__name__)
        return Outcome.LOST
    _log(run, error, next_try_at)
    return Outcome.PUT_OFF if isinstance(error, (RetryLater, GiveUp)) else Outcome.FAILED


def _next_try_at(run: Run, error: BaseException, now: datetime) -> datetime | None:
    """Say when to try again; None to give up."""
    if isinstance(error, GiveUp):
        return None
    wait = _asked_wait(error) if isinstance(error, RetryLater) else None
    if wait is None:
        if run.tries >= settings().max_tries:
            return None
        wait = backoff(run.tries, settings().retry_base)
    return now + wait if wait <= settings().retry_max_age - (now - run.created_at) else None


def _asked_wait(error: RetryLater) -> timedelta | None:
    """Return how long a receiver asked to wait; None when what it wrote there is no number of seconds."""
    try:
        return timedelta(seconds=error.seconds)
    except (TypeError, ValueError, OverflowError):
        return None


def _log(run: Run, error: BaseException, next_try_at: datetime | None) -> None:
    what = f"tried again at {next_try_at:%Y-%m-%d %H:%M:%S} UTC" if next_try_at else "given up"
    asked = isinstance(error, (RetryLater, GiveUp))
    logger.log(
        logging.INFO if asked and next_try_at else logging.ERROR,
        "Receiver %s failed on delivery %s (try %s, %s): %s",
        run.receiver,
        run.delivery_id,
        run.tries,
        what,
        type(error).__name__,
        exc_info=None if asked else error,
    )


def _error_text(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - a receiver's own exception class may be broken, too
        text = "(its text can't be shown)"
    return column_text(f"{type(error).__qualname__}: {text}", MAX_ERROR_CHARS)


def _traceback_text(error: BaseException) -> str:
    """Return the traceback's end, where the error is, as text that every database stores."""
    return column_text("".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARS:], MAX_TRACEBACK_CHARS)
