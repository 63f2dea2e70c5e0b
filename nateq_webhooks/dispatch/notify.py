"""Select the configured runner and notify it of deliveries whose receivers are to run."""

import functools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from django.utils import timezone
from django.utils.module_loading import import_string

from nateq_webhooks.conf import settings
from nateq_webhooks.models import Run

logger: Final = logging.getLogger("nateq_webhooks")

RUNNERS: Final = {
    "inline": "nateq_webhooks.runners.inline.InlineRunner",
    "worker": "nateq_webhooks.runners.worker.WorkerRunner",
    "tasks": "nateq_webhooks.runners.tasks.TasksRunner",
    "celery": "nateq_webhooks.runners.celery.CeleryRunner",
}


class Due(Protocol):
    """A stored delivery whose receivers are to run, as the inbox knows it."""

    @property
    def pk(self) -> int:
        """The delivery's key."""

    @property
    def alias(self) -> str:
        """The database it is in."""

    @property
    def dispatch_at(self) -> datetime | None:
        """The value that claims it; None when there is nothing to claim."""

    @property
    def runs(self) -> Sequence[Run]:
        """The runs that were stored with it, claimed for this request; only for a runner with `runs_in_request`."""


class Runner(Protocol):
    """A way to run receivers: which process calls dispatch, and when. Adding another is one small class.

    A class that hands the work to other processes may say so with `runs_elsewhere = True`. Then it is notified of
    replays, too, which must never run a receiver in the process that requests them. One whose `wake` runs the receivers
    itself may say so with `runs_in_request = True`. Then the runs may be stored together with the delivery. One whose
    `wake` does nothing says so with `leaves_to_workers = True`.
    """

    @property
    def hold(self) -> timedelta:
        """How long only the request that stores a delivery may dispatch it; zero: any worker may at once."""

    def wake(self, due: Due) -> None:
        """Have the delivery's receivers run, after it has been committed. Must neither raise nor take long."""


@functools.cache
def _runner_at(path: str) -> Runner:
    made: Runner = import_string(path)()
    return made


_runner_in_use: Final[ContextVar[Runner | None]] = ContextVar("nateq_webhooks runner", default=None)


@contextmanager
def use_runner(runner: Runner) -> Iterator[None]:
    """Use a runner in place of the configured one for the length of a block, in this thread or asyncio task."""
    token = _runner_in_use.set(runner)
    try:
        yield
    finally:
        _runner_in_use.reset(token)


def runner() -> Runner:
    """Return the runner that `NATEQ_WEBHOOKS["DISPATCH"]` names, or the one of `use_runner`."""
    in_use = _runner_in_use.get()
    if in_use is not None:
        return in_use
    name = settings().dispatch
    return _runner_at(RUNNERS.get(name, name))


def request_hold() -> timedelta:
    """Return the runner's `hold`. Never raises: with a runner that can't be loaded, deliveries are due at once."""
    try:
        return runner().hold
    except Exception:
        logger.exception(
            'The runner that NATEQ_WEBHOOKS["DISPATCH"] names could not be used. Deliveries are stored and wait for a '
            "worker; correct the setting."
        )
        return timedelta()


def runs_in_request() -> bool:
    """Return whether the runner runs the receivers in the request. Never raises."""
    try:
        return getattr(runner(), "runs_in_request", False)
    except Exception:  # noqa: BLE001 - `request_hold` logs it
        return False


def wake(due: Due) -> None:
    """Have the receivers of a stored delivery run, if there are any. Never raises: it is stored already."""
    if due.dispatch_at is None and not due.runs:
        return
    try:
        runner().wake(due)
    except Exception:
        logger.exception(
            "Delivery %s is stored, but the runner could not be notified. A worker finds it later.", due.pk
        )


@dataclass(frozen=True, slots=True)
class _DueAgain:
    """A delivery that was stored earlier and has runs that are due again."""

    pk: int
    alias: str
    dispatch_at: datetime | None
    runs: Sequence[Run] = ()


def notify(alias: str, pks: Iterable[int]) -> None:
    """Notify the runner of deliveries that have due runs, if it runs nothing in this process."""
    if runs_elsewhere():
        for pk in pks:
            wake_again(alias, pk)


def wake_again(alias: str, pk: int) -> None:
    """Have the due runs of a delivery run that was stored earlier; this may be in this process. Never raises."""
    wake(_DueAgain(pk, alias, timezone.now()))


def runs_elsewhere() -> bool:
    """Return whether the runner hands the work to other processes."""
    return bool(getattr(runner(), "runs_elsewhere", False))


def leaves_to_workers() -> bool:
    """Return whether the runner does nothing: workers look for what is due."""
    return bool(getattr(runner(), "leaves_to_workers", False))
