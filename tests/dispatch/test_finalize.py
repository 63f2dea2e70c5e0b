"""A delivery's status follows from its runs, whatever finishes at the same moment and whoever dies in between."""

import threading
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, create, execute
from nateq_webhooks.dispatch.finalize import mark_all_processed, update_delivery
from nateq_webhooks.errors import GiveUp
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Announced,
    Configure,
    Connect,
    Deliver,
    RunReceiver,
    at_once,
    bring_forward,
    claim_one,
    execute_only,
    fails_once,
    make_due,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)


class TestTwoRunsThatFinishAtTheSameMoment:
    """Each on its own connection; to look whether another is unfinished leaves `received` for ever."""

    ROUNDS = 15

    @pytest.mark.parametrize(
        ("first", "second", "outcome"),
        [
            (None, None, "processed"),
            (GiveUp(), None, "dead"),
            (GiveUp(), GiveUp(), "dead"),
            (ValueError("broken"), None, "failed"),
        ],
        ids=["both succeed", "one is given up", "both are given up", "one fails"],
    )
    def test_never_leave_the_delivery_unfinalized(
        self,
        deliver: Deliver,
        connect: Connect,
        announced: Announced,
        first: Exception | None,
        second: Exception | None,
        outcome: str,
    ) -> None:
        inside = threading.Barrier(2)
        in_transaction = connection.vendor != "sqlite"  # there only one can be inside a transaction

        def finishes(error: Exception | None, **kwargs: Any) -> None:
            if in_transaction:
                inside.wait(BOUND_SECONDS)
            if error is not None:
                raise error

        connect(signals.ticket_created, lambda **kwargs: finishes(first), "test.first")
        connect(signals.ticket_created, lambda **kwargs: finishes(second), "test.second")
        deliveries = [deliver() for _ in range(self.ROUNDS)]
        for delivery in deliveries:  # each run becomes due for itself, as after a worker's death
            create.claim_delivery(ALIAS, delivery.pk)
        Run.objects.update(status="waiting", tries=0, lease=None, next_try_at=timezone.now())
        between = threading.Barrier(2)

        def work(receiver: str) -> None:
            for delivery in deliveries:
                bring_forward(Run.objects.filter(receiver=receiver, delivery=delivery), timezone.now())
                between.wait(BOUND_SECONDS)
                while Run.objects.filter(delivery=delivery, tries=0).exists():  # each takes one, whichever it is
                    api.run_due(1)
                between.wait(BOUND_SECONDS)

        Run.objects.update(next_try_at=PARKED_UNTIL)
        at_once([partial(work, "test.first"), partial(work, "test.second")])

        assert list(Delivery.objects.values_list("status", flat=True)) == [outcome] * self.ROUNDS
        said = {"processed": "processed", "dead": "failed"}.get(outcome)
        keys = sorted(delivery.pk for delivery in deliveries)
        assert sorted(announced) == ([(said, pk) for pk in keys] if said else [])

    def test_never_leave_it_unfinalized_if_only_that_happens_at_the_same_moment(
        self, deliver: Deliver, connect: Connect, announced: Announced
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.first")
        connect(signals.ticket_created, lambda **kwargs: None, "test.second")
        deliveries = [deliver() for _ in range(self.ROUNDS)]
        between = threading.Barrier(2)
        claims = {delivery.pk: create.claim_delivery(ALIAS, delivery.pk) for delivery in deliveries}

        def work(number: int) -> None:
            for delivery in deliveries:
                execute_only(claims[delivery.pk], number)
                between.wait(BOUND_SECONDS)
                if not mark_all_processed(ALIAS, [claims[delivery.pk].runs[number]]):
                    update_delivery(ALIAS, delivery.pk)

        at_once([partial(work, 0), partial(work, 1)])

        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
        assert sorted(announced) == [("processed", delivery.pk) for delivery in deliveries]


def lapse_all() -> None:
    """Let so much time pass that whatever is due at any time is due now; what is NULL never is."""
    Run.objects.exclude(next_try_at=None).update(next_try_at=timezone.now())


class TestAProcessThatDiesBetweenCommitAndFinalize:
    def test_after_a_success_is_recovered_by_the_next_claim_without_running_again(
        self, deliver: Deliver, connect: Connect, announced: Announced, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(execute, "_is_last_to_do", lambda *args: False)
        connect(signals.ticket_created, lambda **kwargs: write("mine"))
        delivery = deliver()
        execute_only(claim_one())
        assert (Run.objects.get().status, Delivery.objects.get().status) == ("succeeded", "received")
        assert api.run_due() == 0

        lapse_all()
        assert api.run_due() == 1

        assert Delivery.objects.get().status == "processed"
        assert announced == [("processed", delivery.pk)]
        assert (Run.objects.get().tries, Run.objects.get().next_try_at, written("mine")) == (1, None, 1)
        assert api.run_due() == 0

    def test_after_the_last_failure_is_recovered_too(
        self, deliver: Deliver, connect: Connect, announced: Announced
    ) -> None:
        def gives_up(**kwargs: Any) -> None:
            raise GiveUp

        connect(signals.ticket_created, gives_up)
        delivery = deliver()
        execute_only(claim_one())
        assert (Run.objects.get().status, Delivery.objects.get().status) == ("dead", "received")

        lapse_all()
        api.run_due()

        assert Delivery.objects.get().status == "dead"
        assert announced == [("failed", delivery.pk)]
        assert Run.objects.get().next_try_at is None

    def test_after_a_failure_is_recovered_by_the_next_try(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails_once)
        deliver()
        execute_only(claim_one())
        assert (Run.objects.get().status, Delivery.objects.get().status) == ("failed", "received")

        make_due()
        api.run_due()

        assert Delivery.objects.get().status == "processed"

    def test_with_one_of_two_runs_done_leaves_the_other_to_be_run_and_then_finalizes(
        self, deliver: Deliver, connect: Connect, announced: Announced
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("first"), "test.first")
        connect(signals.ticket_created, lambda **kwargs: write("second"), "test.second")
        delivery = deliver()
        execute_only(create.claim_delivery(ALIAS, delivery.pk))
        lapse_all()

        api.run_due()

        assert (written("first"), written("second")) == (1, 1)
        assert list(Run.objects.values_list("status", "tries", "next_try_at")) == [
            ("succeeded", 1, None),
            ("succeeded", 1, None),
        ]
        assert Delivery.objects.get().status == "processed"
        assert announced == [("processed", delivery.pk)]

    def test_a_run_that_another_finished_since_stays_due_until_that_one_has_finalized_it(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        """A worker takes out of the index what it has finalized; another may have died in between with the same run."""

        def another_worker_takes_the_failed_one_and_dies(**kwargs: Any) -> None:
            make_due()
            execute_only(claim_one())

        connect(signals.ticket_created, fails_once, "test.first")
        connect(signals.ticket_closed, another_worker_takes_the_failed_one_and_dies, "test.second", atomic=False)
        deliver("ticket.created")
        deliver("ticket.closed")

        api.run_due()
        lapse_all()
        api.run_due()

        assert set(Run.objects.values_list("status", "next_try_at")) == {("succeeded", None)}
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}


class TestSignals:
    def test_processed_is_sent_once_for_all_receivers(
        self, deliver: Deliver, connect: Connect, announced: Announced
    ) -> None:
        for _ in range(3):
            connect(signals.ticket_created, lambda **kwargs: None)
        delivery = deliver()

        for _ in range(3):
            api.run_due()

        assert announced == [("processed", delivery.pk)]

    def test_failed_is_sent_once_when_the_last_receiver_is_given_up(
        self, connect: Connect, run_receiver: RunReceiver, announced: Announced, configure: Configure
    ) -> None:
        configure(MAX_TRIES=2)

        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        def gives_up(**kwargs: Any) -> None:
            raise GiveUp

        connect(signals.ticket_created, fails)
        connect(signals.ticket_created, gives_up)
        delivery = run_receiver(lambda **kwargs: None)
        assert announced == []
        run_until_finished()

        assert announced == [("failed", delivery.pk)]

    @pytest.mark.parametrize("error", [ValueError("the pager is broken"), SystemExit(1)], ids=repr)
    def test_a_monitoring_receiver_that_raises_harms_nothing(
        self, deliver: Deliver, connect: Connect, announced: Announced, error: BaseException
    ) -> None:
        def breaks(**kwargs: Any) -> None:
            raise error

        connect(signals.ticket_created, lambda **kwargs: None)
        signals.delivery_processed.connect(breaks)
        deliver()
        deliver()

        api.run_due()
        signals.delivery_processed.disconnect(breaks)

        assert len(announced) == 2
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
        assert set(Run.objects.values_list("next_try_at", flat=True)) == {None}
