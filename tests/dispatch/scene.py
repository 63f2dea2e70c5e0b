"""What the tests of dispatch share: rows that receivers write, other connections, time that passes.

Django's Group is used as the site's own table: receivers write its rows, and its name is unique.
"""

import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar

from django.contrib.auth.models import Group
from django.db import connection, connections
from django.db.models import QuerySet
from django.utils import timezone

from nateq_webhooks.database.retry import retry_transaction
from nateq_webhooks.dispatch import api, claim, create
from nateq_webhooks.dispatch.execute import start, try_run
from nateq_webhooks.dispatch.leases import Lease
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.receivers import registry
from tests.conftest import Connect as Connect

ALIAS = "default"
BOUND_SECONDS = 60
"""No wait in these tests is longer."""


class Deliver(Protocol):
    """Stores a delivery of an event, with other values in its envelope; its receivers are run by the test."""

    def __call__(self, event: str = "ticket.created", **over: Any) -> Delivery: ...


class Configure(Protocol):
    """Sets settings of `NATEQ_WEBHOOKS`, by their names."""

    def __call__(self, **values: Any) -> None: ...


class RunReceiver(Protocol):
    """Connects a receiver to ticket.created, has deliveries stored and runs what is due; returns the last delivery."""

    def __call__(
        self, function: Callable[..., Any], name: str = "", *, deliveries: int = 1, atomic: bool = True
    ) -> Delivery: ...


Announced = list[tuple[str, int]]
"""Signals that were sent: "processed" or "failed", and the delivery."""

_Result = TypeVar("_Result")


class UnprintableError(Exception):
    """An exception that cannot be printed."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")


def fails_once(*, run: Run, **kwargs: Any) -> None:
    """A receiver whose first try fails."""
    if run.tries == 1:
        raise ValueError("broken")


def write(what: str) -> None:
    """Write a row that no constraint keeps from being written twice."""
    Group.objects.create(name=f"{what} {uuid.uuid4()}")


def written(what: str = "") -> int:
    """Count the rows written of that name."""
    return Group.objects.filter(name__startswith=f"{what} " if what else "").count()


def names_written() -> list[str]:
    """Return what was written, without what makes each row unique, in alphabetical order."""
    return sorted(name.rpartition(" ")[0] for name in Group.objects.values_list("name", flat=True))


def elsewhere(work: Callable[[], _Result]) -> _Result:
    """Do something on another connection, as another process would."""
    return at_once([work])[0]


def at_once(works: Sequence[Callable[[], _Result]], stop: threading.Event | None = None) -> list[_Result]:
    """Do all of it at the same moment, each in a thread with a connection of its own; raise what one raises.

    Those that work until `stop` is set also stop if another one fails: the test fails then, and does not hang.
    """
    barrier = threading.Barrier(len(works))

    def start(work: Callable[[], _Result]) -> _Result:
        try:
            connection.ensure_connection()
            barrier.wait(BOUND_SECONDS)
            return work()
        except BaseException:
            if stop is not None:
                stop.set()
            raise
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(works)) as threads:
        return list(threads.map(start, works))


def lapse_leases() -> int:
    """Let so much time pass that every lease has run out; return how many there were."""
    held = Run.objects.filter(status=Run.Status.RUNNING)
    return bring_forward(held, timezone.now() - timedelta(seconds=1))


def make_due() -> int:
    """Let so much time pass that whatever waits for its next try is due."""
    waiting = Run.objects.filter(status__in=[Run.Status.WAITING, Run.Status.FAILED], next_try_at__lt=PARKED_UNTIL)
    return bring_forward(waiting, timezone.now() - timedelta(seconds=1))


def bring_forward(runs: QuerySet[Run], moment: datetime) -> int:
    """Let runs be due at a moment. Beside workers the statement can end in a deadlock; then it is sent again."""
    return retry_transaction(lambda: runs.update(next_try_at=moment), alias=ALIAS)


def run_until_finished(most: int = 20) -> None:
    """Run whatever is due, each time after time has passed, until no run waits for another try."""
    api.run_due()
    for _ in range(most):
        if not make_due():
            return
        api.run_due()
    raise AssertionError(f"still not finished after {most} rounds")


def claim_one() -> claim.Claimed:
    """Claim what is due, which is one run."""
    claimed = claim.claim_runs(ALIAS, 20)
    if not claimed:
        claimed = create.claim_deliveries(ALIAS, 20)
    assert len(claimed.runs) == 1
    return claimed


def execute_only(claimed: claim.Claimed, number: int = 0) -> api.Outcome:
    """Start and execute one claimed run, and die before it is finalized; a run that can't be started is lost."""
    run = claimed.runs[number]
    receiver = registry.get(run.receiver)
    assert receiver is not None
    lease = Lease(alias=claimed.alias, token=claimed.lease, runs=claimed.runs, started=claimed.started)
    return try_run(run, receiver, lease) if start(run, lease) else api.Outcome.LOST


def kill_connection(backend: Any) -> None:
    """Have the server close the connection that it knows by this id."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
        else:
            cursor.execute(f"KILL {int(backend)}")


def backend_id() -> Any:
    """Return the id by which the server knows this thread's connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()" if connection.vendor == "postgresql" else "SELECT CONNECTION_ID()")
        return cursor.fetchone()[0]
