"""Whatever a receiver raises is recorded as its failure and stops no other; only a signal ends the process."""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.exception_text import describe, ends_the_process
from nateq_webhooks.errors import GiveUp
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from tests.conftest import Sender, envelope
from tests.dispatch.scene import (
    Configure,
    Connect,
    Deliver,
    RunReceiver,
    UnprintableError,
    make_due,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db


class PanicError(BaseException):
    """Like the errors of an extension in Rust and the timeouts of gevent, not a subclass of `Exception`."""


class ExitsWhenPrintedError(Exception):
    def __str__(self) -> str:
        sys.exit("printed")


class NoTextError(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class LiesAboutItsClassError(Exception):
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise ZeroDivisionError("no class")


class Nameless(type):
    def __getattribute__(cls, name: str) -> Any:
        if name in ("__name__", "__qualname__", "__module__"):
            raise AttributeError(name)
        return super().__getattribute__(name)


class NamelessError(Exception, metaclass=Nameless):
    pass


class HostileText(str):
    def __getitem__(self, key: Any) -> str:
        raise ValueError("no part of it")

    def __format__(self, spec: str) -> str:
        raise ValueError("no format")

    def isprintable(self) -> bool:
        raise ValueError("no answer")


class HostileTextError(Exception):
    def __str__(self) -> str:
        return HostileText("hostile")


@dataclass(frozen=True)
class FrozenError(Exception):
    code: int


class RefusesAttributesError(Exception):
    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"no attribute {name}")


def chain(length: int) -> Exception:
    """Return an exception that so many others have caused, one after the other."""
    error: Exception = ValueError("the first")
    for number in range(length):
        error, cause = ValueError(number), error
        error.__cause__ = cause
    return error


def nested(depth: int) -> Exception:
    """Return a group of a group of a group."""
    error: Exception = ValueError("the innermost")
    for _ in range(depth):
        error = ExceptionGroup("a group", [error])
    return error


def circle() -> Exception:
    """Return an exception that caused itself."""
    error = ValueError("round")
    error.__cause__ = error
    return error


ERRORS: dict[str, Callable[[], BaseException]] = {
    "KeyboardInterrupt": lambda: KeyboardInterrupt("mine"),
    "SystemExit": lambda: SystemExit(3),
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "StopIteration": lambda: StopIteration("stop"),
    "PanicError": lambda: PanicError("index out of bounds"),
    "SyntaxError": lambda: SyntaxError("bad", ("f", 1, 1, 5)),  # type: ignore[arg-type]
    "UnprintableError": UnprintableError,
    "ExitsWhenPrintedError": ExitsWhenPrintedError,
    "NoTextError": NoTextError,
    "LiesAboutItsClassError": LiesAboutItsClassError,
    "NamelessError": NamelessError,
    "HostileTextError": HostileTextError,
    "FrozenError": lambda: FrozenError(7),
    "RefusesAttributesError": RefusesAttributesError,
    "a million characters": lambda: ValueError("x" * 1_000_000),
    "what no column holds": lambda: ValueError("a\x00b \ud800 😀"),
    "a chain": lambda: chain(50),
    "a long chain": lambda: chain(20_000),
    "a circle": circle,
    "a group": lambda: BaseExceptionGroup("several", [KeyboardInterrupt(), ValueError("one")]),
    "a deep group": lambda: nested(3_000),
    "an Arabic name": lambda: type("خطأ", (Exception,), {})("فشل"),
    "a name of two lines": lambda: type("a\nb", (Exception,), {})("c"),
}


@pytest.fixture(params=list(ERRORS))
def error(request: pytest.FixtureRequest) -> Callable[[], BaseException]:
    return ERRORS[request.param]


RunThree = Callable[[Callable[[], BaseException]], Delivery]


@pytest.fixture
def run_three(deliver: Deliver, connect: Connect) -> RunThree:
    """Run a receiver that raises between two that write, once; return the delivery."""

    def run(error: Callable[[], BaseException]) -> Delivery:
        connect_three(connect, error)
        delivery = deliver()
        api.run_due()
        return delivery

    return run


def connect_three(connect: Connect, error: Callable[[], BaseException]) -> None:
    """Connect a receiver that raises between two that write."""

    def raises(**kwargs: Any) -> None:
        write("undone")
        raise error()

    connect(signals.ticket_created, lambda **kwargs: write("before"), "test.before")
    connect(signals.ticket_created, raises, "test.raises")
    connect(signals.ticket_created, lambda **kwargs: write("after"), "test.after")


def is_recorded() -> Run:
    """Return the run that raised: it failed with an error and a traceback, and the others ran."""
    assert (written("before"), written("undone"), written("after")) == (1, 0, 1)
    assert dict(Run.objects.values_list("receiver", "status")) == {
        "test.before": "succeeded",
        "test.raises": "failed",
        "test.after": "succeeded",
    }
    run = Run.objects.get(receiver="test.raises")
    assert (run.tries, run.lease) == (1, None)
    assert run.next_try_at is not None
    assert run.next_try_at > timezone.now()
    assert 0 < len(run.error) <= MAX_ERROR_CHARS
    assert 0 < len(run.traceback) <= MAX_TRACEBACK_CHARS
    return run


class TestWhateverItIs:
    def test_it_is_recorded_by_a_call_from_cron(
        self, deliver: Deliver, connect: Connect, error: Callable[[], BaseException]
    ) -> None:
        connect_three(connect, error)
        deliver()

        call_command("nateq_worker", "--once", verbosity=0)

        is_recorded()

    def test_it_does_not_change_the_answer_of_a_request(
        self, sender: Sender, connect: Connect, configure: Configure, error: Callable[[], BaseException]
    ) -> None:
        configure(DISPATCH="inline")
        connect_three(connect, error)

        response = sender.post(envelope())

        assert (response.status_code, response.json()) == (200, {"status": "stored"})
        is_recorded()

    def test_an_answer_that_waits_for_the_receivers_is_a_503(
        self, sender: Sender, connect: Connect, configure: Configure, error: Callable[[], BaseException]
    ) -> None:
        configure(DISPATCH="inline", ACK="processed")
        connect_three(connect, error)

        assert sender.post(envelope()).status_code == 503

        is_recorded()

    def test_it_is_recorded_of_a_receiver_that_is_not_atomic(
        self, connect: Connect, run_receiver: RunReceiver, error: Callable[[], BaseException]
    ) -> None:
        def raises(**kwargs: Any) -> None:
            raise error()

        connect(signals.ticket_created, raises, "test.raises", atomic=False)
        run_receiver(lambda **kwargs: write("after"), "test.after")

        assert dict(Run.objects.values_list("receiver", "status")) == {
            "test.raises": "failed",
            "test.after": "succeeded",
        }


class TestWhatIsKept:
    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("KeyboardInterrupt", "KeyboardInterrupt: mine"),
            ("PanicError", "PanicError: index out of bounds"),
            ("SyntaxError", "SyntaxError: bad (f, line 1)"),
            ("UnprintableError", "UnprintableError: (its text can not be shown)"),
            ("NamelessError", "(an exception without a name): "),
            ("HostileTextError", "HostileTextError: hostile"),
            ("FrozenError", "FrozenError: 7"),
            ("what no column holds", "ValueError: a\ufffdb \ufffd 😀"),
            ("an Arabic name", "خطأ: فشل"),
            ("a name of two lines", r"a\nb: c"),
            ("a circle", "ValueError: round"),
        ],
    )
    def test_it_names_the_class_and_its_text(self, run_three: RunThree, name: str, text: str) -> None:
        run_three(ERRORS[name])

        assert is_recorded().error == text

    @pytest.mark.parametrize("name", ["SyntaxError", "a long chain", "NamelessError", "UnprintableError"])
    def test_the_traceback_is_kept_of_an_error_that_cannot_be_formatted(self, run_three: RunThree, name: str) -> None:
        run_three(ERRORS[name])

        assert "in raises" in is_recorded().traceback

    def test_describing_is_bounded_in_time(self) -> None:
        errors = [chain(200_000), ValueError("x" * 10_000_000)]
        began = time.thread_time()  # of the processor: the clock also counts what else the machine does

        for error in errors:
            describe(error)

        assert time.thread_time() - began < 5


class TestTheLog:
    @pytest.fixture
    def breaks_on_exceptions(self) -> Iterator[list[str]]:
        """A handler that formats the exception and does not catch what comes of it, as one that sends mail."""
        said: list[str] = []

        class Handler(logging.Handler):
            def handle(self, record: logging.LogRecord) -> bool:
                said.append(logging.Formatter().format(record))
                return True

        handler = Handler()
        logger = logging.getLogger("nateq_webhooks")
        logger.addHandler(handler)
        yield said
        logger.removeHandler(handler)

    def test_it_is_recorded_and_logged_with_its_traceback_as_text(
        self,
        run_three: RunThree,
        error: Callable[[], BaseException],
        breaks_on_exceptions: list[str],
    ) -> None:
        run_three(error)

        is_recorded()
        assert Delivery.objects.get().status == "failed"
        (line,) = [text for text in breaks_on_exceptions if "test.raises failed" in text]
        assert "in raises" in line

    def test_it_is_recorded_although_the_log_raises_an_error(
        self, run_three: RunThree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def breaks(*args: object) -> None:
            raise OSError("the log's disk is full")

        monkeypatch.setattr(logging.getLogger("nateq_webhooks"), "handle", breaks)
        run_three(lambda: ValueError("broken"))

        assert is_recorded().error == "ValueError: broken"


@pytest.mark.django_db(transaction=True)
class TestATextThatTheDatabaseRefuses:
    @pytest.fixture(autouse=True)
    def _refuses_emoji(self, deliver: Deliver) -> Iterator[None]:
        """A table whose character set holds no emoji, as MariaDB's old default; the like of it elsewhere."""
        table = Run._meta.db_table
        columns = ", ".join(f"MODIFY {name} longtext CHARACTER SET {{0}} NOT NULL" for name in ("error", "traceback"))
        convert = f"ALTER TABLE {table} {columns}"
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute(convert.format("utf8mb3"))
            elif connection.vendor == "postgresql":
                cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT no_emoji CHECK (error NOT LIKE '%😀%')")
            else:
                cursor.execute(
                    f"CREATE TRIGGER no_emoji BEFORE UPDATE ON {table} WHEN new.error LIKE '%😀%' "
                    "BEGIN SELECT RAISE(ABORT, 'no emoji'); END"
                )
        yield
        with connection.cursor() as cursor:
            if connection.vendor == "mysql":
                cursor.execute(convert.format("utf8mb4"))
            elif connection.vendor == "postgresql":
                cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT no_emoji")
            else:
                cursor.execute("DROP TRIGGER no_emoji")

    def test_it_is_recorded_with_its_characters_escaped(self, run_three: RunThree, configure: Configure) -> None:
        configure(MAX_TRIES=2)
        run_three(lambda: ValueError("no 😀 today"))

        run = is_recorded()
        assert run.error == r"ValueError: no \U0001f600 today"
        assert r"ValueError: no \U0001f600 today" in run.traceback
        run_until_finished()
        run.refresh_from_db()
        assert (run.status, run.tries) == ("dead", 2)

    def test_it_counts_for_the_breaker(self, run_three: RunThree, configure: Configure) -> None:
        configure(BREAKER_AFTER=1)
        delivery = run_three(lambda: ValueError("no 😀 today"))

        assert [hold.scope for hold in api.paused()] == [f"webhook:{delivery.webhook_id}/receiver:test.raises"]

    def test_a_receiver_can_give_up_with_it(self, run_receiver: RunReceiver) -> None:
        def gives_up(**kwargs: Any) -> None:
            raise GiveUp("no 😀 today")

        run_receiver(gives_up)

        assert (Run.objects.get().status, Delivery.objects.get().status) == ("dead", "dead")


class Server:
    def exit(self, *args: object) -> None:
        sys.exit(1)


class TimeLimitError(Exception):
    """What Celery raises in a task."""


def exceed_time_limit(*args: object) -> None:
    raise TimeLimitError


@contextmanager
def handled_by(number: int, handler: Any) -> Iterator[None]:
    """Have a signal handled by a function for the length of the block."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


@pytest.mark.django_db(transaction=True)
class TestASignal:
    """A signal during a receiver ends the process; it interrupts the main thread, in which the test runs."""

    def run_interrupted(self, deliver: Deliver, connect: Connect, interrupt: Callable[[], object]) -> BaseException:
        """Run a claim of three whose first receiver is interrupted; return what came out."""

        def is_interrupted(*, run: Run, **kwargs: Any) -> None:
            write("undone")
            if run.tries == 1:
                interrupt()

        connect(signals.ticket_created, is_interrupted, "test.first")
        connect(signals.ticket_created, lambda **kwargs: write("second"), "test.second")
        connect(signals.ticket_created, lambda **kwargs: write("third"), "test.third")
        deliver()
        try:
            api.run_due()
        except BaseException as error:  # noqa: BLE001 - it is what is looked at
            return error
        raise AssertionError("the signal was swallowed")

    def the_rest_was_released(self, error: str) -> None:
        assert list(Run.objects.values_list("receiver", "status", "tries", "lease")) == [
            ("test.first", "failed", 1, None),
            ("test.second", "waiting", 0, None),
            ("test.third", "waiting", 0, None),
        ]
        assert Run.objects.get(receiver="test.first").error.startswith(error)
        assert Group.objects.count() == 0
        assert Delivery.objects.get().status == "failed"

    @pytest.mark.parametrize(
        ("number", "handler", "raised", "error"),
        [
            (signal.SIGINT, signal.default_int_handler, KeyboardInterrupt, "KeyboardInterrupt"),
            (signal.SIGUSR1, Server().exit, SystemExit, "SystemExit: 1"),
            (signal.SIGUSR1, exceed_time_limit, TimeLimitError, "TimeLimitError"),
        ],
        ids=["Ctrl-C", "the exit of a server's handler", "a time limit"],
    )
    def test_the_exception_of_a_signal_handler_is_recorded_and_raised_again(
        self, deliver: Deliver, connect: Connect, number: int, handler: Any, raised: type[BaseException], error: str
    ) -> None:
        with handled_by(number, handler):
            came = self.run_interrupted(deliver, connect, lambda: os.kill(os.getpid(), number))

        assert type(came) is raised
        self.the_rest_was_released(error)
        make_due()
        api.run_due()
        assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}

    def test_a_signal_between_two_receivers_releases_the_run_that_has_not_started(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("first"), "test.first")
        connect(signals.ticket_created, lambda **kwargs: write("second"), "test.second")
        deliver()

        def interrupted(run: Run, outcome: object) -> None:
            signal.raise_signal(signal.SIGINT)

        with handled_by(signal.SIGINT, signal.default_int_handler), pytest.raises(KeyboardInterrupt):
            api.run_due(watch=interrupted)

        assert list(Run.objects.values_list("status", "tries")) == [("succeeded", 1), ("waiting", 0)]

    def test_a_signal_is_distinguished_from_an_exception_of_the_receiver(self) -> None:
        def caught(raises: Callable[[], object]) -> BaseException:
            try:
                raises()
            except BaseException as error:  # noqa: BLE001 - it is what is looked at
                return error
            raise AssertionError

        def by_itself() -> None:
            raise KeyboardInterrupt

        def raised_again() -> None:
            try:
                signal.raise_signal(signal.SIGINT)
            except KeyboardInterrupt as error:
                raise error  # as an event loop does

        with handled_by(signal.SIGINT, signal.default_int_handler):
            assert ends_the_process(caught(lambda: signal.raise_signal(signal.SIGINT)))
            assert ends_the_process(caught(raised_again))
            assert not ends_the_process(caught(by_itself))
        assert not ends_the_process(caught(lambda: sys.exit(1)))
        assert not ends_the_process(ValueError("never raised"))


class TestFrames:
    """A stored traceback begins with the receiver's own frame."""

    @staticmethod
    def first_frame() -> str:
        return Run.objects.get().traceback.splitlines()[1]

    def test_of_a_function(self, run_receiver: RunReceiver) -> None:
        def breaks(**kwargs: Any) -> None:
            raise ValueError("broken")

        run_receiver(breaks)

        assert "in breaks" in self.first_frame()

    def test_of_a_function_in_its_own_transaction(self, run_receiver: RunReceiver) -> None:
        @transaction.atomic
        def breaks(**kwargs: Any) -> None:
            raise ValueError("broken")

        run_receiver(breaks, name="test.breaks")

        assert "in breaks" in self.first_frame()

    def test_of_an_async_function(self, run_receiver: RunReceiver) -> None:
        async def breaks(**kwargs: Any) -> None:
            await asyncio.sleep(0)
            raise ValueError("broken")

        run_receiver(breaks)

        assert "in breaks" in self.first_frame()

    def test_what_the_receiver_calls_follows_also_if_it_is_of_this_package(self, run_receiver: RunReceiver) -> None:
        def breaks(**kwargs: Any) -> None:
            api.pause(webhook="nobody's")

        run_receiver(breaks)

        lines = Run.objects.get().traceback.splitlines()
        assert "in breaks" in lines[1]
        assert any("in pause" in line for line in lines[2:])

    def test_an_error_without_a_frame_of_the_receiver_keeps_all(self, run_receiver: RunReceiver) -> None:
        def unfinished(**kwargs: Any) -> Any:
            return (number for number in [1])

        run_receiver(unfinished)

        assert "in _refuse_unfinished" in Run.objects.get().traceback
