"""One run, once: count the try, call the receiver, and commit its work together with the word that it succeeded.

A try counts when the receiver is really called: the run is marked as started, and that is committed, before the call.
The statement that ends a run marks the next one of the same claim, so that it costs nothing more.

No savepoint is put around the receiver: an error that it swallows inside its transaction must undo the run, not half
of it. What can't be seen from inside the block (a transaction that the database rolled back without a word) is found
by the settlement, which reads what was committed.
"""

import copy
import functools
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any, Final

from django.db import DatabaseError, Error, connections, transaction
from django.utils import timezone

from nateq_webhooks.conf import settings
from nateq_webhooks.database.retry import error_code, retry_transaction
from nateq_webhooks.dispatch.calling import call
from nateq_webhooks.dispatch.leases import Lease
from nateq_webhooks.dispatch.other_databases import warned_of_other_databases
from nateq_webhooks.dispatch.raised import Raised, describe, ends_the_process
from nateq_webhooks.dispatch.statements import mark_started, mark_succeeded, set_tripwire, tripwire_holds
from nateq_webhooks.errors import GiveUp, RetryLater, RolledBackError, RunLostError, TimedOutError
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.gate import OPEN_LANE
from nateq_webhooks.protocol.backoff import backoff
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


Following = Callable[[], Run | None]
"""Returns the run of the same claim that is to be started after the one at hand; None if that is not known yet."""


def nothing_follows() -> None:
    """Return that no run is known to be started next."""


def start(run: Run, lease: Lease) -> bool:
    """Count a try of a run, unless that has been done, and commit that; say whether its receiver may be called.

    It may not once the run was given back or taken over.
    """
    if lease.started is not run:
        lease.started = run if retry_transaction(lambda: mark_started(lease.alias, run, timezone.now())) else None
    return lease.started is run


def execute(run: Run, receiver: Receiver, lease: Lease, following: Following = nothing_follows) -> Outcome:
    """Run a receiver whose run this process holds and has started. Never raises what a receiver raises.

    What a signal to this process raised in it is recorded like any failure and kept as `lease.interrupted_by`. Marks
    what follows as started in the transaction that ends the run. Raises what goes wrong before the receiver is called.
    """
    tries, started = run.tries, timezone.now()
    lease.begin()
    try:
        error, after = _attempt(run, receiver, started, lease, following)
    except BaseException as problem:
        if run.tries == tries:
            raise
        error, after = problem, None
    if error is None:
        lease.started = after
        return Outcome.SUCCEEDED
    if ends_the_process(error):
        lease.interrupted_by, following = error, nothing_follows
    if issubclass(type(error), RunLostError):
        logger.warning("Run %s of %s: %s", run.pk, run.receiver, error)
        return Outcome.LOST
    outcome, lease.started = _failed(run, error, started, lease.alias, following)
    return outcome


def _attempt(
    run: Run, receiver: Receiver, started: datetime, lease: Lease, following: Following
) -> tuple[BaseException | None, Run | None]:
    """Call the receiver in its transaction; return what it raised, if anything, and what was marked as started.

    What it raised is not raised through a context manager: some set attributes of it, which its class may refuse.
    """
    guard = _Guard(lease) if receiver.atomic else None
    with transaction.atomic(using=lease.alias, durable=True) if receiver.atomic else nullcontext():
        if guard is not None:
            guard.set()
        run.tries += 1
        run.started_at = started
        try:
            _call(receiver, run, lease.alias)
        except BaseException as error:  # noqa: BLE001 - returned
            if receiver.atomic:
                transaction.set_rollback(True, using=lease.alias)
            return error, None
        _refuse_broken_transaction(lease.alias)
        after = _mark_succeeded(run, started, lease, following, guard)
        if guard is not None:
            guard.release()
    return None, after


def was_committed(run: Run, alias: str) -> bool:
    """Say whether a run that seemed to succeed is in the database; if it was rolled back, record that it failed."""
    if _status(run, alias) != Run.Status.RUNNING:
        return True
    lost = RolledBackError(
        "The database rolled the run back without an error: the receiver ended its transaction by itself, lost its "
        "connection, or swallowed an error of a raw cursor."
    )
    return _failed(run, lost, timezone.now(), alias)[0] is not Outcome.FAILED


@dataclass(frozen=True, slots=True)
class _Guard:
    """Finds out whether a run's transaction is still the one that was opened for it when the receiver has returned.

    A receiver that ends it by a raw COMMIT or ROLLBACK leaves the connection in another one, or in none, in which the
    word that it succeeded would be committed without its work. MariaDB and MySQL also roll the whole of it back for a
    deadlock, which the receiver may have swallowed: there a savepoint of that name is gone.
    """

    lease: Lease

    def set(self) -> None:
        """Leave a mark in the transaction that ends with it."""
        vendor = connections[self.lease.alias].vendor
        if vendor == "postgresql":
            set_tripwire(self.lease.alias, self.value)
        elif vendor == "mysql":
            _execute(self.lease.alias, "SAVEPOINT nateq_run")

    @property
    def value(self) -> str:
        """What PostgreSQL's mark holds."""
        return str(self.lease.token)

    @property
    def in_statement(self) -> str | None:
        """What the statement that marks the success compares; None where it compares nothing."""
        return self.value if connections[self.lease.alias].vendor == "postgresql" else None

    @property
    def holds(self) -> bool:
        """Whether the mark is still there, where that can be asked without losing it."""
        connection = connections[self.lease.alias]
        if connection.vendor == "postgresql":
            return tripwire_holds(self.lease.alias, self.value)
        is_open = getattr(connection.connection, "in_transaction", True)  # SQLite's driver knows
        return connection.vendor != "sqlite" or bool(is_open)

    def release(self) -> None:
        """Raise `RolledBackError` if the mark is gone. Last of all: a deadlock may come with any statement before."""
        if connections[self.lease.alias].vendor != "mysql":
            return
        try:
            _execute(self.lease.alias, "RELEASE SAVEPOINT nateq_run")
        except DatabaseError as error:
            if error_code(error) == _NO_SUCH_SAVEPOINT:
                raise RolledBackError(_ENDED_BY_ITSELF) from error
            raise


_NO_SUCH_SAVEPOINT: Final = 1305

_ENDED_BY_ITSELF: Final = (
    "The receiver ended its transaction by itself: by a raw COMMIT or ROLLBACK, a statement that commits on this "
    "database (such as DDL), or a deadlock that it swallowed. What it wrote after that is undone where the database "
    "can. Use transaction.atomic() for parts of its work, or connect it with atomic=False."
)


def _refuse_broken_transaction(alias: str) -> None:
    """Say what is wrong when the receiver returned from a transaction that can only be rolled back."""
    connection = connections[alias]
    if connection.in_atomic_block:
        if connection.needs_rollback:
            raise RolledBackError(
                "The receiver swallowed a database error: what it wrote is lost, so the run is undone. "
                "Put a transaction.atomic() of its own around the statement that may fail."
            )
    elif connection.get_autocommit() != connection.settings_dict["AUTOCOMMIT"]:
        connection.close()
        raise RolledBackError(
            "The receiver, which is connected with atomic=False, left autocommit off: what it wrote since is undone. "
            "Use transaction.atomic() in place of set_autocommit(False)."
        )


def _execute(alias: str, sql: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)


def _call(receiver: Receiver, run: Run, alias: str) -> None:
    # Each receiver has an event loaded from the bytes, and rows of its own: none sees another's changes, nor do we.
    with warned_of_other_databases(receiver.name, alias):
        call(receiver, sender=Delivery, event=run.delivery.load_event(), delivery=run.delivery, run=copy.copy(run))


def _mark_succeeded(
    run: Run, started: datetime, lease: Lease, following: Following, guard: _Guard | None
) -> Run | None:
    """Say so in the receiver's own transaction, last of all, and mark what follows as started; return that.

    Raises `TimedOutError` when it took too long, `RolledBackError` when the transaction is not the receiver's own any
    more or the run is gone, and `RunLostError` when another worker has taken the run over. `next_try_at` stays: the run
    is due until its delivery has been settled.
    """
    if lease.has_timed_out:
        raise TimedOutError(f"The receiver ran for {lease.age:.0f} s, longer than RUN_TIMEOUT; its work is undone.")
    if guard is not None and connections[lease.alias].vendor == "sqlite" and not guard.holds:
        raise RolledBackError(_ENDED_BY_ITSELF)
    after = following()
    tripwire = guard.in_statement if guard is not None else None
    changed = mark_succeeded(lease.alias, run, timezone.now(), started, following=after, tripwire=tripwire)
    if changed == (1 if after is None else 2):
        return after
    if changed == 1 and after is not None and not _held(after, lease.alias).exists():
        return None  # it was given back, or taken over; the run at hand was not
    raise _why_not_marked(run, lease.alias, guard)


def _why_not_marked(run: Run, alias: str, guard: _Guard | None) -> Exception:
    """Return why a run that is held could not be marked as succeeded."""
    if guard is not None and not guard.holds:
        return RolledBackError(_ENDED_BY_ITSELF)
    if _status(run, alias) is None:
        return RolledBackError(
            "The receiver deleted its own delivery, or its run: the record that it succeeded is part of that, so its "
            "work is undone. Delete it later, from outside: in transaction.on_commit() or another process."
        )
    return RunLostError("its lease ran out and another worker has taken it over; this try is undone.")


def _held(run: Run, alias: str) -> Any:
    """Return the run's row if it is still ours."""
    return Run.objects.using(alias).filter(pk=run.pk, lease=run.lease, status=Run.Status.RUNNING)


def _status(run: Run, alias: str) -> str | None:
    return Run.objects.using(alias).filter(pk=run.pk).values_list("status", flat=True).first()


def _failed(
    run: Run, error: BaseException, started: datetime, alias: str, following: Following = nothing_follows
) -> tuple[Outcome, Run | None]:
    """Record a failed try in a transaction of its own, and when to try again; mark what follows as started.

    Return the outcome, and what was marked.
    """
    raised = describe(error)
    connection = connections[alias]
    if not connection.in_atomic_block:
        connection.close_if_unusable_or_obsolete()
    now = timezone.now()
    next_try_at = _next_try_at(run, error, now)
    changes: dict[str, Any] = {
        "status": Run.Status.FAILED if next_try_at else Run.Status.DEAD,
        "finished_at": now,
        "duration": now - started,
        "lease": None,
        # A dead run stays due until it is settled, which no gate holds up.
        **({"next_try_at": next_try_at} if next_try_at else {"lane": OPEN_LANE}),
    }
    try:
        recorded, after = _record_failure(run, raised, changes, alias, following)
        if not recorded:
            return _say_why_not_recorded(run, error, raised, alias), None
    except (Error, ValueError) as problem:
        # The lease runs out by itself, and then the run starts again; but this is the only place that tells why.
        _log(run, error, raised, f"this could not be recorded: {type(problem).__name__}")
        return Outcome.LOST, None
    _log(run, error, raised, f"tried again at {next_try_at:%Y-%m-%d %H:%M:%S} UTC" if next_try_at else "given up")
    return Outcome.PUT_OFF if _is_asked_for(error) else Outcome.FAILED, after


def _record_failure(
    run: Run, raised: Raised, changes: dict[str, Any], alias: str, following: Following
) -> tuple[bool, Run | None]:
    """Write down a failure; say whether the run was still held, and return what was marked as started with it.

    A text that the database refuses must not keep the failure from being recorded: MariaDB's columns may hold no emoji,
    a connection's character set no Arabic. Raises what the last way to write it raised.
    """
    ways = list(raised.storable())

    def write(text: str, trace: str) -> tuple[bool, Run | None]:
        with transaction.atomic(using=alias):
            recorded = _held(run, alias).update(error=text, traceback=trace, **changes)
            after = following() if recorded else None
            is_marked = after is not None and mark_started(alias, after, timezone.now())
        return bool(recorded), after if is_marked else None

    for number, (text, trace) in enumerate(ways, 1):
        try:
            return retry_transaction(functools.partial(write, text, trace))
        except (Error, ValueError):  # ValueError: the driver can't encode it for the connection
            if number == len(ways) or not _is_connected(alias):
                raise
    raise AssertionError("the last way either returns or raises")


def _is_connected(alias: str) -> bool:
    connection = connections[alias]
    return connection.connection is not None and connection.is_usable()


def _say_why_not_recorded(run: Run, error: BaseException, raised: Raised, alias: str) -> Outcome:
    """Log what became of a run that raised and is not held any more, and return it.

    It was committed all the same (an on_commit callback raised, or the connection was lost while the answer to COMMIT
    was on its way), its delivery was deleted, or another worker has it.
    """
    status = _status(run, alias)
    ours = Run.objects.using(alias).filter(pk=run.pk, tries=run.tries, status=Run.Status.SUCCEEDED)
    is_committed = status is not None and ours.exists()
    if status is None:
        what = "its delivery was deleted while it ran, by the receiver or by somebody else"
    else:
        what = "was committed all the same" if is_committed else "is another worker's by now"
    logger.warning(
        "Run %s of %s raised %s, but %s.",
        run.pk,
        run.receiver,
        raised.name,
        what,
        exc_info=error if raised.is_sound else None,
    )
    return Outcome.SUCCEEDED if is_committed else Outcome.LOST


def _is_asked_for(error: BaseException) -> bool:
    """Say whether the receiver says by this what is to become of the run. By its type: `__class__` may lie."""
    return issubclass(type(error), (RetryLater, GiveUp))


def _next_try_at(run: Run, error: BaseException, now: datetime) -> datetime | None:
    """Say when to try again; None to give up."""
    if issubclass(type(error), GiveUp):
        return None
    asked = _asked_seconds(error)
    if asked is None and run.tries >= settings().max_tries:
        return None
    if asked is None or asked <= 0:
        wait = backoff(run.tries, settings().retry_base)
    else:
        wait = timedelta(seconds=max(asked, MIN_RETRY_SECONDS))
    return now + wait if wait <= settings().retry_max_age - (now - run.created_at) else None


MIN_RETRY_SECONDS: Final = 1.0
"""The shortest wait that a receiver may ask for; one that asks for none at all waits as after any failure."""


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


def _log(run: Run, error: BaseException, raised: Raised, what: str) -> None:
    """Log a failure. An exception that can't be formatted would break the handlers, so it comes as text.

    What a handler raises all the same is told to standard error, as `logging` does: the failure is recorded by now.
    """
    asked = _is_asked_for(error)
    level = logging.INFO if asked and what != "given up" else logging.ERROR
    message = "Receiver %s failed on delivery %s (try %s, %s): %s%s"
    values = (run.receiver, run.delivery_id, run.tries, what, raised.name)
    try:
        if asked or raised.is_sound:
            logger.log(level, message, *values, "", exc_info=None if asked else error)
        else:
            logger.log(level, message, *values, f"\n{raised.traceback}")
    except Exception as problem:  # noqa: BLE001 - a handler of the site's own
        sys.stderr.write(f"{message % (*values, '')}; the log's handler raised {type(problem).__name__}.\n")
