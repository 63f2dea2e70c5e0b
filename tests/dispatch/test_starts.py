"""A try counts when a receiver is really called; what was claimed and never started loses none, whatever dies."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import Error, connection, transaction
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, claim, create, execute, statements
from nateq_webhooks.dispatch.execute import start
from nateq_webhooks.dispatch.leases import Lease
from nateq_webhooks.errors import RetryLater
from nateq_webhooks.models import Delivery, Run
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    at_once,
    backend_id,
    claim_one,
    elsewhere,
    execute_only,
    kill_connection,
    lapse_leases,
    make_due,
    names_written,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)

Writers = Callable[..., None]


def writes_its_name(*, run: Run, **kwargs: Any) -> None:
    write(run.receiver)


@pytest.fixture
def connect_writers(connect: Connect) -> Callable[..., None]:
    """Connect receivers that write their names, in this order."""

    def connect_all(*names: str) -> None:
        for name in names:
            connect(signals.ticket_created, lambda **kwargs: writes_its_name(**kwargs), name)

    return connect_all


def tries() -> dict[str, tuple[str, int]]:
    """Return each receiver's status and tries."""
    return {run.receiver: (run.status, run.tries) for run in Run.objects.all()}


def release_elsewhere(receiver: str) -> bool:
    """Release a run on another connection, as the thread that renews the leases does."""
    run = Run.objects.select_related("delivery").get(receiver=receiver)
    assert run.lease is not None
    lease = run.lease
    run.tries, run.started_at = 0, None
    return elsewhere(partial(claim.release, ALIAS, lease, run, only_unstarted=True))


class TestAClaim:
    def test_of_new_deliveries_starts_its_first_run_and_no_other(
        self, deliver: Deliver, connect_writers: Writers
    ) -> None:
        connect_writers(*(f"test.{number}" for number in range(3)))
        deliver()

        claimed = create.claim_deliveries(ALIAS, 20)

        assert [(run.status, run.tries, run.started_at is None) for run in Run.objects.all()] == [
            ("running", 1, False),
            ("running", 0, True),
            ("running", 0, True),
        ]
        assert claimed.started == claimed.runs[0]

    def test_of_due_runs_starts_its_first_one_and_no_other(self, deliver: Deliver, connect: Connect) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, fails)
        for _ in range(3):
            deliver()
        api.run_due()
        make_due()

        claimed = claim.claim_runs(ALIAS, 20)

        assert sorted(Run.objects.values_list("tries", flat=True)) == [1, 1, 2]
        assert Run.objects.get(tries=2) == claimed.runs[0] == claimed.started
        assert Run.objects.filter(started_at=None).count() == 2

    def test_does_not_start_a_run_whose_receiver_is_not_connected(
        self, deliver: Deliver, connect_writers: Writers
    ) -> None:
        delivery = deliver()
        connect_writers("test.here")
        for name in ("test.gone", "test.here"):
            Run.objects.create(delivery=delivery, receiver=name)

        claim.claim_runs(ALIAS, 20)

        assert tries() == {"test.gone": ("running", 0), "test.here": ("running", 1)}

    def test_that_finalizes_something_first_starts_none(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name)
        delivery = deliver()
        execute_only(claim_one())
        Run.objects.update(next_try_at=timezone.now())
        Run.objects.create(delivery=delivery, receiver=Run.objects.get().receiver, round=1)

        claimed = claim.claim_runs(ALIAS, 20)

        assert claimed.finished
        assert claimed.started is None
        assert Run.objects.get(round=1).tries == 0

    def test_takes_what_may_have_killed_a_worker_last(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name)
        for _ in range(3):
            deliver()
        killer = create.claim_deliveries(ALIAS, 20).runs[0]
        Run.objects.update(next_try_at=timezone.now())

        again = claim.claim_runs(ALIAS, 20)

        assert again.runs[-1] == killer
        assert len(again.runs) == 3


class TestAWorkersDeath:
    def test_costs_the_run_at_hand_a_try_and_no_other(
        self, deliver: Deliver, connect_writers: Writers, configure: Configure
    ) -> None:
        configure(MAX_TRIES=1)
        connect_writers(*(f"test.{number}" for number in range(10)))
        deliver()
        assert len(create.claim_deliveries(ALIAS, 20).runs) == 10
        lapse_leases()

        run_until_finished()

        died = ("dead", 1)
        assert tries() == {"test.0": died} | {f"test.{number}": ("succeeded", 1) for number in range(1, 10)}
        assert written() == 9

    def test_again_and_again_gives_up_what_killed_it_and_nothing_else(
        self, deliver: Deliver, connect_writers: Writers, configure: Configure
    ) -> None:
        configure(MAX_TRIES=3)
        connect_writers(*(f"test.{number}" for number in range(5)))
        deliver()
        create.claim_deliveries(ALIAS, 20)
        for _ in range(2):
            lapse_leases()
            Run.objects.exclude(receiver="test.0").update(next_try_at=timezone.now() + timedelta(hours=1))
            claim_one()
        lapse_leases()

        run_until_finished()

        assert tries() == {"test.0": ("dead", 3)} | {f"test.{number}": ("succeeded", 1) for number in range(1, 5)}

    def test_before_a_run_that_asked_to_be_tried_later_was_started_does_not_end_it(
        self, deliver: Deliver, connect: Connect, connect_writers: Writers, configure: Configure
    ) -> None:
        configure(MAX_TRIES=2)

        def asks(*, run: Run, **kwargs: Any) -> None:
            if run.tries < 4:
                raise RetryLater(60)
            write("mine")

        connect_writers("test.first")
        connect(signals.ticket_created, asks, "test.asks")
        deliver()
        for _ in range(3):
            api.run_due()
            make_due()
        Run.objects.filter(receiver="test.first").update(status="waiting", next_try_at=timezone.now(), tries=0)
        first = Run.objects.get(receiver="test.first")
        Run.objects.filter(pk=first.pk).update(next_try_at=timezone.now() - timedelta(hours=1))
        claimed = claim.claim_runs(ALIAS, 20)
        assert [run.receiver for run in claimed.runs] == ["test.first", "test.asks"]
        lapse_leases()

        run_until_finished()

        assert tries()["test.asks"] == ("succeeded", 4)


class TestTheCall:
    @pytest.mark.parametrize("fails", [False, True], ids=["after a success", "after a failure"])
    def test_comes_after_its_try_was_committed(self, deliver: Deliver, connect: Connect, fails: bool) -> None:
        seen: list[tuple[str, str, int, bool]] = []

        def looks(*, run: Run, **kwargs: Any) -> None:
            row = elsewhere(lambda: Run.objects.get(pk=run.pk))
            seen.append((row.receiver, row.status, row.tries, row.started_at is not None))
            assert run.tries == row.tries
            if fails and run.receiver != "test.last":
                raise ValueError("broken")

        for name in ("test.first", "test.second", "test.last"):
            connect(signals.ticket_created, lambda **kwargs: looks(**kwargs), name)
        deliver()

        api.run_due()

        assert seen == [(name, "running", 1, True) for name in ("test.first", "test.second", "test.last")]
        assert {count for _status, count in tries().values()} == {1}

    @pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "not atomic"])
    @pytest.mark.parametrize("fails", [False, True], ids=["succeeds", "fails"])
    def test_does_not_come_for_a_run_that_was_released_while_the_first_one_ran(
        self, deliver: Deliver, connect: Connect, connect_writers: Writers, atomic: bool, fails: bool
    ) -> None:
        if atomic and connection.vendor == "sqlite":
            pytest.skip("on SQLite nothing can be released while a receiver holds the write lock")
        given_back: list[bool] = []

        def first(**kwargs: Any) -> None:
            given_back.append(release_elsewhere("test.second"))
            if fails:
                raise ValueError("broken")

        connect(signals.ticket_created, first, "test.first", atomic=atomic)
        connect_writers("test.second", "test.third")
        deliver()
        outcomes: list[str] = []

        api.run_due(watch=lambda run, outcome: outcomes.append(run.receiver))

        assert given_back == [True]
        assert outcomes == ["test.first", "test.third"]
        assert tries()["test.second"] == ("waiting", 0)
        assert tries()["test.third"] == ("succeeded", 1)
        api.run_due()
        assert tries()["test.second"] == ("succeeded", 1)
        assert names_written() == ["test.second", "test.third"]

    def test_comes_for_a_run_that_could_no_longer_be_released_as_the_first_one_has_returned(
        self, deliver: Deliver, connect: Connect, connect_writers: Writers
    ) -> None:
        given_back: list[bool] = []

        def first(**kwargs: Any) -> None:
            transaction.on_commit(lambda: given_back.append(release_elsewhere("test.second")))

        connect(signals.ticket_created, first, "test.first")
        connect_writers("test.second")
        deliver()

        api.run_due()

        assert given_back == [False]
        assert tries() == {"test.first": ("succeeded", 1), "test.second": ("succeeded", 1)}
        assert names_written() == ["test.second"]

    def test_comes_once_when_the_run_is_released_at_the_very_moment_the_first_one_returns(
        self, deliver: Deliver, connect: Connect, connect_writers: Writers
    ) -> None:
        """Both are let go at once, many times; whoever is first, the second receiver runs once and one try counts."""
        moment = threading.Barrier(2)
        rounds = 12

        def first(**kwargs: Any) -> None:
            moment.wait(BOUND_SECONDS)

        def worker() -> None:
            for _ in range(rounds):
                api.run_due()
                moment.wait(BOUND_SECONDS)

        def renewer() -> None:
            for number in range(rounds):
                moment.wait(BOUND_SECONDS)
                for run in Run.objects.filter(receiver="test.second", status="running", delivery__pk=pks[number]):
                    lease, run.tries, run.started_at = run.lease, 0, None
                    if lease is not None:
                        claim.release(ALIAS, lease, run, only_unstarted=True)
                Delivery.objects.filter(pk__in=pks[number + 1 : number + 2]).update(dispatch_at=timezone.now())
                moment.wait(BOUND_SECONDS)

        connect(signals.ticket_created, first, "test.first", atomic=False)
        connect_writers("test.second")
        pks = [deliver().pk for _ in range(rounds)]
        Delivery.objects.filter(pk__in=pks[1:]).update(dispatch_at=timezone.now() + timedelta(hours=1))

        at_once([worker, renewer])
        run_until_finished()

        assert Counter(Run.objects.values_list("receiver", "status", "tries")) == {
            ("test.first", "succeeded", 1): rounds,
            ("test.second", "succeeded", 1): rounds,
        }
        assert written("test.second") == rounds

    def test_does_not_come_twice_for_a_try_whose_commit_was_not_answered(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        """As after a lost answer to COMMIT, the worker counts once more what it has counted."""
        connect(signals.ticket_created, writes_its_name)
        deliver()
        claimed = claim_one()
        lease = Lease(alias=ALIAS, token=claimed.lease, runs=claimed.runs)

        assert start(claimed.runs[0], lease)

        assert Run.objects.get().tries == 1

    @pytest.mark.services
    def test_that_never_came_as_the_connection_was_lost_before_costs_no_try(
        self, deliver: Deliver, connect_writers: Writers, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has no connection that could be lost")

        def loses_its_connection(*args: Any) -> bool:
            began = start(*args)
            elsewhere(partial(kill_connection, backend_id()))
            return began

        connect_writers("test.first", "test.second")
        deliver()
        with monkeypatch.context() as patch:
            patch.setattr("nateq_webhooks.dispatch.execute.start", loses_its_connection)
            with pytest.raises(Error):
                api.run_due()

        assert tries() == {"test.first": ("waiting", 0), "test.second": ("waiting", 0)}
        api.run_due()
        assert tries() == {"test.first": ("succeeded", 1), "test.second": ("succeeded", 1)}
        assert names_written() == ["test.first", "test.second"]


def test_a_success_starts_the_next_run_in_its_own_statement(deliver: Deliver, connect_writers: Writers) -> None:
    """What the promise costs: nothing more for a run."""
    counted: list[int] = []
    original = statements.mark_started

    def counts(*args: Any) -> bool:
        counted.append(1)
        return original(*args)

    connect_writers(*(f"test.{number}" for number in range(5)))
    deliver()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute, "mark_started", counts)
        api.run_due()

    assert counted == []
    assert set(tries().values()) == {("succeeded", 1)}
