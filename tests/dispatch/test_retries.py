"""Runs of one receiver: tried again alone, parked without the receiver, reassigned, dropped."""

from collections import Counter
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.builders import ago, store_run
from tests.dispatch.scene import (
    ALIAS,
    Announced,
    Connect,
    Deliver,
    RunReceiver,
    claim_one,
    lapse_leases,
    make_due,
    run_until_finished,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    """Which receivers were called, in order."""
    return []


def endings(caplog: pytest.LogCaptureFixture) -> set[tuple[str, str]]:
    """Return the level of each log record and what follows the semicolon in its message."""
    return {(record.levelname, record.getMessage().partition("; ")[2]) for record in caplog.records}


def disconnect(name: str) -> None:
    """Disconnect a receiver, as a deployment without it does."""
    assert signals.ticket_created.disconnect(dispatch_uid=name)


def runs() -> dict[str, tuple[str, int]]:
    """Return each receiver's status and tries."""
    return {run.receiver: (run.status, run.tries) for run in Run.objects.all()}


class TestRetried:
    def test_a_failed_receiver_is_retried_alone(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        def fails_twice(*, run: Run, **kwargs: Any) -> None:
            calls.append("fails")
            if run.tries < 3:
                raise ValueError("broken")

        connect(signals.ticket_created, lambda **kwargs: calls.append("before"), "test.before")
        connect(signals.ticket_created, fails_twice, "test.fails")
        connect(signals.ticket_created, lambda **kwargs: calls.append("after"), "test.after")
        delivery = deliver()

        run_until_finished()

        assert calls == ["before", "fails", "after", "fails", "fails"]
        assert runs() == {
            "test.before": ("succeeded", 1),
            "test.fails": ("succeeded", 3),
            "test.after": ("succeeded", 1),
        }
        delivery.refresh_from_db()
        assert delivery.status == "processed"

    def test_a_receiver_that_is_connected_later_does_not_run_for_old_deliveries(
        self, deliver: Deliver, connect: Connect, run_receiver: RunReceiver, calls: list[str]
    ) -> None:
        def fails_once(*, run: Run, **kwargs: Any) -> None:
            calls.append("old")
            if run.tries == 1:
                raise ValueError("broken")

        deliver()
        run_receiver(fails_once, "test.old")
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")

        run_until_finished()
        assert calls == ["old", "old"]
        assert list(Run.objects.values_list("receiver", flat=True)) == ["test.old"]

        deliver()
        api.run_due()
        assert calls == ["old", "old", "old", "new"]

    def test_a_repeated_attempt_of_the_sender_creates_no_run(
        self, run_receiver: RunReceiver, sender: Any, calls: list[str]
    ) -> None:
        delivery = run_receiver(lambda **kwargs: calls.append("mine"))

        sender.post(delivery.body)

        delivery.refresh_from_db()
        assert (delivery.attempts_seen, delivery.status, delivery.dispatch_at) == (2, "processed", None)
        assert api.run_due() == 0
        assert calls == ["mine"]


class TestOrphans:
    @pytest.fixture
    def orphan(self, run_receiver: RunReceiver) -> Run:
        """A run that failed once before its receiver was disconnected, and that was then parked."""

        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        run_receiver(fails, "test.old")
        disconnect("test.old")
        make_due()
        assert api.run_due() == 1
        return Run.objects.get()

    def test_a_run_without_its_receiver_is_parked_without_using_a_try(self, orphan: Run) -> None:
        assert (orphan.tries, orphan.next_try_at, orphan.lease) == (1, PARKED_UNTIL, None)
        assert orphan.status in ("waiting", "failed")
        assert Delivery.objects.get().status in ("received", "failed")
        assert orphan.error == 'No receiver called "test.old" is connected.'
        assert api.run_due() == 0
        assert api.orphans(ALIAS) == Counter({"test.old": 1})

    def test_a_run_that_was_never_tried_is_parked_as_untried(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.old")
        deliver()
        claim_one()
        disconnect("test.old")
        lapse_leases()

        api.run_due()

        run = Run.objects.get()
        assert (run.status, run.next_try_at, run.lease) == ("waiting", PARKED_UNTIL, None)
        assert run.tries == 1  # that of the worker that died

    def test_a_parked_run_does_not_delay_others(
        self, orphan: Run, deliver: Deliver, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("other"), "test.other")
        deliver()

        api.run_due(1)

        assert calls == ["other"]

    def test_it_starts_as_soon_as_its_receiver_is_connected_again(
        self, orphan: Run, connect: Connect, calls: list[str]
    ) -> None:
        assert api.unpark(ALIAS) == 0
        connect(signals.ticket_created, lambda **kwargs: calls.append("back"), "test.old")

        assert api.unpark(ALIAS) == 1
        assert Run.objects.get().error == ""
        api.run_due()

        assert calls == ["back"]
        assert runs() == {"test.old": ("succeeded", 2)}
        assert Delivery.objects.get().status == "processed"
        assert not api.orphans(ALIAS)

    def test_it_can_be_reassigned_to_another_receiver(self, orphan: Run, connect: Connect, calls: list[str]) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")

        assert api.reassign(ALIAS, "test.old", "test.new") == 1
        api.run_due()

        assert calls == ["new"]
        assert runs() == {"test.new": ("succeeded", 2)}
        assert Delivery.objects.get().status == "processed"
        assert not api.orphans(ALIAS)

    def test_a_reassigned_run_is_dropped_if_the_other_receiver_has_run_for_its_delivery(
        self, orphan: Run, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")
        store_run(orphan.delivery, "test.new")

        assert api.reassign(ALIAS, "test.old", "test.new") == 0
        api.run_due()

        assert calls == []
        assert {name: status for name, (status, _tries) in runs().items()} == {
            "test.old": "dropped",
            "test.new": "succeeded",
        }
        assert Run.objects.get(receiver="test.old").error == '"test.new" has run for this delivery already.'
        assert set(Run.objects.values_list("next_try_at", flat=True)) == {None}
        assert Delivery.objects.get().status == "processed"

    def test_it_cannot_be_reassigned_to_a_receiver_that_is_not_connected(self, orphan: Run) -> None:
        with pytest.raises(LookupError, match=r'No receiver called "test.nobody" is connected. Is its module imported'):
            api.reassign(ALIAS, "test.old", "test.nobody")

        assert api.orphans(ALIAS) == Counter({"test.old": 1})

    def test_a_dropped_run_is_kept(self, orphan: Run) -> None:
        assert api.drop(ALIAS, "test.old") == 1

        run = Run.objects.get()
        assert (run.status, run.tries, run.next_try_at, run.error) == ("dropped", 1, None, "Dropped by a person.")
        assert run.finished_at is not None
        assert Delivery.objects.get().status == "processed"
        assert api.run_due() == 0
        assert not api.orphans(ALIAS)

    def test_a_dropped_run_does_not_start_when_its_receiver_is_connected_again(
        self, orphan: Run, connect: Connect, calls: list[str]
    ) -> None:
        api.drop(ALIAS, "test.old")
        connect(signals.ticket_created, lambda **kwargs: calls.append("back"), "test.old")

        assert api.unpark(ALIAS) == 0
        api.run_due()

        assert calls == []

    def test_dropping_leaves_the_runs_of_other_receivers_alone(
        self, orphan: Run, deliver: Deliver, connect: Connect
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.gone.too")
        delivery = deliver()
        store_run(delivery, "test.gone.too", status="waiting", tries=0, next_try_at=PARKED_UNTIL)
        Delivery.objects.filter(pk=delivery.pk).update(dispatch_at=None)

        assert api.drop(ALIAS, "test.old") == 1

        assert runs() == {"test.old": ("dropped", 1), "test.gone.too": ("waiting", 0)}
        assert api.orphans(ALIAS) == Counter({"test.gone.too": 1})

    @pytest.mark.parametrize("decide", ["reassign", "drop"])
    def test_many_are_reassigned_or_dropped_at_once(self, deliver: Deliver, connect: Connect, decide: str) -> None:
        deliveries = [deliver() for _ in range(30)]
        connect(signals.ticket_created, lambda **kwargs: None, "test.new")
        Run.objects.bulk_create(
            Run(delivery=delivery, receiver="test.old", next_try_at=PARKED_UNTIL) for delivery in deliveries
        )

        if decide == "drop":
            assert api.drop(ALIAS, "test.old") == 30
            assert Counter(Run.objects.values_list("status", "next_try_at")) == {("dropped", None): 30}
        else:
            assert api.reassign(ALIAS, "test.old", "test.new") == 30
            assert set(Run.objects.values_list("receiver", "status")) == {("test.new", "waiting")}
            assert not Run.objects.filter(next_try_at__gt=timezone.now()).exists()


def test_a_delivery_whose_receiver_stays_disconnected_is_given_up_and_sends_a_signal(
    deliver: Deliver, connect: Connect, announced: Announced, caplog: pytest.LogCaptureFixture
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.gone")
    delivery = deliver()
    disconnect("test.gone")
    Delivery.objects.update(received_at=ago(days=4), dispatch_at=timezone.now())

    api.run_due()

    delivery.refresh_from_db()
    assert (delivery.status, delivery.dispatch_at, announced) == ("dead", None, [("failed", delivery.pk)])
    assert endings(caplog) == {("ERROR", f"delivery {delivery.pk} is given up. Connect one and replay it.")}


def test_a_delivery_whose_receiver_is_disconnected_before_its_dispatch_waits_for_it(
    deliver: Deliver, connect: Connect, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As in a rolling deployment: the new web process has the receiver, the old worker does not."""
    connect(signals.ticket_created, lambda **kwargs: calls.append("mine"), "test.new")
    delivery = deliver()
    disconnect("test.new")
    api.run_due()

    delivery.refresh_from_db()
    assert delivery.status == "received"
    assert ("WARNING", f"delivery {delivery.pk} waits for one.") in endings(caplog)
    connect(signals.ticket_created, lambda **kwargs: calls.append("mine"), "test.new")
    Delivery.objects.exclude(dispatch_at=None).update(dispatch_at=timezone.now())
    api.unpark(ALIAS)
    api.run_due()
    assert calls == ["mine"]
