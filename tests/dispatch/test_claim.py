"""Taking work: nobody does twice what another has taken, and what a dead worker held is taken again."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.conf import settings as conf
from nateq_webhooks.dispatch import api, claim, create
from nateq_webhooks.dispatch.failure import Outcome
from nateq_webhooks.models import Delivery, Run
from tests.dispatch.scene import (
    ALIAS,
    Configure,
    Connect,
    Deliver,
    at_once,
    claim_one,
    execute_only,
    fails_once,
    lapse_leases,
    make_due,
    names_written,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS = 8


class DiesBeforeItRuns:
    """The inline runner, in a process that dies between storing and running."""

    @property
    def hold(self) -> timedelta:
        return conf().run_lease

    def wake(self, due: dispatch.Due) -> None:
        pass


def work_until_empty() -> int:
    """Do what a worker does, until nothing is due."""
    total = 0
    while found := api.run_due(3):
        total += found
    return total


def writes_its_name(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
    write(f"{delivery.delivery_id} {run.receiver}")


def claim_until_empty(take: Callable[[], claim.Claimed]) -> list[int]:
    """Claim until there is nothing left; return the keys of the runs that were given out."""
    pks: list[int] = []
    while claimed := take():
        pks += [run.pk for run in claimed.runs]
    return pks


class TestManyWorkers:
    def test_never_run_one_receiver_twice(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name, "test.one")
        connect(signals.event_received, lambda **kwargs: writes_its_name(**kwargs), "test.two")
        deliveries = [deliver() for _ in range(25)]

        at_once([work_until_empty] * WORKERS)

        expected = sorted(f"{one.delivery_id} {name}" for one in deliveries for name in ("test.one", "test.two"))
        assert names_written() == expected
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 50}
        assert set(Delivery.objects.values_list("status", "dispatch_at")) == {("processed", None)}
        assert not Run.objects.exclude(next_try_at=None).exists()

    def test_never_try_one_failed_run_twice(self, deliver: Deliver, connect: Connect) -> None:
        def fails_once(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            write(delivery.delivery_id)
            if run.tries == 1:
                raise ValueError("broken")

        connect(signals.ticket_created, fails_once)
        deliveries = [deliver() for _ in range(25)]
        work_until_empty()
        assert make_due() == 25

        at_once([work_until_empty] * WORKERS)

        assert names_written() == sorted(one.delivery_id for one in deliveries)
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 2): 25}

    def test_claim_each_due_run_once(self, deliver: Deliver, connect: Connect) -> None:
        delivery = deliver()
        connect(signals.ticket_created, writes_its_name, "test.one")
        runs = [
            Run(delivery=delivery, receiver="test.one", round=number, next_try_at=timezone.now())
            for number in range(120)
        ]
        Run.objects.bulk_create(runs)

        taken = at_once([partial(claim_until_empty, lambda: claim.claim_runs(ALIAS, 3))] * WORKERS)

        assert sorted(pk for pks in taken for pk in pks) == sorted(Run.objects.values_list("pk", flat=True))
        assert set(Run.objects.values_list("status", flat=True)) == {"running"}
        assert set(Run.objects.values_list("tries", flat=True)) == {0, 1}  # each claim has started its first one

    def test_make_one_run_per_receiver_of_each_delivery(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        connect(signals.event_received, lambda **kwargs: None, "test.two")
        keys = [deliver().pk for _ in range(30)]

        taken = at_once([partial(claim_until_empty, lambda: create.claim_deliveries(ALIAS, 3))] * WORKERS)

        assert len([pk for pks in taken for pk in pks]) == 60
        assert sorted(Run.objects.values_list("delivery_id", "receiver")) == sorted(
            (pk, name) for pk in keys for name in ("test.one", "test.two")
        )

    def test_that_are_woken_for_one_delivery_make_its_runs_once(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name, "test.one")
        for number in range(1, 11):
            delivery = deliver()
            wakes: list[Callable[[], int]] = [partial(api.run_delivery, delivery.pk)] * 4
            wakes += [partial(api.run_delivery, delivery.pk, dispatch_at=delivery.dispatch_at)] * 2
            looks: list[Callable[[], int]] = [api.run_due] * 2

            at_once(wakes + looks)

            assert Run.objects.filter(delivery=delivery).count() == 1
            assert written(delivery.delivery_id) == 1
            assert Run.objects.count() == number

    def test_a_wake_up_for_a_delivery_that_is_gone_or_taken_does_nothing(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, writes_its_name)
        delivery = deliver()

        assert api.run_delivery(delivery.pk) == 1
        assert api.run_delivery(delivery.pk) == 0
        assert api.run_delivery(delivery.pk, dispatch_at=delivery.dispatch_at) == 0
        assert api.run_delivery(delivery.pk + 1_000) == 0
        assert written() == 1


class TestLease:
    def test_while_it_lasts_nobody_else_takes_the_run(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        claim_one()

        run = Run.objects.get()
        assert run.next_try_at is not None
        assert run.started_at is not None
        assert (run.status, run.next_try_at - run.started_at) == ("running", conf().run_lease)
        assert api.run_due() == 0

    def test_once_it_has_run_out_the_run_is_taken_again_and_that_is_another_try(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        claim_one()
        lapse_leases()

        assert api.run_due() == 1

        run = Run.objects.get()
        assert (run.status, run.tries) == ("succeeded", 2)
        assert written() == 1

    def test_a_worker_that_lost_it_can_not_commit(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        slow = claim_one()
        lapse_leases()
        quick = claim_one()

        assert execute_only(slow) is Outcome.LOST
        assert (written(), Run.objects.get().status) == (0, "running")
        assert execute_only(quick) is Outcome.SUCCEEDED

        assert (written(), Run.objects.get().status, Run.objects.get().tries) == (1, "succeeded", 2)

    def test_a_worker_that_lost_it_to_one_that_has_finished_can_not_commit_either(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        slow = claim_one()
        lapse_leases()
        api.run_due()

        assert execute_only(slow) is Outcome.LOST

        assert (written(), Run.objects.get().status) == (1, "succeeded")

    def test_a_worker_that_lost_it_can_not_record_a_failure(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails_once)
        deliver()
        slow = claim_one()
        lapse_leases()
        quick = claim_one()

        assert execute_only(slow) is Outcome.LOST
        assert (Run.objects.get().status, Run.objects.get().error) == ("running", "")
        assert execute_only(quick) is Outcome.SUCCEEDED
        assert Run.objects.get().status == "succeeded"

    @pytest.mark.parametrize("atomic", [True, False], ids=["atomic", "not atomic"])
    def test_a_worker_that_lost_it_while_it_worked_can_not_commit(
        self, deliver: Deliver, connect: Connect, atomic: bool
    ) -> None:
        """The real thing, with the slow receiver in the middle of its work while the other runs."""
        if atomic and connection.vendor == "sqlite":
            pytest.skip("on SQLite nothing can be claimed while a receiver holds the write lock")
        in_the_middle, go_on = threading.Event(), threading.Event()
        outcomes: list[Any] = []

        def slow_at_first(*, run: Run, **kwargs: Any) -> None:
            write(f"try {run.tries}")
            if run.tries == 1:
                in_the_middle.set()
                assert go_on.wait(60)

        def slow() -> None:
            api.run_due(watch=lambda run, outcome: outcomes.append(("slow", outcome)))

        def quick() -> None:
            assert in_the_middle.wait(60)
            lapse_leases()
            api.run_due(watch=lambda run, outcome: outcomes.append(("quick", outcome)))
            go_on.set()

        connect(signals.ticket_created, slow_at_first, atomic=atomic)
        deliver()

        at_once([slow, quick])

        assert outcomes == [("quick", Outcome.SUCCEEDED), ("slow", Outcome.LOST)]
        assert names_written() == (["try 2"] if atomic else ["try 1", "try 2"])
        run = Run.objects.get()
        assert (run.status, run.tries, run.next_try_at) == ("succeeded", 2, None)
        assert Delivery.objects.get().status == "processed"

    def test_a_run_whose_worker_died_on_the_last_try_is_given_up(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(MAX_TRIES=2)
        failed: list[Delivery] = []

        def note(*, delivery: Delivery, **kwargs: Any) -> None:
            failed.append(delivery)

        signals.delivery_failed.connect(note)
        connect(signals.ticket_created, writes_its_name)
        delivery = deliver()
        for _ in range(2):
            claim_one()
            lapse_leases()

        for _ in range(3):
            api.run_due()
        signals.delivery_failed.disconnect(note)

        run = Run.objects.get()
        assert (run.status, run.tries, run.lease, run.next_try_at) == ("dead", 2, None, None)
        assert run.error == "The worker died, or the receiver hung, on the last try."
        assert run.finished_at is not None
        assert failed == [delivery]
        assert failed[0].status == "dead"
        assert written() == 0

    def test_of_many_that_ran_out_each_is_taken_once(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name, "test.one")
        deliveries = [deliver() for _ in range(20)]
        create.claim_deliveries(ALIAS, 20)
        assert lapse_leases() == 20

        at_once([work_until_empty] * WORKERS)

        assert names_written() == sorted(f"{one.delivery_id} test.one" for one in deliveries)
        # The dead worker had started the first one only.
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 2): 1, ("succeeded", 1): 19}


class TestRelease:
    def test_what_was_not_started_is_released_as_if_it_had_never_been_taken(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        claimed = claim_one()

        claim.release_all(ALIAS, claimed.lease, claimed.runs)

        run = Run.objects.get()
        assert (run.status, run.tries, run.lease) == ("waiting", 0, None)
        assert run.next_try_at is not None
        assert run.next_try_at <= timezone.now()
        assert api.run_due() == 1
        assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 1)

    def test_what_has_failed_before_is_released_as_failed(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails_once)
        deliver()
        api.run_due()
        make_due()
        claimed = claim_one()

        claim.release_all(ALIAS, claimed.lease, claimed.runs)

        run = Run.objects.get()
        assert (run.status, run.tries, run.error) == ("failed", 1, "ValueError: broken")
        assert api.run_due() == 1
        assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)

    def test_what_another_has_taken_since_is_left_to_it(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, writes_its_name)
        deliver()
        slow = claim_one()
        lapse_leases()
        quick = claim_one()

        claim.release_all(ALIAS, slow.lease, slow.runs)

        run = Run.objects.get()
        assert (run.status, run.tries, run.lease) == ("running", 2, quick.lease)

    def test_a_worker_that_is_stopped_finishes_the_run_at_hand_and_gives_back_the_rest(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        stopping = threading.Event()

        def stops_the_worker(**kwargs: Any) -> None:
            stopping.set()
            write("mine")

        connect(signals.ticket_created, stops_the_worker, "test.first")
        connect(signals.ticket_created, writes_its_name, "test.second")
        deliver()

        api.run_due(stopping=stopping.is_set)

        assert list(Run.objects.values_list("receiver", "status", "tries", "lease")) == [
            ("test.first", "succeeded", 1, None),
            ("test.second", "waiting", 0, None),
        ]
        assert Delivery.objects.get().status == "received"
        assert api.run_due() >= 1
        assert Delivery.objects.get().status == "processed"


class TestHold:
    def test_a_request_that_runs_its_receivers_itself_keeps_the_delivery_for_a_lease(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(DISPATCH="tests.dispatch.test_claim.DiesBeforeItRuns", RUN_LEASE=timedelta(seconds=77))
        connect(signals.ticket_created, writes_its_name)
        delivery = deliver()

        assert delivery.dispatch_at == delivery.received_at + timedelta(seconds=77)
        assert api.run_due() == 0

    def test_when_that_request_died_a_worker_takes_over_after_the_lease(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(DISPATCH="tests.dispatch.test_claim.DiesBeforeItRuns")
        connect(signals.ticket_created, writes_its_name)
        delivery = deliver()
        Delivery.objects.update(dispatch_at=timezone.now())

        assert api.run_due() == 1
        assert (written(), Run.objects.get().tries) == (1, 1)
        assert api.run_delivery(delivery.pk, dispatch_at=delivery.dispatch_at) == 0
        assert written() == 1

    def test_a_request_that_was_only_slow_and_a_worker_make_the_runs_once(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        configure(DISPATCH="tests.dispatch.test_claim.DiesBeforeItRuns")
        connect(signals.ticket_created, writes_its_name)
        for _ in range(10):
            delivery = deliver()
            late = timezone.now()
            Delivery.objects.filter(pk=delivery.pk).update(dispatch_at=late)

            wake: Callable[[], int] = partial(api.run_delivery, delivery.pk, dispatch_at=late)
            at_once([wake, api.run_due])

            assert written(delivery.delivery_id) == 1
            assert Run.objects.get(delivery=delivery).tries == 1


def test_a_finished_run_is_out_of_the_index_of_what_is_due(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, writes_its_name)
    deliver()
    api.run_due()

    assert list(Run.objects.values_list("next_try_at", flat=True)) == [None]
    assert list(Delivery.objects.values_list("dispatch_at", flat=True)) == [None]


def test_a_claim_takes_the_longest_due_first_and_no_more_than_its_limit(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, writes_its_name)
    keys = [deliver().pk for _ in range(5)]
    for age, pk in enumerate(keys):
        Delivery.objects.filter(pk=pk).update(dispatch_at=timezone.now() - timedelta(minutes=age + 1))

    claimed = create.claim_deliveries(ALIAS, 2)

    assert [run.delivery_id for run in claimed.runs] == [keys[4], keys[3]]


def test_the_portable_claim_gives_each_run_to_one_worker_too(
    deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a database without SKIP LOCKED does, on every one."""
    for room in (claim, create):
        monkeypatch.setattr(room, "can_skip_locked", lambda alias: False)
    connect(signals.ticket_created, writes_its_name, "test.one")
    deliveries = [deliver() for _ in range(20)]

    at_once([work_until_empty] * 4)
    run_until_finished()

    assert names_written() == sorted(f"{one.delivery_id} test.one" for one in deliveries)
    assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 20}
