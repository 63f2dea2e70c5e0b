"""A replay of what has not finished: a pending run is brought forward, a started one left alone, none is doubled."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api, replay_batches
from nateq_webhooks.dispatch.claim import claim_runs
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.replays import advance, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, NOT_HELD, Hold, OrderLock
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.runners.worker import drain
from tests.conftest import Sender
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    at_once,
    elsewhere,
    make_due,
    run_until_finished,
    write,
    written,
)

pytestmark = pytest.mark.django_db(transaction=True)

LATER = timedelta(hours=1)


class Flaky:
    """A receiver that writes a row, and fails while `is_broken` is set."""

    def __init__(self) -> None:
        self.is_broken = True
        self.keys: list[str] = []

    def __call__(self, *, run: Run, **kwargs: Any) -> None:
        self.keys.append(run.idempotency_key)
        if self.is_broken:
            raise ValueError("CRM is down")
        write("effect")


@pytest.fixture
def flaky(connect: Connect) -> Flaky:
    receiver = Flaky()
    connect(signals.ticket_created, receiver.__call__, "test.flaky")
    return receiver


@pytest.fixture
def failed(deliver: Deliver, flaky: Flaky) -> Delivery:
    """A delivery whose run has failed once and waits an hour for its next try."""
    delivery = deliver()
    api.run_due()
    Run.objects.update(next_try_at=timezone.now() + LATER)
    delivery.refresh_from_db()
    assert delivery.status == "failed"
    return delivery


def counts(replay: Replay) -> tuple[int, int, int]:
    """Return the numbers of a replay, which are stored: created, brought forward, already running."""
    numbers = (replay.runs, replay.brought_forward, replay.already_running)
    assert Replay.objects.values_list("runs", "brought_forward", "already_running").get(pk=replay.pk) == numbers
    return numbers


def is_due(run: Run) -> bool:
    run.refresh_from_db()
    return run.next_try_at is not None and run.next_try_at <= timezone.now()


class TestStates:
    """One test for each line of the table in docs/how-to/control.md."""

    def test_failed_and_to_be_tried_again(self, failed: Delivery, flaky: Flaky) -> None:
        before = Run.objects.get()
        flaky.is_broken = False

        made = dispatch.replay(failed, by="sara")

        assert counts(made) == (0, 1, 0)
        run = Run.objects.get()
        assert (run.pk, run.status, run.tries, run.round) == (before.pk, "failed", 1, 0)
        assert is_due(run)
        assert list(ReplayedRun.objects.values_list("replay", "run", "is_brought_forward")) == [(made.pk, run.pk, True)]
        failed.refresh_from_db()
        assert failed.status == "failed"
        run_until_finished()
        run.refresh_from_db()
        assert (run.status, run.tries) == ("succeeded", 2)
        assert len(set(flaky.keys)) == 1
        assert written("effect") == 1

    def test_waiting(self, deliver: Deliver, flaky: Flaky) -> None:
        flaky.is_broken = False
        delivery = deliver()
        Delivery.objects.update(dispatch_at=None)
        due_since = timezone.now() - timedelta(minutes=2)
        Run.objects.create(delivery=delivery, receiver="test.flaky", next_try_at=due_since)

        made = dispatch.replay(delivery)

        assert counts(made) == (0, 1, 0)
        assert Run.objects.get().next_try_at == due_since  # it keeps its place
        run_until_finished()
        assert written("effect") == 1

    def test_running(self, failed: Delivery) -> None:
        make_due()
        claimed = claim_runs(ALIAS, 20)
        before = Run.objects.values().get()

        made = dispatch.replay(failed)

        assert len(claimed.runs) == 1
        assert counts(made) == (0, 0, 1)
        assert Run.objects.values().get() == before
        assert not ReplayedRun.objects.exists()

    @pytest.mark.parametrize(("status", "effects"), [("dead", 1), ("succeeded", 2), ("dropped", 1)])
    def test_finished(self, failed: Delivery, flaky: Flaky, status: str, effects: int) -> None:
        flaky.is_broken = status == "dead"
        if status == "dropped":
            Run.objects.update(status="dropped", next_try_at=None)
        run_until_finished()
        assert Run.objects.get().status == status
        flaky.is_broken = False

        made = dispatch.replay(failed)

        assert counts(made) == (1, 0, 0)
        run_until_finished()
        assert sorted(Run.objects.values_list("round", "status")) == [(0, status), (made.pk, "succeeded")]
        assert len(set(flaky.keys)) == 2
        assert written("effect") == effects

    @pytest.mark.parametrize("paused", [{"receiver": "test.flaky"}, {}], ids=["of the receiver", "of everything"])
    def test_held_by_a_pause(self, failed: Delivery, flaky: Flaky, paused: dict[str, Any]) -> None:
        flaky.is_broken = False
        dispatch.pause(**paused)
        held_by = Run.objects.get().held_by
        assert (held_by != NOT_HELD) is bool(paused)

        made = dispatch.replay(failed)
        drain()

        assert counts(made) == (0, 1, 0)
        assert Run.objects.get().held_by == held_by
        assert written("effect") == 0
        dispatch.resume(**paused)
        drain()
        assert written("effect") == 1

    def test_held_by_a_rate_limit(self, failed: Delivery, flaky: Flaky, configure: Configure) -> None:
        flaky.is_broken = False
        configure(RATE_LIMITS={"test.flaky": 0.01})
        hold = hold_cache.get(ALIAS).holds["receiver:test.flaky"]
        Hold.objects.filter(pk=hold.pk).update(next_slot_at=timezone.now() + LATER)
        hold_cache.invalidate()

        made = dispatch.replay(failed)
        api.run_due()
        api.run_due()

        assert counts(made) == (0, 1, 0)
        assert written("effect") == 0
        Hold.objects.filter(pk=hold.pk).update(next_slot_at=None)
        hold_cache.invalidate()
        api.run_due()
        assert written("effect") == 1

    def test_held_by_the_circuit_breaker(self, deliver: Deliver, flaky: Flaky, configure: Configure) -> None:
        configure(BREAKER_AFTER=1, BREAKER_PAUSE=LATER)
        delivery = deliver()
        api.run_due()
        assert Hold.objects.filter(is_automatic=True).exists()
        Run.objects.update(next_try_at=timezone.now() + LATER)
        flaky.is_broken = False

        made = dispatch.replay(delivery)
        api.run_due()
        api.run_due()

        assert counts(made) == (0, 1, 0)
        assert written("effect") == 0
        Hold.objects.update(probe_at=timezone.now())
        hold_cache.invalidate()
        api.run_due()
        assert written("effect") == 1

    def test_waiting_for_an_earlier_delivery(self, deliver: Deliver, flaky: Flaky, configure: Configure) -> None:
        configure(ORDERED_BY="data.id")
        first, second = deliver(), deliver()
        api.run_due()
        Run.objects.filter(delivery=first).update(next_try_at=timezone.now() + LATER)
        assert Run.objects.get(delivery=second).held_by == HELD_BY_ORDER

        made = dispatch.replay(second)
        api.run_due()

        assert counts(made) == (0, 1, 0)
        assert Run.objects.get(delivery=second).tries == 0
        assert OrderLock.objects.count() == 2
        flaky.is_broken = False
        assert counts(dispatch.replay(first)) == (0, 1, 0)
        drain()
        assert written("effect") == 2
        assert not OrderLock.objects.exists()

    def test_parked_without_its_receiver(self, deliver: Deliver, flaky: Flaky) -> None:
        flaky.is_broken = False
        delivery = deliver()
        Delivery.objects.update(dispatch_at=None)
        run = Run.objects.create(
            delivery=delivery, receiver="test.flaky", next_try_at=PARKED_UNTIL, error='No receiver called "test.flaky"'
        )

        made = dispatch.replay(delivery)

        assert counts(made) == (0, 1, 0)
        assert is_due(run)
        assert run.error == ""
        api.run_due()
        assert written("effect") == 1

    def test_not_dispatched_yet(self, deliver: Deliver, flaky: Flaky, connect: Connect) -> None:
        """Held by the request that has stored it: that request finds the runs created, and nothing runs twice."""
        connect(signals.ticket_created, lambda **kwargs: write("other"), "test.other")
        flaky.is_broken = False
        delivery = deliver()
        held_until = timezone.now() + LATER
        Delivery.objects.update(dispatch_at=held_until)

        made = dispatch.replay(delivery, ["test.flaky"])

        assert counts(made) == (0, 1, 0)
        assert set(Run.objects.values_list("receiver", "round", "status")) == {
            ("test.flaky", 0, "waiting"),
            ("test.other", 0, "waiting"),
        }
        assert api.run_delivery(delivery.pk, dispatch_at=held_until) == 2
        delivery.refresh_from_db()
        assert (delivery.status, written("effect"), written("other")) == ("processed", 1, 1)

    def test_an_earlier_delivery_that_is_not_dispatched_yet_keeps_its_place(
        self, deliver: Deliver, flaky: Flaky, configure: Configure
    ) -> None:
        configure(ORDERED_BY="data.id")
        flaky.is_broken = False
        first, second = deliver(), deliver()

        made = dispatch.replay(second)

        assert counts(made) == (0, 1, 0)
        assert list(OrderLock.objects.order_by("position").values_list("position", flat=True)) == [first.pk, second.pk]
        drain()
        finished = Run.objects.order_by("finished_at").values_list("delivery_id", flat=True)
        assert list(finished) == [first.pk, second.pk]


class TestSeveral:
    def test_a_failed_run_is_brought_forward_and_a_finished_one_repeated(
        self, failed: Delivery, flaky: Flaky, connect: Connect
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("other"), "test.other")
        Run.objects.create(delivery=failed, receiver="test.other", status="succeeded", next_try_at=None)
        flaky.is_broken = False

        made = dispatch.replay(failed)

        assert counts(made) == (1, 1, 0)
        failed.refresh_from_db()
        assert failed.status == "failed"  # as any delivery with a run that is to be tried again
        run_until_finished()
        failed.refresh_from_db()
        assert (failed.status, written("effect"), written("other")) == ("processed", 1, 1)

    def test_a_replay_of_a_replays_pending_run_adds_none(self, failed: Delivery, flaky: Flaky) -> None:
        run_until_finished()
        first = dispatch.replay(failed)
        api.run_due()
        Run.objects.filter(round=first.pk).update(next_try_at=timezone.now() + LATER)

        second = dispatch.replay(failed)

        assert counts(second) == (0, 1, 0)
        run = Run.objects.get(round=first.pk)
        assert is_due(run)
        assert set(ReplayedRun.objects.values_list("replay", "run", "is_brought_forward")) == {
            (first.pk, run.pk, False),
            (second.pk, run.pk, True),
        }

    def test_no_run_is_added_to_two_pending_runs_of_an_older_version(self, failed: Delivery) -> None:
        """Older versions created two pending runs beside each other; the later one is brought forward."""
        beside = Replay.objects.create()
        Run.objects.create(
            delivery=failed, receiver="test.flaky", round=beside.pk, status="failed", next_try_at=PARKED_UNTIL - LATER
        )

        assert counts(dispatch.replay(failed)) == (0, 1, 0)

        assert Run.objects.count() == 2
        assert is_due(Run.objects.get(round=beside.pk))

    def test_runs_start_in_the_order_of_their_deliveries(self, deliver: Deliver, flaky: Flaky) -> None:
        deliveries = [deliver() for _ in range(5)]
        api.run_due()
        for number, one in enumerate(deliveries):
            Run.objects.filter(delivery=one).update(next_try_at=timezone.now() + LATER * (10 - number))

        dispatch.replay(reversed(deliveries))

        due = Run.objects.order_by("next_try_at").values_list("delivery_id", flat=True)
        assert list(due) == [one.pk for one in deliveries]

    def test_a_replay_in_batches_counts_the_same(
        self, deliver: Deliver, flaky: Flaky, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 2)
        for _ in range(5):
            deliver()
        api.run_due()
        Run.objects.filter(delivery__delivery_id="dlv_1").update(status="dead", next_try_at=None)
        Run.objects.filter(delivery__delivery_id="dlv_2").update(status="running", next_try_at=timezone.now() + LATER)
        job = request_replay(Selection(event="ticket.created"))

        while advance(ALIAS, job):
            pass

        assert counts(job) == (1, 3, 1)
        assert Run.objects.count() == 6


class TestRaces:
    """Real threads, each with a connection of its own."""

    def test_two_replays_at_once_add_one_run(self, failed: Delivery, flaky: Flaky) -> None:
        run_until_finished()
        flaky.is_broken = False

        for number in range(1, 6):
            both: list[Callable[[], Replay]] = [partial(dispatch.replay, [failed.pk])] * 2
            made = at_once(both)

            assert sorted(counts(one) for one in made) == [(0, 1, 0), (1, 0, 0)]
            run_until_finished()
            assert written("effect") == number

    def test_two_requested_replays_at_once_add_one_run_for_each_delivery(self, deliver: Deliver, flaky: Flaky) -> None:
        flaky.is_broken = False
        for _ in range(30):
            deliver()
        drain()

        def make() -> Replay:
            job = request_replay(Selection())
            while advance(ALIAS, job):
                pass
            return job

        made = at_once([make, make])

        assert sum(one.runs for one in made) == 30
        assert sum(one.brought_forward for one in made) == 30
        drain()
        assert written("effect") == 60

    def test_a_replay_requested_while_the_next_try_starts(self, deliver: Deliver, flaky: Flaky) -> None:
        """The run is tried once, by the claim or because it was brought forward."""
        flaky.is_broken = False
        seen: Counter[tuple[int, int, int]] = Counter()
        for number in range(1, 16):
            delivery = deliver()
            Delivery.objects.update(dispatch_at=None)
            Run.objects.create(delivery=delivery, receiver="test.flaky", status="failed", tries=1)
            both: list[Callable[[], Any]] = [api.run_due, partial(dispatch.replay, [delivery.pk])]

            _found, made = at_once(both)
            seen[counts(made)] += 1
            drain()

            # Finished before the replay was asked for, it runs once more: a replay of what has succeeded.
            assert Run.objects.filter(delivery=delivery).count() == 1 + made.runs
            assert set(Run.objects.filter(delivery=delivery).values_list("status", flat=True)) == {"succeeded"}
            assert written("effect") == number + sum(times for (new, _, _), times in seen.items() if new)

    def test_a_started_run_is_counted_as_running_and_not_repeated(self, deliver: Deliver, connect: Connect) -> None:
        if connection.vendor == "sqlite":
            pytest.skip("SQLite has one writer: nothing can be asked for while a receiver writes")
        started, go_on = threading.Event(), threading.Event()

        def slow(**kwargs: Any) -> None:
            write("slow")
            started.set()
            assert go_on.wait(BOUND_SECONDS)

        connect(signals.ticket_created, slow, "test.slow")
        delivery = deliver()

        def work() -> int:
            try:
                return api.run_due()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as threads:
            working = threads.submit(work)
            assert started.wait(BOUND_SECONDS)
            asked_at = time.monotonic()
            made = elsewhere(partial(dispatch.replay, [delivery.pk]))
            waited = time.monotonic() - asked_at
            go_on.set()
            working.result(BOUND_SECONDS)

        assert waited < BOUND_SECONDS / 2
        assert counts(made) == (0, 0, 1)
        drain()
        assert (written("slow"), Run.objects.count()) == (1, 1)

    def test_a_delivery_dispatched_while_it_is_replayed(self, deliver: Deliver, flaky: Flaky) -> None:
        flaky.is_broken = False
        for _ in range(10):
            delivery = deliver()
            both: list[Callable[[], Any]] = [
                partial(api.run_delivery, delivery.pk, dispatch_at=delivery.dispatch_at),
                partial(dispatch.replay, [delivery.pk]),
            ]

            _found, made = at_once(both)
            drain()

            assert Run.objects.filter(delivery=delivery).count() == 1 + made.runs
            delivery.refresh_from_db()
            assert (delivery.status, delivery.dispatch_at) == ("processed", None)

    def test_a_retry_of_the_sender_is_stored_while_a_replay_is_not_committed(
        self, failed: Delivery, sender: Sender, webhook: Webhook
    ) -> None:
        """The sender repeats a stored delivery under another id: the new rows refer to the first delivery."""
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL has a lock that lets others refer to a row")
        with transaction.atomic():
            dispatch.replay(failed)
            again = partial(Run.objects.create, delivery_id=failed.pk, receiver="test.other", next_try_at=PARKED_UNTIL)
            assert elsewhere(again).pk


class TestOnlyFailed:
    """A replay of what failed: pending runs are brought forward, what has succeeded since is skipped."""

    def test_a_pending_run_is_not_doubled(self, failed: Delivery, flaky: Flaky) -> None:
        flaky.is_broken = False

        made = dispatch.replay(failed, only_failed=True)

        assert (*counts(made), made.skipped) == (0, 1, 0, 0)
        run_until_finished()
        assert written("effect") == 1

    def test_a_run_that_was_given_up_runs_again(self, failed: Delivery, flaky: Flaky) -> None:
        Run.objects.update(status="dead", next_try_at=None)
        flaky.is_broken = False

        made = dispatch.replay(failed, only_failed=True)

        assert (*counts(made), made.skipped) == (1, 0, 0, 0)
        run_until_finished()
        assert written("effect") == 1

    def test_what_has_succeeded_since_is_skipped(self, failed: Delivery, flaky: Flaky) -> None:
        Run.objects.update(status="dead", next_try_at=None)
        flaky.is_broken = False
        dispatch.replay(failed)
        run_until_finished()

        made = dispatch.replay(failed, only_failed=True)

        assert (*counts(made), made.skipped) == (0, 0, 0, 1)
        run_until_finished()
        assert written("effect") == 1

    def test_a_receiver_that_succeeded_does_not_run(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("fine"), "test.fine")
        delivery = deliver()
        run_until_finished()

        made = dispatch.replay(delivery, only_failed=True)

        assert (*counts(made), made.skipped) == (0, 0, 0, 0)

    @pytest.mark.parametrize("status", ["failed", "dead"])
    def test_of_several_presses_at_once_one_run_comes(self, failed: Delivery, flaky: Flaky, status: str) -> None:
        if status == "dead":
            Run.objects.update(status="dead", next_try_at=None)
        flaky.is_broken = False

        made = at_once([lambda: dispatch.replay(failed, only_failed=True)] * 4)

        assert sum(each.runs for each in made) == (status == "dead")
        run_until_finished()
        assert written("effect") == 1
        assert Run.objects.filter(status="succeeded").count() == 1


class TestTryNow:
    def test_a_pending_run_is_brought_forward(self, failed: Delivery, flaky: Flaky) -> None:
        flaky.is_broken = False

        made = dispatch.try_now(failed, ["test.flaky"], by="sara")

        assert counts(made) == (0, 1, 0)
        assert made.by == "sara"
        run_until_finished()
        assert written("effect") == 1

    @pytest.mark.parametrize("status", ["dead", "succeeded", "dropped"])
    def test_what_has_finished_does_not_run_again(self, failed: Delivery, status: str) -> None:
        Run.objects.update(status=status, next_try_at=None)

        made = dispatch.try_now(failed)

        assert counts(made) == (0, 0, 0)
        assert Run.objects.count() == 1

    def test_of_several_presses_while_a_worker_runs_one_try_succeeds(self, failed: Delivery, flaky: Flaky) -> None:
        flaky.is_broken = False

        at_once([lambda: dispatch.try_now(failed) and api.run_due()] * 4)

        run_until_finished()
        assert written("effect") == 1
        assert Run.objects.get().status == "succeeded"
