"""One run, once: call the receiver, and commit its work together with the word that it succeeded.

Nothing here is a savepoint around the receiver: an error that it swallows inside its transaction must undo the run,
not half of it. What can't be seen from inside the block (a transaction that was rolled back without a word) is found
by reading the run's status back afterwards.
"""

import copy
import logging
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.errors import RolledBackError, RunLostError
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from nateq_webhooks.protocol.backoff import backoff
from nateq_webhooks.protocol.envelope import column_text
from nateq_webhooks.receivers import Receiver

logger: Final = logging.getLogger("nateq_webhooks")


def execute(run: Run, delivery: Delivery, receiver: Receiver, alias: str) -> bool:
    """Run a receiver whose run this process holds; say whether it succeeded. Never raises what a receiver raises."""
    started = timezone.now()
    try:
        with transaction.atomic(using=alias, durable=True):
            _call(receiver, run, delivery)
            if connections[alias].needs_rollback:
                raise RolledBackError(
                    "The receiver swallowed a database error: what it wrote since is lost, so the run is undone. "
                    "Put a transaction.atomic() of its own around the statement that may fail."
                )
            _mark_succeeded(run, started, alias)
    except RunLostError as error:
        logger.warning("Run %s of %s: %s", run.pk, run.receiver, error)
        return False
    except (Exception, SystemExit) as error:  # noqa: BLE001 - recorded on the run, whatever a receiver raises
        _record_failure(run, error, started, alias)
        return False
    if _status(run, alias) != Run.Status.SUCCEEDED:
        lost = RolledBackError(
            "The database rolled the run back without an error: the receiver ended its transaction by itself or "
            "swallowed an error of a raw cursor."
        )
        _record_failure(run, lost, started, alias)
        return False
    return True


def _call(receiver: Receiver, run: Run, delivery: Delivery) -> None:
    function = receiver.function
    if function is None:
        raise RunLostError(f'The receiver "{receiver.name}" is gone.')
    call: Callable[..., Any] = async_to_sync(function) if receiver.is_async else function
    # Each receiver has its own event, loaded from the bytes, and its own copies: none sees another's changes.
    call(sender=Delivery, event=delivery.load_event(), delivery=copy.copy(delivery), run=copy.copy(run))


def _mark_succeeded(run: Run, started: datetime, alias: str) -> None:
    """Say so in the receiver's own transaction. Raises `RunLostError` when another worker has taken the run over."""
    now = timezone.now()
    ours = Run.objects.using(alias).filter(pk=run.pk, lease=run.lease, status=Run.Status.RUNNING)
    changed = ours.update(
        status=Run.Status.SUCCEEDED,
        finished_at=now,
        duration=now - started,
        next_try_at=None,
        lease=None,
        error="",
        traceback="",
    )
    if changed != 1:
        raise RunLostError("its lease ran out and another worker has taken it over; this try is undone.")


def _status(run: Run, alias: str) -> str | None:
    return Run.objects.using(alias).filter(pk=run.pk).values_list("status", flat=True).first()


def _record_failure(run: Run, error: BaseException, started: datetime, alias: str) -> None:
    """Record a failed try in a transaction of its own, and when to try again; nothing if the lease is lost."""
    connection = connections[alias]
    if not connection.in_atomic_block and not connection.is_usable():
        connection.close()
    now = timezone.now()
    next_try_at = now + _wait(run) if run.tries < settings().max_tries else None
    logger.error(
        "Receiver %s failed on delivery %s (try %s): %s",
        run.receiver,
        run.delivery_id,
        run.tries,
        type(error).__name__,
        exc_info=error,
    )
    ours = Run.objects.using(alias).filter(pk=run.pk, lease=run.lease, status=Run.Status.RUNNING)
    try:
        ours.update(
            status=Run.Status.DEAD if next_try_at is None else Run.Status.FAILED,
            finished_at=now,
            duration=now - started,
            next_try_at=next_try_at,
            lease=None,
            error=_error_text(error),
            traceback=_traceback_text(error),
        )
    except (DatabaseError, InterfaceError) as problem:
        # The lease runs out by itself, and then the run starts again: nothing is lost by not recording this.
        logger.warning("The failure of run %s could not be recorded: %s", run.pk, type(problem).__name__)


def _wait(run: Run) -> timedelta:
    return backoff(run.tries, settings().retry_base)


def _error_text(error: BaseException) -> str:
    return column_text(f"{type(error).__qualname__}: {error}", MAX_ERROR_CHARS)


def _traceback_text(error: BaseException) -> str:
    # Without this module's own frame: the receiver's is what one looks for.
    lines = "".join(traceback.format_exception(error))
    return column_text(lines[-MAX_TRACEBACK_CHARS:], MAX_TRACEBACK_CHARS)
