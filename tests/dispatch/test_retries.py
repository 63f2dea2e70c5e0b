"""Each receiver is on its own: retried alone, parked when it is gone, given to another, dropped."""

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.dispatch.scene import ALIAS, Connect, Deliver, claim_one, lapse_leases, make_due, run_until_finished

pytestmark = pytest.mark.django_db


@pytest.fixture
def calls() -> list[str]:
    """Which receivers were called, in order."""
    return []


def endings(caplog: pytest.LogCaptureFixture) -> set[tuple[str, str]]:
    """Return the level of each log record and what follows the semicolon in its message."""
    return {(record.levelname, record.getMessage().partition("; ")[2]) for record in caplog.records}


def disconnect(name: str) -> None:
    """Deploy a version without this receiver."""
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

    def test_a_receiver_connected_since_does_not_run_old_deliveries(
        self, deliver: Deliver, connect: Connect, calls: list[str]
    ) -> None:
        def fails_once(*, run: Run, **kwargs: Any) -> None:
            calls.append("old")
            if run.tries == 1:
                raise ValueError("broken")

        deliver()
        connect(signals.ticket_created, fails_once, "test.old")
        deliver()
        api.run_due()
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")

        run_until_finished()
        assert calls == ["old", "old"]
        assert list(Run.objects.values_list("receiver", flat=True)) == ["test.old"]

        deliver()
        api.run_due()
        assert calls == ["old", "old", "old", "new"]

    def test_a_repeated_attempt_of_the_sender_makes_no_run(
        self, deliver: Deliver, connect: Connect, sender: Any, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("mine"))
        delivery = deliver()
        api.run_due()

        sender.post(delivery.body)

        delivery.refresh_from_db()
        assert (delivery.attempts_seen, delivery.status, delivery.dispatch_at) == (2, "processed", None)
        assert api.run_due() == 0
        assert calls == ["mine"]


class TestOrphans:
    @pytest.fixture
    def orphan(self, deliver: Deliver, connect: Connect) -> Run:
        """A run that failed once, before its receiver went away; found again and parked."""

        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, fails, "test.old")
        deliver()
        api.run_due()
        disconnect("test.old")
        make_due()
        assert api.run_due() == 1
        return Run.objects.get()

    def test_a_run_without_its_receiver_is_parked_without_using_a_try(self, orphan: Run) -> None:
        assert (orphan.tries, orphan.next_try_at, orphan.lease) == (1, PARKED_UNTIL, None)
        assert orphan.status in ("waiting", "failed")
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

    def test_its_delivery_is_neither_processed_nor_given_up(self, orphan: Run) -> None:
        assert Delivery.objects.get().status in ("received", "failed")

    def test_it_does_not_stand_before_what_can_run(
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

    def test_it_can_be_given_to_another_receiver(self, orphan: Run, connect: Connect, calls: list[str]) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")

        assert api.reassign(ALIAS, "test.old", "test.new") == 1
        api.run_due()

        assert calls == ["new"]
        assert runs() == {"test.new": ("succeeded", 2)}
        assert Delivery.objects.get().status == "processed"
        assert not api.orphans(ALIAS)

    def test_it_is_dropped_where_the_other_receiver_has_run_for_that_delivery_already(
        self, orphan: Run, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: calls.append("new"), "test.new")
        Run.objects.create(delivery=orphan.delivery, receiver="test.new", status="succeeded", next_try_at=None)

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

    def test_it_can_not_be_given_to_nobody(self, orphan: Run) -> None:
        with pytest.raises(LookupError, match=r'No receiver called "test.nobody" is connected. Is its module imported'):
            api.reassign(ALIAS, "test.old", "test.nobody")

        assert api.orphans(ALIAS) == Counter({"test.old": 1})

    def test_it_can_be_dropped_and_stays_readable(self, orphan: Run) -> None:
        assert api.drop(ALIAS, "test.old") == 1

        run = Run.objects.get()
        assert (run.status, run.tries, run.next_try_at, run.error) == ("dropped", 1, None, "Dropped by a person.")
        assert run.finished_at is not None
        assert Delivery.objects.get().status == "processed"
        assert api.run_due() == 0
        assert not api.orphans(ALIAS)

    def test_once_dropped_it_does_not_start_when_its_receiver_comes_back(
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
        Run.objects.create(delivery=delivery, receiver="test.gone.too", status="waiting", next_try_at=PARKED_UNTIL)
        Delivery.objects.filter(pk=delivery.pk).update(dispatch_at=None)

        assert api.drop(ALIAS, "test.old") == 1

        assert runs() == {"test.old": ("dropped", 1), "test.gone.too": ("waiting", 0)}
        assert api.orphans(ALIAS) == Counter({"test.gone.too": 1})

    @pytest.mark.parametrize("decide", ["reassign", "drop"])
    def test_many_are_decided_on_at_once(self, deliver: Deliver, connect: Connect, decide: str) -> None:
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


def test_a_delivery_whose_receiver_stays_away_is_given_up_and_monitoring_is_told(
    deliver: Deliver, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []

    def failed(delivery: Delivery, **kwargs: Any) -> None:
        told.append(delivery.pk)

    connect(signals.ticket_created, lambda **kwargs: None, "test.gone")
    delivery = deliver()
    disconnect("test.gone")
    long_ago = timezone.now() - timedelta(days=4)
    Delivery.objects.update(received_at=long_ago, dispatch_at=timezone.now())
    signals.delivery_failed.connect(failed)
    try:
        api.run_due()
    finally:
        signals.delivery_failed.disconnect(failed)

    delivery.refresh_from_db()
    assert (delivery.status, delivery.dispatch_at, told) == ("dead", None, [delivery.pk])
    assert endings(caplog) == {("ERROR", f"delivery {delivery.pk} is given up. Connect one and replay it.")}


def test_a_delivery_stored_for_a_receiver_that_is_gone_before_its_dispatch_is_not_processed_silently(
    deliver: Deliver, connect: Connect, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """As in a rolling deployment: the new web process knows the receiver, the old worker does not."""
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
