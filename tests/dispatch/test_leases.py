"""A long receiver keeps its run, as long as its worker lives and `RUN_TIMEOUT` has not passed."""

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, execute, leases
from nateq_webhooks.dispatch.failure import Outcome
from nateq_webhooks.dispatch.leases import LeaseRenewer
from nateq_webhooks.models import Delivery, Run
from tests.dispatch.scene import (
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    RunReceiver,
    at_once,
    claim_one,
    names_written,
    write,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = timedelta(seconds=2)
"""Short enough to wait for, and long enough that a busy machine does not let one end."""


@pytest.fixture(autouse=True)
def renewer(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> LeaseRenewer:
    """Short leases, and a renewer that knows of no other: its thread waits a quarter of the lease at a time."""
    configure(RUN_LEASE=LEASE)
    renewer = LeaseRenewer()
    monkeypatch.setattr(execute, "lease_renewer", renewer)
    return renewer


@pytest.fixture
def atomic() -> bool:
    """On SQLite nothing can be renewed or claimed while a receiver holds the write lock, so there it holds none."""
    return connection.vendor != "sqlite"


def wait_for(event: threading.Event) -> None:
    assert event.wait(BOUND_SECONDS)


def test_a_long_receiver_keeps_its_run_while_it_works(deliver: Deliver, connect: Connect, atomic: bool) -> None:
    inside, go_on = threading.Event(), threading.Event()
    found_by_others: list[int] = []

    def long(**kwargs: Any) -> None:
        write("mine")
        inside.set()
        wait_for(go_on)

    def others() -> int:
        wait_for(inside)
        end = time.monotonic() + 2.5 * LEASE.total_seconds()
        pause = threading.Event()
        while time.monotonic() < end or len(found_by_others) <= 10:
            found_by_others.append(api.run_due())
            pause.wait(0.05)
        go_on.set()
        return 0

    connect(signals.ticket_created, long, atomic=atomic)
    deliver()

    at_once([api.run_due, others])

    assert len(found_by_others) > 10
    assert set(found_by_others) == {0}
    run = Run.objects.get()
    assert (run.status, run.tries) == ("succeeded", 1)
    assert names_written() == ["mine"]
    assert run.duration is not None
    assert run.duration > 2.4 * LEASE


def test_what_waits_behind_a_long_receiver_under_the_same_lease_is_kept_too(
    deliver: Deliver, connect: Connect, atomic: bool
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def long(**kwargs: Any) -> None:
        inside.set()
        wait_for(go_on)

    def look() -> int:
        wait_for(inside)
        before = timezone.now()
        pause = threading.Event()
        while Run.objects.filter(next_try_at__gt=before + 1.5 * LEASE).count() != 2:
            assert timezone.now() - before < timedelta(seconds=BOUND_SECONDS)
            pause.wait(0.05)
        go_on.set()
        return 0

    connect(signals.ticket_created, long, "test.first", atomic=atomic)
    connect(signals.ticket_created, lambda **kwargs: None, "test.second", atomic=atomic)
    deliver()

    at_once([api.run_due, look])

    assert list(Run.objects.values_list("status", "tries")) == [("succeeded", 1)] * 2


def test_beyond_its_time_a_receiver_loses_the_run_and_its_late_commit_is_refused(
    deliver: Deliver, connect: Connect, configure: Configure, atomic: bool
) -> None:
    configure(RUN_TIMEOUT=timedelta(seconds=1))
    inside, go_on = threading.Event(), threading.Event()
    outcomes: list[tuple[str, Outcome]] = []

    def hangs_at_first(*, run: Run, **kwargs: Any) -> None:
        write(f"try {run.tries}")
        if run.tries == 1:
            inside.set()
            wait_for(go_on)

    def noted_as(name: str) -> Callable[[Run, Outcome], None]:
        return lambda run, outcome: outcomes.append((name, outcome))

    def hung() -> None:
        api.run_due(watch=noted_as("hung"))

    def other() -> None:
        wait_for(inside)
        wait_until(lambda: api.run_due(watch=noted_as("other")), seconds=BOUND_SECONDS, every=0.05)
        go_on.set()

    connect(signals.ticket_created, hangs_at_first, atomic=atomic)
    deliver()

    at_once([hung, other])

    assert outcomes[0] == ("other", Outcome.SUCCEEDED)
    assert [outcome for name, outcome in outcomes if name == "hung"] == [Outcome.LOST]
    run = Run.objects.get()
    assert (run.status, run.tries, run.error) == ("succeeded", 2, "")
    assert names_written() == (["try 2"] if atomic else ["try 1", "try 2"])
    assert Delivery.objects.get().status == "processed"


def test_a_dead_workers_run_starts_again_within_a_lease(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: write("mine"))
    deliver()
    began = time.monotonic()
    claim_one()

    wait_until(api.run_due, seconds=BOUND_SECONDS)

    assert 0.9 * LEASE.total_seconds() < time.monotonic() - began < 10 * LEASE.total_seconds()
    assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)


def test_the_thread_that_renews_ends_when_there_is_nothing_to_renew_and_starts_again(
    deliver: Deliver, run_receiver: RunReceiver, renewer: LeaseRenewer
) -> None:
    run_receiver(lambda **kwargs: None)
    assert renewer.is_running

    renewer.join(BOUND_SECONDS)
    assert not renewer.is_running
    deliver()
    api.run_due()
    assert renewer.is_running


def test_the_thread_that_renews_outlives_invalid_settings(
    deliver: Deliver, run_receiver: RunReceiver, renewer: LeaseRenewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(leases, "IDLE_ROUNDS", 5)
    run_receiver(lambda **kwargs: None)
    with override_settings(NATEQ_WEBHOOKS={"RUN_LEASE": "no duration"}):
        renewer.join(BOUND_SECONDS)

    assert not renewer.is_running  # it ended because there was nothing to do
    deliver()
    api.run_due()
    assert renewer.is_running


class TestWhatWaitsBehindALongReceiver:
    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(leases, "RELEASE_SECONDS", 0.3)

    def test_is_released_and_run_by_others_meanwhile(self, deliver: Deliver, connect: Connect, atomic: bool) -> None:
        """Nine quick runs behind one that hangs: they wait for a few seconds, not for RUN_TIMEOUT and a lease."""
        inside, go_on = threading.Event(), threading.Event()
        outcomes: list[tuple[str, str, Outcome]] = []

        def long(**kwargs: Any) -> None:
            inside.set()
            wait_for(go_on)

        def noted_as(name: str) -> Callable[[Run, Outcome], None]:
            return lambda run, outcome: outcomes.append((name, run.receiver, outcome))

        def holds() -> None:
            api.run_due(watch=noted_as("holds"))

        def others() -> None:
            wait_for(inside)
            end = time.monotonic() + BOUND_SECONDS
            pause = threading.Event()
            while Run.objects.filter(status="succeeded").count() < 9:
                assert time.monotonic() < end
                api.run_due(watch=noted_as("others"))
                pause.wait(0.05)
            go_on.set()

        connect(signals.ticket_created, long, "test.long", atomic=atomic)
        for number in range(9):
            connect(signals.ticket_created, lambda **kwargs: write("quick"), f"test.{number}", atomic=atomic)
        deliver()

        at_once([holds, others])

        assert set(outcomes) == set(
            [("holds", "test.long", Outcome.SUCCEEDED)]
            + [("others", f"test.{number}", Outcome.SUCCEEDED) for number in range(9)]
        )
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}
        assert names_written() == ["quick"] * 9
        assert Delivery.objects.get().status == "processed"

    def test_is_run_by_the_request_itself_when_nobody_else_has(
        self, deliver: Deliver, connect: Connect, atomic: bool
    ) -> None:
        order: list[str] = []

        def long(**kwargs: Any) -> None:
            order.append("long")
            wait_until(lambda: Run.objects.filter(status="waiting").count() >= 2, seconds=BOUND_SECONDS)

        connect(signals.ticket_created, long, "test.long", atomic=False)
        connect(signals.ticket_created, lambda **kwargs: order.append("second"), "test.second")
        connect(signals.ticket_created, lambda **kwargs: order.append("third"), "test.third")
        delivery = deliver()

        api.run_delivery(delivery.pk)

        assert order == ["long", "second", "third"]
        assert set(Run.objects.values_list("status", "tries")) == {("succeeded", 1)}
        assert Delivery.objects.get().status == "processed"

    def test_stays_held_while_the_receivers_are_quick(
        self, deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Together they take longer than the limit, each of them far less, also on a busy machine."""
        monkeypatch.setattr(leases, "RELEASE_SECONDS", 2)
        pause = threading.Event()
        for number in range(5):
            connect(signals.ticket_created, lambda **kwargs: pause.wait(0.5), f"test.{number}", atomic=False)
        deliver()
        executed: list[str] = []

        api.run_due(watch=lambda run, outcome: executed.append(run.receiver))

        assert executed == [f"test.{number}" for number in range(5)]

    def test_is_left_alone_inside_a_transaction_that_nobody_else_sees(
        self, deliver: Deliver, connect: Connect, renewer: LeaseRenewer
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: None)
        deliver()

        with transaction.atomic():
            transaction.get_connection().atomic_blocks[-1]._from_testcase = True  # as Django's TestCase has it
            api.run_due()

        assert not renewer.is_running
        assert Run.objects.get().status == "succeeded"


def test_a_run_without_a_lease_is_held_by_nobody(run_receiver: RunReceiver) -> None:
    run_receiver(lambda **kwargs: None)
    run = Run.objects.get()

    assert run.lease is None
    assert not Run.objects.leased(run).exists()
