"""A failed try: when the next one is, when the run is given up, and what is stored of the error."""

import math
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, failure
from nateq_webhooks.errors import GiveUp, RetryLater
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import MAX_ERROR_CHARS, MAX_TRACEBACK_CHARS
from tests.dispatch.scene import (
    Announced,
    Configure,
    Connect,
    Deliver,
    RunReceiver,
    make_due,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db


def raises(error: Exception, *, times: float = math.inf) -> Any:
    """Return a receiver that writes and then raises, the first times."""

    def receiver(*, run: Run, **kwargs: Any) -> None:
        write("mine")
        if run.tries <= times:
            raise error

    return receiver


def made_long_ago(age: timedelta) -> None:
    Run.objects.update(created_at=timezone.now() - age)


def wait_of(run: Run) -> timedelta:
    """Return how long a failed run waits for its next try."""
    assert run.next_try_at is not None
    assert run.finished_at is not None
    return run.next_try_at - run.finished_at


class TestTries:
    def test_a_run_is_given_up_after_the_last_try_and_one_signal_is_sent(
        self, deliver: Deliver, connect: Connect, configure: Configure, announced: Announced
    ) -> None:
        configure(MAX_TRIES=3)
        connect(signals.ticket_created, raises(ValueError("broken")))
        delivery = deliver()
        statuses = []

        for _ in range(3):
            make_due()
            api.run_due()
            delivery.refresh_from_db()
            statuses.append((Run.objects.get().status, delivery.status))

        assert statuses == [("failed", "failed"), ("failed", "failed"), ("dead", "dead")]
        run = Run.objects.get()
        assert (run.tries, run.next_try_at, run.lease, run.error) == (3, None, None, "ValueError: broken")
        assert announced == [("failed", Delivery.objects.get().pk)]
        assert api.run_due() == 0
        assert written("mine") == 0

    def test_a_run_that_succeeds_in_time_is_processed_and_one_signal_is_sent(
        self, deliver: Deliver, connect: Connect, configure: Configure, announced: Announced
    ) -> None:
        configure(MAX_TRIES=3)
        connect(signals.ticket_created, raises(ValueError("broken"), times=2))
        deliver()

        run_until_finished()

        run = Run.objects.get()
        assert (run.status, run.tries) == ("succeeded", 3)
        assert announced == [("processed", Delivery.objects.get().pk)]
        assert written("mine") == 1

    def test_each_wait_is_twice_as_long_and_its_upper_half_is_random(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(RETRY_BASE=timedelta(seconds=100))
        connect(signals.ticket_created, raises(ValueError("broken")))
        for _ in range(5):
            deliver()
        waits: set[timedelta] = set()

        for full in (100, 200, 400, 800):
            make_due()
            api.run_due()
            for run in Run.objects.all():
                assert timedelta(seconds=full / 2) <= wait_of(run) <= timedelta(seconds=full)
                waits.add(wait_of(run))

        assert len(waits) == 20

    def test_a_failed_run_is_not_tried_before_its_time(self, run_receiver: RunReceiver, configure: Configure) -> None:
        run_receiver(raises(ValueError("broken")))

        assert api.run_due() == 0
        Run.objects.update(next_try_at=timezone.now() + timedelta(seconds=5))
        assert api.run_due() == 0
        Run.objects.update(next_try_at=timezone.now())
        assert api.run_due() == 1

    def test_a_run_that_is_too_old_is_given_up_at_its_next_failure(
        self, run_receiver: RunReceiver, configure: Configure, announced: Announced
    ) -> None:
        configure(RETRY_MAX_AGE=timedelta(hours=1))
        run_receiver(raises(ValueError("broken")))
        made_long_ago(timedelta(hours=1))

        make_due()
        api.run_due()

        assert (Run.objects.get().status, Run.objects.get().tries) == ("dead", 2)
        assert announced == [("failed", Delivery.objects.get().pk)]

    def test_the_last_try_may_still_succeed_however_old_the_run_is(
        self, run_receiver: RunReceiver, configure: Configure
    ) -> None:
        configure(RETRY_MAX_AGE=timedelta(hours=1))
        run_receiver(raises(ValueError("broken"), times=1))
        made_long_ago(timedelta(days=9))

        make_due()
        api.run_due()

        assert Run.objects.get().status == "succeeded"


class TestRetryLater:
    def test_it_is_tried_again_after_its_wait_and_its_work_is_undone(self, run_receiver: RunReceiver) -> None:
        delivery = run_receiver(raises(RetryLater(90, "the till is closed"), times=1))

        run = Run.objects.get()
        assert (run.status, run.error) == ("failed", "RetryLater: the till is closed")
        assert wait_of(run) == timedelta(seconds=90)
        delivery.refresh_from_db()
        assert delivery.status == "failed"
        assert written("mine") == 0
        run_until_finished()
        assert written("mine") == 1

    def test_the_number_of_tries_does_not_limit_it(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(MAX_TRIES=2)
        connect(signals.ticket_created, raises(RetryLater(60), times=5))
        deliver()

        run_until_finished()

        assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 6)

    def test_its_age_limits_it(self, run_receiver: RunReceiver, configure: Configure, announced: Announced) -> None:
        configure(RETRY_MAX_AGE=timedelta(hours=1))
        run_receiver(raises(RetryLater(120)))
        assert Run.objects.get().status == "failed"
        made_long_ago(timedelta(minutes=59))

        make_due()
        api.run_due()

        assert Run.objects.get().status == "dead"
        assert announced == [("failed", Delivery.objects.get().pk)]

    @pytest.mark.parametrize("seconds", [math.inf, math.nan, 1e18, timedelta(minutes=5), "soon", None, -1e18], ids=repr)
    def test_an_invalid_wait_breaks_neither_the_worker_nor_the_next_receiver(
        self, connect: Connect, run_receiver: RunReceiver, seconds: Any
    ) -> None:
        def asks(**kwargs: Any) -> None:
            write("mine")
            raise RetryLater(seconds)

        connect(signals.ticket_created, asks, "test.asks")
        run_receiver(lambda **kwargs: write("next"), "test.next")

        run = Run.objects.get(receiver="test.asks")
        assert run.status in ("failed", "dead")
        assert (written("mine"), written("next")) == (0, 1)

    @pytest.mark.parametrize("seconds", [0, -1, -1e9, 0.0, Decimal(0), "0", False], ids=repr)
    def test_without_a_positive_wait_it_waits_as_after_any_failure(
        self, deliver: Deliver, connect: Connect, configure: Configure, seconds: Any
    ) -> None:
        """A service that answers `Retry-After: 0` for hours is not called without a pause."""
        configure(RETRY_BASE=timedelta(seconds=100), MAX_TRIES=2)
        connect(signals.ticket_created, raises(RetryLater(seconds), times=5))
        deliver()

        for full in (100, 200, 400):
            api.run_due()
            run = Run.objects.get()
            assert timedelta(seconds=full / 2) <= wait_of(run) <= timedelta(seconds=full)
            make_due()
        run_until_finished()
        assert Run.objects.get().status == "succeeded"  # it asked for each of its tries

    @pytest.mark.parametrize(
        ("seconds", "wait"), [(1e-9, 1), (0.5, 1), (1, 1), (2.5, 2.5), ("30", 30), (Decimal(7), 7)], ids=repr
    )
    def test_a_wait_is_a_second_at_least(self, run_receiver: RunReceiver, seconds: Any, wait: float) -> None:
        run_receiver(raises(RetryLater(seconds)))

        run = Run.objects.get()
        assert wait_of(run) == timedelta(seconds=wait)

    def test_an_error_without_seconds_is_tried_again_as_after_any_failure(self, run_receiver: RunReceiver) -> None:
        class BusyError(RetryLater):
            def __init__(self) -> None:
                Exception.__init__(self, "no seconds in it")

        run_receiver(raises(BusyError(), times=1))

        assert Run.objects.get().status == "failed"
        run_until_finished()
        assert Run.objects.get().status == "succeeded"

    def test_it_is_logged_as_information_and_not_as_an_error(
        self, deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
    ) -> None:
        connect(signals.ticket_created, raises(RetryLater(60)), "test.asks")
        deliver()

        with caplog.at_level("INFO", "nateq_webhooks"):
            api.run_due()

        (record,) = [record for record in caplog.records if "test.asks" in record.getMessage()]
        assert record.levelname == "INFO"
        assert record.getMessage().startswith("Receiver test.asks asked to try delivery ")
        assert record.exc_info is None

    def test_it_is_an_error_if_it_cannot_be_recorded(
        self, run_receiver: RunReceiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuses(*args: object) -> None:
            raise DatabaseError("private")

        monkeypatch.setattr(failure, "_write", refuses)
        delivery = run_receiver(raises(RetryLater(60)), "test.asks")

        (record,) = [record for record in caplog.records if "test.asks" in record.getMessage()]
        assert record.levelname == "ERROR"
        assert record.getMessage() == (
            f"Receiver test.asks failed on delivery {delivery.pk} (try 1), and this could not be recorded "
            "(DatabaseError): RetryLater"
        )
        assert Run.objects.get().status == "running"


class TestGiveUp:
    def test_a_run_that_is_given_up_is_never_tried_again(self, run_receiver: RunReceiver, announced: Announced) -> None:
        delivery = run_receiver(raises(GiveUp("no such customer")))

        run = Run.objects.get()
        assert (run.status, run.tries, run.error, run.next_try_at) == ("dead", 1, "GiveUp: no such customer", None)
        delivery.refresh_from_db()
        assert delivery.status == "dead"
        assert announced == [("failed", Delivery.objects.get().pk)]
        assert written("mine") == 0
        assert api.run_due() == 0

    def test_giving_up_one_receiver_does_not_stop_the_tries_of_another(
        self, connect: Connect, run_receiver: RunReceiver, announced: Announced
    ) -> None:
        connect(signals.ticket_created, raises(GiveUp()), "test.gives.up")
        delivery = run_receiver(raises(ValueError("broken"), times=1), "test.recovers")
        delivery.refresh_from_db()
        assert (delivery.status, announced) == ("failed", [])
        run_until_finished()

        assert dict(Run.objects.values_list("receiver", "status")) == {
            "test.gives.up": "dead",
            "test.recovers": "succeeded",
        }
        delivery.refresh_from_db()
        assert (delivery.status, announced) == ("dead", [("failed", delivery.pk)])


class TestWhatIsKept:
    def test_the_error_and_the_traceback_are_bounded_and_can_be_stored(self, run_receiver: RunReceiver) -> None:
        def breaks(**kwargs: Any) -> None:
            raise ValueError("a\x00b \ud800 😀 " + "x" * 100_000 + " the end")

        run_receiver(breaks)

        run = Run.objects.get()
        assert run.status == "failed"
        assert run.error.startswith("ValueError: a\ufffdb \ufffd 😀 xxx")
        assert len(run.error) == MAX_ERROR_CHARS
        assert len(run.traceback) == MAX_TRACEBACK_CHARS
        assert run.traceback.rstrip().endswith("the end")

    def test_the_end_of_the_traceback_of_a_deep_recursion_is_kept(self, run_receiver: RunReceiver) -> None:
        def deeper(depth: int) -> int:
            return 1 + deeper(depth + 1)

        run_receiver(lambda **kwargs: deeper(0))

        run = Run.objects.get()
        assert run.error.startswith("RecursionError")
        assert len(run.traceback) <= MAX_TRACEBACK_CHARS
        assert "RecursionError" in run.traceback.splitlines()[-1]

    def test_the_cause_of_an_error_is_kept_with_it(self, run_receiver: RunReceiver) -> None:
        def breaks(**kwargs: Any) -> None:
            try:
                raise KeyError("the cause")
            except KeyError as error:
                raise ValueError("the effect") from error

        run_receiver(breaks)

        assert Run.objects.get().error == "ValueError: the effect"
        assert "KeyError: 'the cause'" in Run.objects.get().traceback

    def test_the_log_names_the_receiver_the_delivery_and_the_next_try(
        self, run_receiver: RunReceiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        delivery = run_receiver(raises(ValueError("broken")), "test.breaks")

        run = Run.objects.get()
        assert run.next_try_at is not None
        (record,) = [record for record in caplog.records if "test.breaks" in record.getMessage()]
        assert record.levelname == "ERROR"
        assert record.getMessage() == (
            f"Receiver test.breaks failed on delivery {delivery.pk} (try 1, tried again at "
            f"{run.next_try_at:%Y-%m-%d %H:%M:%S} UTC): ValueError"
        )
