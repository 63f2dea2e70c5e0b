"""Rate limits: so many runs a second of a receiver over all processes, and nobody else is slowed."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.throttle import take_slot
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import Hold, receiver_scope
from nateq_webhooks.runners.worker import Worker, drain
from tests.conftest import Sender, envelope, wait_until
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver, at_once, make_due

pytestmark = pytest.mark.django_db(transaction=True)

LIMITED, FREE = "test.limited", "test.free"


@pytest.fixture
def starts(connect: Connect) -> dict[str, list[float]]:
    """When each receiver was started (monotonic seconds)."""
    found: dict[str, list[float]] = {LIMITED: [], FREE: []}

    def note(*, run: Run, **kwargs: Any) -> None:
        found[run.receiver].append(time.monotonic())

    connect(signals.ticket_created, lambda **kwargs: note(**kwargs), LIMITED, atomic=False)
    connect(signals.ticket_created, lambda **kwargs: note(**kwargs), FREE, atomic=False)
    return found


def most_in(moments: list[float], seconds: float) -> int:
    """Return how many starts there are at most in any window of so many seconds."""
    moments = sorted(moments)
    return max((sum(start <= one < start + seconds for one in moments) for start in moments), default=0)


def backlog(delivery: Delivery, count: int, *receivers: str) -> None:
    """Have so many runs of each receiver wait."""
    Delivery.objects.update(dispatch_at=None)
    Run.objects.bulk_create(
        Run(delivery=delivery, receiver=name, round=number) for number in range(1, count + 1) for name in receivers
    )


def work_for(worker: Worker, is_done: Callable[[], bool], *, seconds: float = 30) -> None:
    """Let a worker work until something is so."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(is_done, seconds=seconds)
    finally:
        worker.stop()
        thread.join()


class TestBacklog:
    def test_several_workers_together_keep_the_rate_and_come_close_to_it(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 10.0})
        backlog(deliver(), 31, LIMITED)

        began = time.monotonic()  # not the first start: that one may be late, as the machine is busy
        work_for(Worker(concurrency=4), lambda: len(starts[LIMITED]) == 31)

        took = max(starts[LIMITED]) - began
        assert took >= 2.9  # thirty slots of a tenth of a second, the first of which may be made up for by half of one
        assert took < 12
        # Each of the four threads may be held up between its slot and the receiver, as the machine is busy.
        assert most_in(starts[LIMITED], 1) <= 10 + 1 + 4

    def test_the_others_are_not_slowed(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 2.0})
        backlog(deliver(), 60, LIMITED, FREE)

        began = time.monotonic()
        work_for(Worker(), lambda: len(starts[FREE]) == 60)

        assert len(starts[LIMITED]) <= 2 * (max(starts[FREE]) - began) + 2

    def test_it_is_not_slowed_by_the_others_backlog_either(
        self, deliver: Deliver, connect: Connect, configure: Configure
    ) -> None:
        """Its slots come in the middle of a claim of others, and are used there."""
        found: dict[str, list[float]] = {LIMITED: [], FREE: []}
        wait = threading.Event()

        def note(*, run: Run, **kwargs: Any) -> None:
            found[run.receiver].append(time.monotonic())
            if run.receiver == FREE:
                wait.wait(0.05)

        connect(signals.ticket_created, lambda **kwargs: note(**kwargs), LIMITED, atomic=False)
        connect(signals.ticket_created, lambda **kwargs: note(**kwargs), FREE, atomic=False)
        configure(RATE_LIMITS={LIMITED: 5.0})
        backlog(deliver(), 80, LIMITED, FREE)

        work_for(Worker(), lambda: len(found[FREE]) >= 60)

        seconds = max(found[FREE]) - min(found[FREE])
        assert len(found[LIMITED]) >= 5 * seconds * 0.6

    def test_once_goes_on_as_long_as_the_next_slot_comes_soon(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 20.0})
        backlog(deliver(), 5, LIMITED)

        assert drain() == 5
        assert len(starts[LIMITED]) == 5

    def test_once_does_not_wait_for_a_slot_that_is_far_off(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 0.1})
        backlog(deliver(), 5, LIMITED)

        assert drain() == 1


class TestSlots:
    @pytest.fixture
    def hold(self) -> Hold:
        return Hold.objects.create(scope=receiver_scope(LIMITED))

    def test_of_many_at_once_one_gets_it(self, hold: Hold) -> None:
        for _ in range(5):
            Hold.objects.update(next_slot_at=None)
            taken = at_once([lambda: take_slot(ALIAS, Hold.objects.get(), 1.0)] * 6)
            assert sum(taken) == 1

    def test_slots_that_nobody_used_are_gone(self, hold: Hold) -> None:
        hold.next_slot_at = timezone.now() - timedelta(hours=1)
        hold.save()
        before = timezone.now()

        assert take_slot(ALIAS, hold, 2.0)

        again = Hold.objects.get()
        assert again.next_slot_at is not None
        assert again.next_slot_at >= before + timedelta(seconds=0.4)
        assert not take_slot(ALIAS, again, 2.0)

    def test_over_any_time_there_are_no_more_than_the_rate_allows_and_one(
        self, hold: Hold, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With a clock of the test's own, asked at odd moments."""
        start = timezone.now()
        clock = [start]
        taken: list[float] = []
        monkeypatch.setattr("nateq_webhooks.dispatch.throttle.timezone.now", lambda: clock[0])
        for step in range(1, 4_000):
            clock[0] += timedelta(milliseconds=7 if step % 900 else 5_000)
            if take_slot(ALIAS, hold, 10.0):
                taken.append((clock[0] - start).total_seconds())
                hold.refresh_from_db()

        for seconds in (1, 2, 10):
            assert most_in(taken, seconds) <= 10 * seconds + 1
        assert len(taken) >= 0.95 * 10 * 4_000 * 0.007


class TestChanges:
    def test_a_limit_that_is_new_holds_for_what_was_waiting_already(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        backlog(deliver(), 30, LIMITED)
        configure(RATE_LIMITS={LIMITED: 0.5})

        for _ in range(10):
            api.run_due()

        assert len(starts[LIMITED]) == 1
        assert Run.objects.filter(receiver=LIMITED, held_by=0, status="waiting").count() == 0

    def test_a_limit_that_is_gone_lets_everything_run(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 0.5})
        for _ in range(10):
            deliver()
        api.run_due()
        api.run_due()
        assert len(starts[LIMITED]) == 1

        configure(RATE_LIMITS={})
        drain()

        assert (len(starts[LIMITED]), len(starts[FREE])) == (10, 10)
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}

    def test_a_limited_receiver_that_is_paused_starts_no_run_and_goes_on_limited(
        self, deliver: Deliver, starts: dict[str, list[float]], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={LIMITED: 0.5})
        dispatch.pause(receiver=LIMITED)
        for _ in range(5):
            deliver()
        drain()
        assert (len(starts[LIMITED]), len(starts[FREE])) == (0, 5)

        dispatch.resume(receiver=LIMITED)
        drain()

        assert len(starts[LIMITED]) == 1
        hold = Hold.objects.get(scope=receiver_scope(LIMITED))
        assert Run.objects.filter(receiver=LIMITED, held_by=hold.pk, next_try_at__isnull=False).count() == 4

    def test_a_retry_takes_a_slot_too(self, deliver: Deliver, connect: Connect, configure: Configure) -> None:
        tries: list[int] = []

        def fails_once(*, run: Run, **kwargs: Any) -> None:
            tries.append(run.tries)
            if run.tries == 1:
                raise ValueError("broken")

        connect(signals.ticket_created, fails_once, LIMITED)
        configure(RATE_LIMITS={LIMITED: 0.5})
        deliver()
        api.run_due()
        api.run_due()
        make_due()
        for _ in range(3):
            api.run_due()
        assert tries == [1]

        Hold.objects.update(next_slot_at=timezone.now())
        hold_cache.invalidate()
        api.run_due()

        assert tries == [1, 2]
        assert Delivery.objects.get().status == "processed"


def test_inline_it_runs_in_the_request_as_long_as_there_is_a_slot_and_else_waits(
    sender: Sender, starts: dict[str, list[float]], configure: Configure
) -> None:
    configure(DISPATCH="inline", RATE_LIMITS={LIMITED: 0.5})
    for number in range(3):
        assert sender.post(envelope(delivery_id=f"dlv_{number}")).status_code == 200

    assert (len(starts[LIMITED]), len(starts[FREE])) == (1, 3)
    assert Counter(Run.objects.filter(receiver=LIMITED).values_list("status", flat=True)) == {
        "succeeded": 1,
        "waiting": 2,
    }
