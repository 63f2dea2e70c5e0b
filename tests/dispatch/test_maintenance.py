"""What a worker looks after now and then: what others left half done, and that it is seen."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import maintenance as module
from nateq_webhooks.dispatch import replay_batches
from nateq_webhooks.dispatch.maintenance import Maintenance, worker_name
from nateq_webhooks.dispatch.replays import request_replay, unfinished
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.hourly_count import HourlyCount
from nateq_webhooks.models.run import PARKED_UNTIL
from nateq_webhooks.runners.worker import Worker, drain
from tests.conftest import wait_until
from tests.dispatch.scene import ALIAS, Connect, Deliver, at_once

pytestmark = pytest.mark.django_db(transaction=True)


class TestRunOnce:
    def test_a_replay_that_was_asked_for_is_made_and_run(
        self, deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 2)
        ran: list[bool] = []
        connect(signals.ticket_created, lambda run, **kwargs: ran.append(run.is_replay), "test.one")
        for _ in range(5):
            deliver()
        drain()
        request_replay(Selection())

        drain()

        assert ran == [False] * 5 + [True] * 5

    def test_the_oldest_is_made_first(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        deliver()
        Delivery.objects.update(dispatch_at=None)
        first, _second = request_replay(Selection()), request_replay(Selection())

        Maintenance(ALIAS).run_once()

        assert list(Run.objects.values_list("round", flat=True)) == [first.pk]

    def test_one_of_a_receiver_that_is_not_known_here_yet_is_left_to_others(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        """As in a rolling deployment: its runs would be left out without a word."""
        connect(signals.ticket_created, lambda **kwargs: None, "test.new")
        connect(signals.ticket_created, lambda **kwargs: None, "test.old")
        deliver()
        Delivery.objects.update(dispatch_at=None)
        request_replay(Selection(), ["test.new"])
        later = request_replay(Selection(), ["test.old"])
        assert signals.ticket_created.disconnect(dispatch_uid="test.new")

        maintenance = Maintenance(ALIAS)
        while maintenance.run_once():
            pass

        assert list(Run.objects.values_list("round", flat=True)) == [later.pk]
        assert unfinished(ALIAS).count() == 1

    def test_while_everything_is_paused_none_is_made(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        deliver()
        dispatch.pause()
        request_replay(Selection())

        assert Maintenance(ALIAS).run_once() == 0
        assert not Run.objects.exists()

    @pytest.mark.usefixtures("time_stands_still")
    def test_what_is_in_order_costs_few_statements(self, django_assert_max_num_queries: Any) -> None:
        maintenance = Maintenance(ALIAS)
        maintenance.run_once()
        maintenance.heartbeat()
        with django_assert_max_num_queries(2):
            maintenance.run_once()
            maintenance.heartbeat()

    def test_what_is_stuck_is_looked_for_again_after_a_while(
        self, deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        maintenance = Maintenance(ALIAS)
        maintenance.run_once()
        Run.objects.create(delivery=deliver(), receiver="test.one", next_try_at=PARKED_UNTIL)
        assert maintenance.run_once() == 0

        monkeypatch.setattr(module, "RECOVER_SECONDS", 0.0)

        assert maintenance.run_once() == 1
        assert Run.objects.get().next_try_at != PARKED_UNTIL


class TestHeartbeat:
    def test_a_worker_is_seen_with_its_machine_and_process(self) -> None:
        before = timezone.now()
        Maintenance(ALIAS).heartbeat()

        beat = Heartbeat.objects.get()
        assert beat.name == worker_name()
        assert beat.seen_at >= before
        assert beat.started_at <= beat.seen_at

    def test_it_beats_once_in_a_while_and_stays_one_row(
        self, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
    ) -> None:
        maintenance = Maintenance(ALIAS)
        maintenance.heartbeat()
        with django_assert_num_queries(0):
            maintenance.heartbeat()
        monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.0)
        first = Heartbeat.objects.get().seen_at
        maintenance.heartbeat()

        assert Heartbeat.objects.get().seen_at > first

    def test_one_that_was_not_seen_for_a_day_is_forgotten(self) -> None:
        long_ago = timezone.now() - timedelta(hours=25)
        Heartbeat.objects.create(name="gone:1", seen_at=long_ago)
        Heartbeat.objects.create(name="away:1", seen_at=timezone.now() - timedelta(hours=23))

        Maintenance(ALIAS).heartbeat()

        assert set(Heartbeat.objects.values_list("name", flat=True)) == {"away:1", worker_name()}

    def test_many_that_start_at_once_do_not_disturb_each_other(self) -> None:
        at_once([Maintenance(ALIAS).heartbeat for _ in range(6)])

        assert Heartbeat.objects.count() == 1

    def test_a_running_worker_beats(self) -> None:
        import threading

        worker = Worker()
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            wait_until(Heartbeat.objects.exists)
        finally:
            worker.stop()
            thread.join()

    def test_so_does_one_that_looks_only_now_and_then(self) -> None:
        drain()

        assert Heartbeat.objects.get().name == worker_name()


def test_a_replay_that_is_cancelled_is_left_alone(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    deliver()
    request_replay(Selection())
    Replay.objects.update(is_cancelled=True)

    assert Maintenance(ALIAS).run_once() == 0


def test_the_hours_that_are_over_are_counted_for_the_dashboard(
    deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys below the oldest delivery are none to count, however many they are."""
    monkeypatch.setattr("nateq_webhooks.dispatch.maintenance.KEYS_COUNTED", 1)
    delivery = deliver()
    Delivery.objects.filter(pk=delivery.pk).update(received_at=timezone.now() - timedelta(hours=3))

    Maintenance(ALIAS).run_once()

    assert HourlyCount.objects.count() in (46, 47)
    assert [hour.numbers for hour in HourlyCount.objects.all() if hour.numbers] == [
        {delivery.webhook_id.hex: [delivery.pk, delivery.pk, 1, 0, 0]}
    ]
