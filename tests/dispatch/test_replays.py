"""Replays: receivers run again on request, and the first runs are kept."""

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import django
import pytest
from django.db import transaction
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api, replay_batches, replays
from nateq_webhooks.dispatch.replays import advance, request_replay, unfinished
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from tests.builders import store_deliveries, store_run
from tests.conftest import Sender, envelope
from tests.dispatch.scene import (
    ALIAS,
    Configure,
    Connect,
    Deliver,
    at_once,
    make_due,
    run_until_finished,
    written,
)
from tests.dispatch.scene import write as write_row

pytestmark = pytest.mark.django_db(transaction=True)


class WakesElsewhere:
    """A runner that hands work to other processes; it records the deliveries."""

    hold = timedelta()
    runs_elsewhere = True
    woken: list[int] = []

    def wake(self, due: dispatch.Due) -> None:
        self.woken.append(due.pk)


Calls = list[tuple[str, str, bool]]


@pytest.fixture
def calls() -> Calls:
    """Which receiver was called for which delivery, and whether it was a replay."""
    return []


@pytest.fixture
def receivers(connect: Connect, calls: Calls) -> list[str]:
    """Three receivers of ticket.created that record their calls."""

    def note(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
        calls.append((run.receiver, delivery.delivery_id, run.is_replay))

    names = ["test.one", "test.two", "test.three"]
    for name in names:
        connect(signals.ticket_created, lambda **kwargs: note(**kwargs), name)
    return names


@pytest.fixture
def woken(configure: Configure) -> list[int]:
    """The deliveries for which the runner is notified."""
    configure(DISPATCH="tests.dispatch.test_replays.WakesElsewhere")
    return WakesElsewhere.woken


def statuses(delivery: Delivery) -> list[tuple[str, int, str]]:
    """Return the runs of a delivery: receiver, round, status."""
    return list(delivery.runs.order_by("round", "pk").values_list("receiver", "round", "status"))


class TestReplay:
    def test_every_receiver_runs_once_more_with_is_replay_set(
        self, deliver: Deliver, receivers: list[str], calls: Calls
    ) -> None:
        delivery = deliver()
        run_until_finished()

        made = dispatch.replay(delivery)

        assert len(calls) == 3
        run_until_finished()
        assert calls == [(name, "dlv_1", is_replay) for is_replay in (False, True) for name in receivers]
        assert statuses(delivery) == [(name, round_, "succeeded") for round_ in (0, made.pk) for name in receivers]
        assert [(made.deliveries, made.runs)] == [(1, 3)]

    def test_only_the_named_receivers_run(self, deliver: Deliver, receivers: list[str], calls: Calls) -> None:
        for _ in range(3):
            deliver()
        run_until_finished()

        dispatch.replay(Delivery.objects.all(), ["test.two"])
        run_until_finished()

        assert [call for call in calls if call[2]] == [("test.two", f"dlv_{n}", True) for n in (1, 2, 3)]

    def test_a_named_receiver_runs_only_for_events_it_is_connected_to(
        self, deliver: Deliver, connect: Connect, receivers: list[str]
    ) -> None:
        connect(signals.ticket_updated, lambda **kwargs: None, "test.other")
        created, updated = deliver(), deliver("ticket.updated")
        run_until_finished()

        dispatch.replay([created, updated], ["test.other"])

        assert list(Run.objects.exclude(round=0).values_list("delivery_id", "receiver")) == [(updated.pk, "test.other")]
        created.refresh_from_db()
        assert created.status == "processed"

    def test_a_receiver_that_is_not_connected_is_refused_with_those_that_are(
        self, deliver: Deliver, receivers: list[str]
    ) -> None:
        with pytest.raises(LookupError, match=r'No receiver called "test.on" is connected. Connected: .*test.one'):
            dispatch.replay([deliver()], ["test.on"])

        assert (Replay.objects.count(), Run.objects.count()) == (0, 0)

    def test_a_name_in_place_of_a_list_is_refused(self, deliver: Deliver, receivers: list[str]) -> None:
        with pytest.raises(TypeError, match=r"receivers is a list of names: write \['test.one'\]"):
            dispatch.replay([deliver()], "test.one")

    def test_it_records_who_requested_it_when_and_why(self, deliver: Deliver, receivers: list[str]) -> None:
        delivery = deliver()
        run_until_finished()
        before = timezone.now()
        dispatch.replay([delivery.pk], ["test.two", "test.one", "test.two"], reason="CRM was down", by="sara")

        kept = Replay.objects.get()
        assert (kept.by, kept.reason, kept.receivers) == ("sara", "CRM was down", ["test.one", "test.two"])
        assert before <= kept.created_at <= timezone.now()
        assert kept.finished_at is not None
        assert set(Run.objects.values_list("round", flat=True)) == {0, kept.pk}

    def test_its_runs_have_their_own_idempotency_keys(self, deliver: Deliver, receivers: list[str]) -> None:
        delivery = deliver()
        run_until_finished()
        dispatch.replay(delivery)
        run_until_finished()
        dispatch.replay(delivery)

        keys = {run.idempotency_key for run in Run.objects.filter(receiver="test.one")}
        assert len(keys) == 3
        assert [run.is_replay for run in Run.objects.filter(receiver="test.one")] == [False, True, True]

    def test_the_first_runs_are_kept(self, deliver: Deliver, connect: Connect) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, fails, "test.fails")
        delivery = deliver()
        run_until_finished()
        first = Run.objects.get()

        dispatch.replay(delivery)

        again = Run.objects.get(round=0)
        assert (again.status, again.tries) == ("dead", first.tries)
        assert (again.error, again.traceback) == ("ValueError: broken", first.traceback)

    @pytest.mark.parametrize("mode", ["inline", "worker", "tasks"])
    def test_it_never_runs_a_receiver_itself(
        self,
        deliver: Deliver,
        receivers: list[str],
        configure: Configure,
        calls: Calls,
        mode: str,
    ) -> None:
        if mode == "tasks" and django.VERSION < (6,):
            pytest.importorskip("django_tasks")
        delivery = deliver()
        configure(DISPATCH=mode)

        dispatch.replay(delivery)

        assert calls == []
        assert Counter(Run.objects.values_list("status", "tries")) == {("waiting", 0): 3}

    def test_a_rollback_of_the_callers_transaction_undoes_it_and_notifies_nobody(
        self, deliver: Deliver, receivers: list[str], woken: list[int]
    ) -> None:
        delivery = deliver()
        woken.clear()

        with transaction.atomic():
            dispatch.replay(delivery)
            assert Run.objects.count() == 3
            transaction.set_rollback(True)

        assert (Replay.objects.count(), Run.objects.count(), woken) == (0, 0, [])
        delivery.refresh_from_db()
        assert delivery.dispatch_at is not None

    def test_the_runner_is_notified_after_the_commit(
        self, deliver: Deliver, receivers: list[str], woken: list[int]
    ) -> None:
        deliveries = [deliver() for _ in range(3)]
        woken.clear()

        with transaction.atomic():
            dispatch.replay(deliveries)
            assert woken == []

        assert woken == [delivery.pk for delivery in deliveries]

    def test_the_runner_is_notified_of_a_limited_number_of_deliveries(
        self, deliver: Deliver, receivers: list[str], woken: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_batches, "MAX_NOTIFIED", 2)
        deliveries = [deliver() for _ in range(3)]
        woken.clear()

        dispatch.replay(deliveries)

        assert woken == [delivery.pk for delivery in deliveries[:2]]
        assert Run.objects.count() == 9

    def test_run_delivery_executes_the_replayed_runs(
        self, deliver: Deliver, receivers: list[str], calls: Calls
    ) -> None:
        delivery = deliver()
        run_until_finished()
        dispatch.replay(delivery)
        calls.clear()

        assert api.run_delivery(delivery.pk) == 3

        assert calls == [(name, "dlv_1", True) for name in receivers]

    def test_a_replay_that_fails_is_tried_again_like_any_run(self, deliver: Deliver, connect: Connect) -> None:
        def fails_twice_when_replayed(*, run: Run, **kwargs: Any) -> None:
            if run.is_replay and run.tries < 3:
                raise ValueError("broken")
            write_row("mine")

        connect(signals.ticket_created, fails_twice_when_replayed, "test.one")
        delivery = deliver()
        run_until_finished()
        made = dispatch.replay(delivery)

        api.run_due()
        delivery.refresh_from_db()
        assert delivery.status == "failed"
        run_until_finished()

        assert list(Run.objects.order_by("round").values_list("round", "status", "tries")) == [
            (0, "succeeded", 1),
            (made.pk, "succeeded", 3),
        ]
        assert written("mine") == 2

    def test_runs_are_replayed_in_the_order_of_their_deliveries(
        self, deliver: Deliver, receivers: list[str], calls: Calls
    ) -> None:
        for _ in range(30):
            deliver()
        while api.run_due():
            pass
        calls.clear()

        dispatch.replay(Delivery.objects.order_by("-pk"), ["test.one"])
        while api.run_due(7):
            pass

        assert [call[1] for call in calls] == [f"dlv_{number}" for number in range(1, 31)]


class TestStatus:
    def test_a_replay_that_succeeds_repairs_a_delivery_that_was_given_up(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def fails_at_first(*, run: Run, **kwargs: Any) -> None:
            if not run.is_replay:
                raise ValueError("broken")

        connect(signals.ticket_created, fails_at_first, "test.fails")
        connect(signals.ticket_created, lambda **kwargs: None, "test.works")
        delivery = deliver()
        run_until_finished()
        delivery.refresh_from_db()
        assert delivery.status == "dead"

        dispatch.replay(delivery, ["test.fails"])
        delivery.refresh_from_db()
        assert delivery.status == "received"
        run_until_finished()

        delivery.refresh_from_db()
        assert delivery.status == "processed"
        assert Counter(Run.objects.values_list("receiver", "status")) == {
            ("test.fails", "dead"): 1,
            ("test.works", "succeeded"): 1,
            ("test.fails", "succeeded"): 1,
        }

    def test_a_replay_that_is_given_up_makes_a_processed_delivery_dead(
        self, deliver: Deliver, connect: Connect
    ) -> None:
        def fails_later(*, run: Run, **kwargs: Any) -> None:
            if run.is_replay:
                raise ValueError("broken")

        connect(signals.ticket_created, fails_later)
        delivery = deliver()
        run_until_finished()
        dispatch.replay(delivery)
        run_until_finished()

        delivery.refresh_from_db()
        assert delivery.status == "dead"

    def test_a_replay_before_the_first_runs_are_created_adds_none(
        self, deliver: Deliver, receivers: list[str], calls: Calls
    ) -> None:
        delivery = deliver()
        made = dispatch.replay(delivery, ["test.one"])
        run_until_finished()

        assert Counter(calls) == {(name, "dlv_1", False): 1 for name in receivers}
        assert (made.runs, made.brought_forward) == (0, 1)
        delivery.refresh_from_db()
        assert (delivery.status, delivery.dispatch_at) == ("processed", None)

    def test_an_ignored_delivery_can_be_replayed(
        self, webhook: Webhook, sender: Sender, receivers: list[str], calls: Calls
    ) -> None:
        webhook.events = ["user.created"]
        webhook.save()
        sender.post(envelope())
        delivery = Delivery.objects.get()
        assert delivery.status == "ignored"

        dispatch.replay(delivery)
        run_until_finished()

        delivery.refresh_from_db()
        assert (delivery.status, len(calls)) == ("processed", 3)

    def test_an_unreadable_delivery_is_left_out(self, sender: Sender, connect: Connect) -> None:
        connect(signals.event_received, lambda **kwargs: None)
        assert sender.post(b"[1, 2]").status_code == 400
        delivery = Delivery.objects.get()

        made = dispatch.replay(delivery)

        delivery.refresh_from_db()
        assert (delivery.status, made.deliveries, Run.objects.count()) == ("invalid", 0, 0)


class TestWhich:
    """What `replay` takes."""

    @pytest.fixture
    def five(self, deliver: Deliver, receivers: list[str]) -> list[Delivery]:
        five = [deliver() for _ in range(5)]
        run_until_finished()
        return five

    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 2)

    def replayed(self) -> list[int]:
        return list(Run.objects.exclude(round=0).order_by("pk").values_list("delivery_id", flat=True))

    def test_a_filtered_queryset_whose_filter_the_replay_itself_changes(self, five: list[Delivery]) -> None:
        dispatch.replay(Delivery.objects.filter(status="processed").order_by("received_at"), ["test.one"])

        assert self.replayed() == [one.pk for one in five]

    def test_a_slice_in_its_own_order(self, five: list[Delivery]) -> None:
        dispatch.replay(Delivery.objects.order_by("-pk")[:3], ["test.one"])

        assert sorted(self.replayed()) == [one.pk for one in five[2:]]

    def test_a_union(self, five: list[Delivery]) -> None:
        first, last = (Delivery.objects.filter(pk=one.pk).order_by() for one in (five[0], five[4]))
        dispatch.replay(first.union(last), ["test.one"])

        assert self.replayed() == [five[0].pk, five[4].pk]

    def test_a_queryset_that_finds_a_delivery_twice(self, five: list[Delivery]) -> None:
        made = dispatch.replay(Delivery.objects.filter(runs__status="succeeded"), ["test.one"])

        assert (self.replayed(), made.deliveries) == ([one.pk for one in five], 5)

    def test_deliveries_and_keys_with_some_twice_and_some_gone(self, five: list[Delivery]) -> None:
        some: list[Delivery | int] = [five[3], five[1].pk, five[3].pk, 10_000]
        dispatch.replay(iter(some), ["test.one"])

        assert sorted(self.replayed()) == [five[1].pk, five[3].pk]

    def test_an_empty_queryset(self, five: list[Delivery]) -> None:
        made = dispatch.replay(Delivery.objects.none())

        assert (made.deliveries, made.runs, made.finished_at is None) == (0, 0, False)

    def test_rows_that_are_no_deliveries_are_refused(self, five: list[Delivery]) -> None:
        with pytest.raises(TypeError, match="replay\\(\\) takes deliveries, not rows of Run"):
            dispatch.replay(Run.objects.all())  # type: ignore[arg-type]


class TestRequested:
    """A replay of many deliveries, created batch by batch by any process."""

    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 3)

    @pytest.fixture
    def ten(self, deliver: Deliver, receivers: list[str]) -> list[Delivery]:
        ten = [deliver() for _ in range(10)]
        run_until_finished()
        return ten

    def test_concurrent_processes_create_each_run_once(self, ten: list[Delivery]) -> None:
        requested = request_replay(Selection(), ["test.two"])

        def go_on() -> None:
            mine = Replay.objects.get(pk=requested.pk)
            while advance(ALIAS, mine):
                pass

        at_once([go_on] * 4)

        runs = Run.objects.filter(round=requested.pk)
        assert sorted(runs.values_list("delivery_id", "receiver")) == [(one.pk, "test.two") for one in ten]
        kept = Replay.objects.get()
        assert (kept.deliveries, kept.runs, kept.finished_at is None) == (10, 10, False)

    def test_a_replay_that_continues_after_a_kill_repeats_and_omits_nothing(
        self, ten: list[Delivery], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Killed in each batch after its runs were created and before its progress was committed."""
        requested = request_replay(Selection(), ["test.two"])
        create_batch = replay_batches.create_batch

        def dies(*args: Any) -> None:
            create_batch(*args)
            raise KeyboardInterrupt

        for _ in range(10):
            again = Replay.objects.get(pk=requested.pk)
            with monkeypatch.context() as patch:
                patch.setattr(replays, "create_batch", dies)
                with pytest.raises(KeyboardInterrupt):
                    advance(ALIAS, again)
            if not advance(ALIAS, Replay.objects.get(pk=requested.pk)):
                break

        runs = Run.objects.filter(round=requested.pk)
        assert list(runs.order_by("pk").values_list("delivery_id", flat=True)) == [one.pk for one in ten]

    def test_later_deliveries_are_not_replayed(self, ten: list[Delivery], deliver: Deliver) -> None:
        requested = request_replay(Selection(), ["test.one"])
        deliver()
        while advance(ALIAS, requested):
            pass

        assert Run.objects.filter(round=requested.pk).count() == 10

    def test_a_cancelled_replay_stops(self, ten: list[Delivery]) -> None:
        requested = request_replay(Selection(), ["test.one"])
        assert advance(ALIAS, requested)
        Replay.objects.update(is_cancelled=True)

        assert not advance(ALIAS, requested)
        assert Run.objects.filter(round=requested.pk).count() == 3
        assert not unfinished(ALIAS)

    def test_a_filter_that_finds_little_reads_a_bounded_span_at_a_time(
        self, ten: list[Delivery], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replays, "SPAN", 4)
        Delivery.objects.filter(pk=ten[8].pk).update(event="ticket.closed")
        requested = request_replay(Selection(event="ticket.closed", until=timezone.now()))

        spans = 1
        while advance(ALIAS, requested):
            spans += 1

        assert spans >= len(ten) / 4
        assert (requested.share_done, requested.deliveries) == (1.0, 0)

    def test_it_stores_the_selection(self, ten: list[Delivery], webhook: Webhook) -> None:
        now = timezone.now()
        selection = Selection(
            webhook=str(webhook.pk),
            event="ticket.created",
            status="processed",
            since=now - timedelta(hours=1),
            until=now,
            receiver="test.one",
            deliveries=(ten[0].pk, ten[4].pk),
        )
        requested = request_replay(selection)

        kept = Replay.objects.get(pk=requested.pk)
        assert Selection.from_json(kept.filters) == selection
        assert list(selection.of(Delivery.objects.all())) == []
        Run.objects.filter(delivery=ten[4], receiver="test.one").update(status="dead")
        assert list(selection.of(Delivery.objects.all())) == [ten[4]]

    def test_it_is_finished_at_once_without_deliveries(self, receivers: list[str]) -> None:
        requested = request_replay(Selection())

        assert requested.finished_at is not None
        assert not advance(ALIAS, requested)


class TestDisconnected:
    """Failed runs of receivers that are not connected to the event: they are left alone, and counted."""

    @pytest.fixture
    def failed(self, webhook: Webhook, connect: Connect) -> list[Delivery]:
        """Three deliveries with failed runs: one of a connected receiver and one that is gone, or of one of them."""
        connect(signals.ticket_created, lambda **kwargs: None, "test.one")
        connect(signals.lead_created, lambda **kwargs: None, "test.other")
        deliveries = store_deliveries(webhook, 3, status="dead")
        store_run(deliveries[0], "test.one", status="dead")
        store_run(deliveries[0], "test.gone", status="failed")
        store_run(deliveries[1], "test.other", status="dead")
        store_run(deliveries[2], "test.one", status="dead")
        return deliveries

    def test_they_are_counted_by_a_replay_at_once(self, failed: list[Delivery]) -> None:
        replay = dispatch.replay(failed, only_failed=True)

        assert (replay.runs, replay.disconnected) == (2, 2)

    def test_each_batch_of_a_requested_replay_adds_its_own(
        self, failed: list[Delivery], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 1)
        replay = request_replay(Selection(), only_failed=True)
        while advance(ALIAS, replay):
            pass

        assert (replay.runs, replay.disconnected) == (2, 2)
        replay.refresh_from_db()
        assert (replay.runs, replay.disconnected) == (2, 2)

    def test_only_those_that_were_asked_for_count(self, failed: list[Delivery]) -> None:
        assert dispatch.replay(failed, ["test.one"], only_failed=True).disconnected == 0
        assert dispatch.replay(failed, ["test.other"], only_failed=True).disconnected == 1
        assert dispatch.replay(failed, ["test.one", "test.other"]).disconnected == 0

    def test_what_has_succeeded_since_or_has_no_content_does_not_count(self, failed: list[Delivery]) -> None:
        store_run(failed[0], "test.gone", status="succeeded", round=900)
        Delivery.objects.filter(pk=failed[1].pk).update(content_change="retention")

        replay = dispatch.replay(Delivery.objects.all(), only_failed=True)

        assert (replay.runs, replay.disconnected, replay.without_content) == (2, 0, 1)


def test_a_first_run_that_finishes_while_it_is_replayed_leaves_the_right_status(
    deliver: Deliver, connect: Connect
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    for _ in range(8):
        delivery = deliver()
        both: list[Callable[[], object]] = [
            partial(api.run_delivery, delivery.pk),
            partial(dispatch.replay, [delivery.pk]),
        ]
        at_once(both)
        make_due()
        run_until_finished()

        delivery.refresh_from_db()
        assert delivery.status == "processed"
        assert set(delivery.runs.values_list("status", flat=True)) == {"succeeded"}


def test_gaps_between_keys_are_skipped(deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    old = deliver()
    run_until_finished()
    old.refresh_from_db()
    kept = Delivery.objects.get(pk=old.pk)
    kept.pk, kept.identity = old.pk + 1_000_000, "f" * 64
    kept.save(force_insert=True)
    Delivery.objects.filter(pk=old.pk).delete()
    monkeypatch.setattr(replays, "SPAN", 10)

    requested = request_replay(Selection(), ["test.one"])

    assert not advance(ALIAS, requested)
    assert [run.delivery_id for run in Run.objects.filter(round=requested.pk)] == [kept.pk]
