"""Each failed try of a run has a row of its own; a success has none."""

import math
from typing import Any

import pytest

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, create, failed_tries
from nateq_webhooks.errors import RetryLater
from nateq_webhooks.models import Run, RunTry
from nateq_webhooks.models.run import MAX_ERROR_CHARS
from tests.dispatch.scene import (
    ALIAS,
    Configure,
    Connect,
    Deliver,
    at_once,
    claim_one,
    lapse_leases,
    make_due,
    run_until_finished,
)

pytestmark = pytest.mark.django_db(transaction=True)


def fails(*, times: float = math.inf, error: type[Exception] = ValueError) -> Any:
    """Return a receiver whose first tries fail, each with its own text."""

    def receiver(*, run: Run, **kwargs: Any) -> None:
        if run.tries <= times:
            raise error(f"try {run.tries} broke")

    return receiver


def recorded() -> list[tuple[int, str]]:
    return list(RunTry.objects.order_by("number").values_list("number", "error"))


@pytest.mark.parametrize("atomic", [True, False])
def test_each_failed_try_is_kept_and_the_success_that_follows_is_in_the_run(
    deliver: Deliver, connect: Connect, *, atomic: bool
) -> None:
    connect(signals.ticket_created, fails(times=2), atomic=atomic)
    deliver()

    run_until_finished()

    run = Run.objects.get()
    assert (run.status, run.tries, run.error) == ("succeeded", 3, "")
    assert recorded() == [(1, "ValueError: try 1 broke"), (2, "ValueError: try 2 broke")]
    first, second = RunTry.objects.order_by("number")
    assert first.started_at is not None
    assert first.duration == first.finished_at - first.started_at
    assert run.finished_at is not None
    assert first.finished_at < second.finished_at < run.finished_at


def test_the_try_after_which_a_run_is_given_up_is_kept(
    deliver: Deliver, connect: Connect, configure: Configure
) -> None:
    configure(MAX_TRIES=2)
    connect(signals.ticket_created, fails())
    deliver()

    run_until_finished()

    run = Run.objects.get()
    assert (run.status, recorded()) == ("dead", [(1, "ValueError: try 1 broke"), (2, "ValueError: try 2 broke")])
    assert run.finished_at == RunTry.objects.get(number=2).finished_at


def test_a_try_that_a_receiver_puts_off_is_kept(deliver: Deliver, connect: Connect) -> None:
    def later(*, run: Run, **kwargs: Any) -> None:
        if run.tries == 1:
            raise RetryLater(60)

    connect(signals.ticket_created, later)
    deliver()

    run_until_finished()

    assert [number for number, _error in recorded()] == [1]


def test_a_number_that_is_taken_does_not_keep_the_failure_from_being_recorded(
    deliver: Deliver, connect: Connect
) -> None:
    """Somebody has set the tries of a run back in the database."""
    connect(signals.ticket_created, fails())
    deliver()
    api.run_due()
    Run.objects.update(tries=0)
    make_due()

    api.run_due()

    run = Run.objects.get()
    assert (run.status, run.tries, run.lease) == ("failed", 1, None)
    assert recorded() == [(1, "ValueError: try 1 broke")]


def test_a_run_that_succeeds_at_once_has_no_row(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, fails(times=0))
    deliver()

    run_until_finished()

    assert Run.objects.get().status == "succeeded"
    assert recorded() == []


def test_a_run_that_is_inserted_with_its_delivery_keeps_its_failed_try(
    deliver: Deliver, connect: Connect, configure: Configure
) -> None:
    configure(DISPATCH="inline")
    connect(signals.ticket_created, fails())

    deliver()

    assert recorded() == [(1, "ValueError: try 1 broke")]


class TestDeadWorkers:
    def test_a_try_that_ended_with_its_worker_is_kept(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails(times=0))
        deliver()
        claim_one()
        started_at = Run.objects.get().started_at
        lapse_leases()

        api.run_due()

        assert Run.objects.get().status == "succeeded"
        died = RunTry.objects.get()
        assert (died.number, died.started_at, died.duration) == (1, started_at, None)
        assert died.error == "The worker died, or the receiver hung."

    def test_the_last_try_is_kept_when_the_run_is_given_up(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(MAX_TRIES=1)
        connect(signals.ticket_created, fails(times=0))
        deliver()
        claim_one()
        lapse_leases()

        api.run_due()

        assert (Run.objects.get().status, [number for number, _error in recorded()]) == ("dead", [1])

    def test_a_run_that_was_claimed_and_not_started_has_no_failed_try(self, deliver: Deliver, connect: Connect) -> None:
        for name in ("test.one", "test.two"):
            connect(signals.ticket_created, fails(times=0), name)
        deliver()
        create.claim_deliveries(ALIAS, 1)  # starts the first
        lapse_leases()

        run_until_finished()

        assert RunTry.objects.get().run.receiver == "test.one"

    def test_of_several_processes_that_find_the_run_one_records_it(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails(times=0))
        for _number in range(5):
            deliver()
        create.claim_deliveries(ALIAS, 5)
        Run.objects.update(started_at="2026-06-30T12:00:00Z", tries=1)
        lapse_leases()

        at_once([api.run_due] * 4)
        run_until_finished()

        assert sorted(RunTry.objects.values_list("run_id", "number")) == [
            (pk, 1) for pk in Run.objects.order_by("pk").values_list("pk", flat=True)
        ]


class TestBounds:
    def test_the_oldest_tries_are_deleted(
        self, deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(failed_tries, "MAX_TRIES_KEPT", 3)
        connect(signals.ticket_created, fails())
        deliver()

        for _number in range(5):
            api.run_due()
            make_due()

        assert [number for number, _error in recorded()] == [3, 4, 5]

    def test_the_error_is_cut(self, deliver: Deliver, connect: Connect) -> None:
        def breaks(**kwargs: Any) -> None:
            raise ValueError("x" * 5_000)

        connect(signals.ticket_created, breaks)
        deliver()

        api.run_due()

        assert len(RunTry.objects.get().error) == MAX_ERROR_CHARS

    def test_they_are_deleted_with_the_delivery(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails())
        delivery = deliver()
        api.run_due()
        assert recorded()

        delivery.delete()

        assert recorded() == []
