"""Pausing and resuming: nothing that is paused starts, nothing is lost, and no other run waits."""

import threading
import uuid
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api, claim, pauses
from nateq_webhooks.dispatch.create import claim_deliveries
from nateq_webhooks.dispatch.holds import REFRESH_SECONDS, hold_cache
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import NOT_HELD, Hold
from nateq_webhooks.runners.worker import drain
from tests.builders import ago
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    at_once,
    claim_one,
    elsewhere,
    execute_only,
    fails_once,
    lapse_leases,
    make_due,
    names_written,
    write,
    written,
)
from tests.runners.processes import run as run_process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def calls() -> list[str]:
    """Which receiver was called for which delivery, in order."""
    return []


@pytest.fixture
def two(connect: Connect, calls: list[str]) -> None:
    """Two receivers of ticket.created."""

    def note(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
        calls.append(f"{run.receiver.removeprefix('test.')} {delivery.delivery_id}")

    connect(signals.ticket_created, lambda **kwargs: note(**kwargs), "test.one")
    connect(signals.ticket_created, lambda **kwargs: note(**kwargs), "test.two")


def work() -> None:
    """Run as a worker until nothing is due."""
    while api.run_due(3):
        pass


def pause_in_another_process(**options: str) -> None:
    """Have another process pause."""
    arguments = [f"--{name}={value}" for name, value in options.items()]
    if not {"webhook", "receiver"} & options.keys():
        arguments.append("--all")
    run_process("-m", "django", "nateq_pause", *arguments)


class TestEverything:
    def test_deliveries_are_stored_and_run_afterwards_in_their_order(
        self, deliver: Deliver, two: None, calls: list[str]
    ) -> None:
        dispatch.pause(reason="Deployment")
        for _ in range(8):
            deliver()
        work()
        assert calls == []
        assert Delivery.objects.exclude(dispatch_at=None).count() == 8

        dispatch.resume()
        work()

        assert [call for call in calls if call.startswith("one")] == [f"one dlv_{n}" for n in range(1, 9)]
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}

    def test_failed_runs_wait_too_and_use_no_try(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, fails_once)
        deliver()
        api.run_due()
        dispatch.pause()
        make_due()

        work()
        assert Run.objects.get().tries == 1
        dispatch.resume()
        work()
        assert (Run.objects.get().status, Run.objects.get().tries) == ("succeeded", 2)

    def test_an_inline_delivery_is_stored_answered_and_due_after_the_resumption(
        self, sender: Sender, two: None, configure: Configure, calls: list[str]
    ) -> None:
        configure(DISPATCH="inline")
        dispatch.pause()

        assert sender.post(envelope()).status_code == 200
        assert (calls, Run.objects.count()) == ([], 0)
        due_at = Delivery.objects.get().dispatch_at
        assert due_at is not None
        assert due_at <= timezone.now()
        dispatch.resume()
        work()

        assert calls == ["one dlv_1", "two dlv_1"]

    def test_a_finished_run_is_finalized_during_a_pause(self, deliver: Deliver, two: None) -> None:
        deliver()
        claimed = claim.claim_runs(ALIAS, 20) or claim_deliveries(ALIAS, 20)
        for number in range(2):
            execute_only(claimed, number)
        Run.objects.update(next_try_at=ago(seconds=1))
        dispatch.pause()

        drain()

        assert Delivery.objects.get().status == "processed"
        assert set(Run.objects.values_list("status", "next_try_at")) == {("succeeded", None)}


class TestOneReceiver:
    def test_the_others_run_and_it_continues_afterwards_in_order(
        self, deliver: Deliver, two: None, calls: list[str]
    ) -> None:
        dispatch.pause(receiver="test.one")
        for _ in range(8):
            deliver()
        work()
        assert calls == [f"two dlv_{number}" for number in range(1, 9)]
        assert set(Delivery.objects.values_list("status", flat=True)) == {"received"}

        dispatch.resume(receiver="test.one")
        work()

        assert calls[8:] == [f"one dlv_{number}" for number in range(1, 9)]
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}

    def test_waiting_runs_are_moved_to_the_hold(self, deliver: Deliver, two: None, calls: list[str]) -> None:
        for _ in range(3):
            deliver()
        dispatch.replay(Delivery.objects.all())
        (hold,) = dispatch.pause(receiver="test.two")

        assert Counter(Run.objects.values_list("receiver", "held_by")) == {("test.one", 0): 3, ("test.two", hold.pk): 3}
        work()
        assert Counter(call.split()[0] for call in calls) == {"one": 3}

    def test_a_name_that_is_not_connected_is_logged(
        self, two: None, caplog: pytest.LogCaptureFixture, db: None
    ) -> None:
        dispatch.pause(receiver="test.one")
        assert caplog.text == ""

        dispatch.pause(receiver="test.oen")
        assert 'The receiver "test.oen" is paused, but this process has no receiver of that name' in caplog.text

    def test_a_started_run_finishes(self, deliver: Deliver, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.one")
        deliver()
        claimed = claim_one()
        dispatch.pause(receiver="test.one")

        assert execute_only(claimed) is api.Outcome.SUCCEEDED
        Run.objects.update(next_try_at=ago(seconds=1))
        work()
        assert Delivery.objects.get().status == "processed"

    def test_a_run_of_a_dead_worker_does_not_start(self, deliver: Deliver, two: None, calls: list[str]) -> None:
        deliver()
        claim_deliveries(ALIAS, 20)
        dispatch.pause(receiver="test.one")
        lapse_leases()

        work()
        assert calls == ["two dlv_1"]
        dispatch.resume(receiver="test.one")
        work()
        assert calls == ["two dlv_1", "one dlv_1"]

    def test_the_other_receivers_run_inline(
        self, sender: Sender, two: None, configure: Configure, calls: list[str]
    ) -> None:
        configure(DISPATCH="inline")
        dispatch.pause(receiver="test.one")

        assert sender.post(envelope()).status_code == 200
        assert calls == ["two dlv_1"]
        assert Counter(Run.objects.values_list("receiver", "status")) == {
            ("test.one", "waiting"): 1,
            ("test.two", "succeeded"): 1,
        }


class TestOneWebhook:
    @pytest.fixture
    def other(self, db: None) -> Sender:
        return Sender(Webhook.objects.create(name="other", secret=SECRET))

    def test_the_others_deliveries_run(
        self, deliver: Deliver, two: None, other: Sender, webhook: Webhook, calls: list[str]
    ) -> None:
        dispatch.pause(webhook=webhook)
        deliver()
        other.post(envelope(delivery_id="theirs"))
        work()
        assert calls == ["one theirs", "two theirs"]

        dispatch.resume(webhook=webhook)
        work()
        assert calls == ["one theirs", "two theirs", "one dlv_1", "two dlv_1"]

    def test_a_webhook_is_given_as_object_key_or_name(self, webhook: Webhook) -> None:
        for named in (webhook, webhook.pk, str(webhook.pk), "shop"):
            (hold,) = dispatch.pause(webhook=named)
            assert hold.scope == f"webhook:{webhook.pk}"
            assert [one.scope for one in api.paused()] == [hold.scope]
            dispatch.resume(webhook=named)
            assert api.paused() == []

    def test_an_unknown_webhook_is_refused(self, webhook: Webhook) -> None:
        with pytest.raises(LookupError, match='There is no webhook called "shp"'):
            dispatch.pause(webhook="shp")

    def test_with_a_receiver_both_are_paused_and_a_run_waits_for_both(
        self, deliver: Deliver, two: None, webhook: Webhook, calls: list[str]
    ) -> None:
        assert len(dispatch.pause(webhook=webhook, receiver="test.one")) == 2
        deliver()
        work()
        dispatch.resume(webhook=webhook)
        work()
        assert calls == ["two dlv_1"]
        dispatch.resume(receiver="test.one")
        work()
        assert calls == ["two dlv_1", "one dlv_1"]

    def test_the_held_runs_of_a_receiver_are_moved_to_the_hold_of_its_webhook_in_batches(
        self, deliver: Deliver, two: None, webhook: Webhook, calls: list[str], configure: Configure
    ) -> None:
        """Runs that are held use no slots of a rate limit."""
        dispatch.pause(receiver="test.one")
        for _ in range(5):
            deliver()
        work()
        configure(RATE_LIMITS={"test.one": 1000.0})
        (theirs,) = dispatch.pause(webhook=webhook)
        dispatch.resume(receiver="test.one")
        calls.clear()

        claim.claim_throttled(ALIAS)

        assert Counter(Run.objects.filter(receiver="test.one").values_list("held_by", flat=True)) == {theirs.pk: 5}
        drain()
        assert calls == []
        dispatch.resume(webhook=webhook)
        drain()
        assert calls == [f"one dlv_{number}" for number in range(1, 6)]


class TestKnowledge:
    """A pause is in force in every process within a second, survives restarts and is shown."""

    def test_a_pause_of_another_process_is_known_within_a_second(
        self, deliver: Deliver, two: None, calls: list[str]
    ) -> None:
        deliver()
        work()
        assert hold_cache.get(ALIAS).is_idle
        elsewhere(lambda: Hold.objects.create(scope="receiver:test.one", paused_at=timezone.now(), is_empty=False))

        wait_until(lambda: not hold_cache.get(ALIAS).is_idle)
        deliver()
        work()

        assert calls == ["one dlv_1", "two dlv_1", "two dlv_2"]
        assert REFRESH_SECONDS < 1

    def test_a_pause_by_the_command_of_another_process_holds_in_a_worker(
        self, deliver: Deliver, two: None, calls: list[str]
    ) -> None:
        deliver()
        work()
        pause_in_another_process(reason="Deployment")
        wait_until(lambda: hold_cache.get(ALIAS).is_paused)
        deliver()
        work()

        assert calls == ["one dlv_1", "two dlv_1"]
        (hold,) = api.paused()
        assert (hold.scope, hold.reason) == ("", "Deployment")

    def test_it_holds_runs_that_are_claimed_but_not_started(self, deliver: Deliver, connect: Connect) -> None:
        """A claim of twenty slow runs must not go on for minutes."""
        ran: list[str] = []

        def slow(*, delivery: Delivery, **kwargs: Any) -> None:
            ran.append(delivery.delivery_id)
            if len(ran) == 2:
                Hold.objects.create(scope="receiver:test.slow", paused_at=timezone.now(), is_empty=False)
                hold_cache.invalidate()  # as REFRESH_SECONDS later

        connect(signals.ticket_created, slow, "test.slow", atomic=False)
        for _ in range(5):
            deliver()

        work()

        assert ran == ["dlv_1", "dlv_2"]
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 2, ("waiting", 0): 3}
        dispatch.resume(receiver="test.slow")
        work()
        assert ran == [f"dlv_{number}" for number in range(1, 6)]
        assert set(Run.objects.values_list("tries", flat=True)) == {1}

    def test_a_resumption_is_known_at_once_in_the_process_that_makes_it(self) -> None:
        for _ in range(5):
            dispatch.pause()
            dispatch.resume()
            assert hold_cache.get(ALIAS).is_paused is False

    def test_a_pause_that_is_rolled_back_has_no_effect(self, deliver: Deliver, two: None, calls: list[str]) -> None:
        with transaction.atomic():
            dispatch.pause()
            assert hold_cache.get(ALIAS).is_paused
            transaction.set_rollback(True)
        hold_cache.invalidate()

        deliver()
        work()
        assert len(calls) == 2

    def test_pausing_again_changes_who_and_why_but_not_since_when(self) -> None:
        (first,) = dispatch.pause(reason="one", by="sara")
        (second,) = dispatch.pause(reason="two", by="omar")

        assert (second.pk, second.paused_at) == (first.pk, first.paused_at)
        assert (second.reason, second.paused_by) == ("two", "omar")

        (third,) = dispatch.pause(by="nadia")
        assert (third.reason, third.paused_by, third.paused_at) == ("two", "omar", second.paused_at)

    def test_resuming_without_a_pause_does_nothing(self) -> None:
        assert dispatch.resume() == []
        assert dispatch.resume(receiver="test.none") == []
        assert dispatch.resume(webhook=uuid.uuid4()) == []


class TestMovesBetweenHolds:
    """Runs are moved to a hold and back, also if a process dies in between."""

    @pytest.fixture
    def held(self, deliver: Deliver, two: None, monkeypatch: pytest.MonkeyPatch) -> Hold:
        """Nine runs of a paused hold, moved two at a time."""
        (hold,) = dispatch.pause(receiver="test.one")
        for _ in range(9):
            deliver()
        work()
        monkeypatch.setattr(pauses, "BATCH_SIZE", 2)
        return hold

    def number_held(self, held_by: int) -> int:
        return Run.objects.filter(held_by=held_by, next_try_at__isnull=False).count()

    def test_a_worker_completes_a_resumption_that_was_killed(
        self, held: Hold, monkeypatch: pytest.MonkeyPatch, calls: list[str]
    ) -> None:
        monkeypatch.setattr(pauses, "BATCHES_AT_ONCE", 1)
        dispatch.resume(receiver="test.one")
        assert (self.number_held(held.pk), self.number_held(NOT_HELD)) == (7, 2)
        calls.clear()

        drain()

        assert Counter(calls) == {f"one dlv_{number}": 1 for number in range(1, 10)}
        assert Hold.objects.get(pk=held.pk).is_empty
        assert hold_cache.get(ALIAS).is_idle

    def test_a_pause_that_was_killed_keeps_runs_from_starting(
        self, deliver: Deliver, two: None, monkeypatch: pytest.MonkeyPatch, calls: list[str]
    ) -> None:
        for _ in range(7):
            deliver()
        dispatch.replay(Delivery.objects.all())
        Delivery.objects.update(dispatch_at=None)
        monkeypatch.setattr(pauses, "BATCHES_AT_ONCE", 0)
        (hold,) = dispatch.pause(receiver="test.one")
        assert self.number_held(hold.pk) == 0

        work()

        assert Counter(call.split()[0] for call in calls) == {"two": 7}
        assert self.number_held(hold.pk) == 7

    @pytest.mark.parametrize("finds", ["worker", "once"])
    def test_a_run_that_a_process_with_old_holds_created_is_found(
        self, held: Hold, calls: list[str], finds: str
    ) -> None:
        """That process read the holds, then the hold was resumed and emptied, then it created its runs."""
        stale = hold_cache.get(ALIAS)
        dispatch.resume(receiver="test.one")
        work()
        pauses.move_from_hold(ALIAS, held)
        delivery = Delivery.objects.latest("pk")
        assert Hold.objects.get(pk=held.pk).is_empty
        Run.objects.create(delivery=delivery, receiver="test.one", round=99, held_by=stale.held_by(None, "test.one"))
        calls.clear()
        work()
        assert calls == []

        if finds == "worker":
            Maintenance(ALIAS).run_once()
            work()
        else:
            drain()

        assert calls == ["one dlv_9"]

    def test_each_run_starts_once_with_concurrent_traffic_a_pause_and_a_resumption(
        self, deliver: Deliver, connect: Connect, webhook: Webhook
    ) -> None:
        connect(signals.ticket_created, lambda delivery, **kwargs: write(delivery.delivery_id), "test.one")
        paused, resumed, done = threading.Event(), threading.Event(), threading.Event()

        def send(who: int) -> None:
            mine = Sender(webhook)
            for number in range(15):
                if number == 5:
                    assert paused.wait(BOUND_SECONDS)
                if number == 10:
                    assert resumed.wait(BOUND_SECONDS)
                assert mine.post(envelope(delivery_id=f"{who}-{number:02}")).status_code == 200

        def control() -> None:
            dispatch.pause(receiver="test.one")
            paused.set()
            wait_until(lambda: Delivery.objects.count() >= 40, seconds=BOUND_SECONDS)
            dispatch.resume(receiver="test.one")
            resumed.set()

        def keep_working() -> None:
            maintenance = Maintenance(ALIAS)
            while not done.is_set():
                if not api.run_due(5):
                    maintenance.run_once()
                    done.wait(0.02)

        def see_to_the_end() -> None:
            wait_until(lambda: written() == 60, seconds=BOUND_SECONDS * 2)
            done.set()

        senders: list[Callable[[], None]] = [partial(send, who) for who in range(4)]
        at_once([*senders, control, keep_working, keep_working, see_to_the_end], stop=done)

        drain()
        assert names_written() == sorted(f"{who}-{number:02}" for who in range(4) for number in range(15))
        assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}


class TestClaim:
    """Held runs do not slow down the claim of others."""

    @pytest.fixture
    def held(self, deliver: Deliver, two: None) -> Hold:
        """A hold with so many older runs that reading them would be visible."""
        (hold,) = dispatch.pause(receiver="test.one")
        delivery = deliver()
        Delivery.objects.update(dispatch_at=None)
        held = {"delivery": delivery, "receiver": "test.one", "held_by": hold.pk, "next_try_at": ago(hours=1)}
        Run.objects.bulk_create((Run(round=number, **held) for number in range(1, 6_001)), batch_size=2_000)
        Run.objects.bulk_create(
            Run(delivery=delivery, receiver="test.two", round=number, next_try_at=timezone.now())
            for number in range(1, 51)
        )
        with connection.cursor() as cursor:
            table = connection.ops.quote_name(Run._meta.db_table)
            cursor.execute(
                {"postgresql": f"ANALYZE {table}", "mysql": f"ANALYZE TABLE {table}"}.get(connection.vendor, "ANALYZE")
            )
            if connection.vendor == "mysql":
                cursor.fetchall()
        return hold

    def test_it_uses_the_index_of_due_runs_and_reads_few_rows(self, held: Hold) -> None:
        due = Run.objects.filter(held_by=NOT_HELD, next_try_at__lte=timezone.now()).order_by("next_try_at")[:20]
        if connection.vendor == "postgresql":
            plan = due.explain(analyze=True, buffers=True)
            read = [int(word.removeprefix("rows=")) for word in plan.replace(")", " ").split() if "rows=" in word]
            assert "nateq_run_due" in plan
            assert "Rows Removed" not in plan
            assert max(read[1::2]) <= 100, plan
        elif connection.vendor == "mysql":
            with connection.cursor() as cursor:
                sql, parameters = due.query.sql_with_params()
                cursor.execute(f"ANALYZE FORMAT=JSON {sql}", parameters)
                plan = cursor.fetchone()[0]
            assert '"key": "nateq_run_due"' in plan, plan
            assert '"r_rows": 20' in plan, plan
        else:
            plan = due.explain()
            assert "nateq_run_due (held_by=? AND next_try_at<?)" in plan
            assert "TEMP B-TREE" not in plan

    def test_it_claims_runs_that_are_not_held(self, held: Hold) -> None:
        claimed = claim.claim_runs(ALIAS, 20)

        assert {run.receiver for run in claimed.runs} == {"test.two"}
        assert (len(claimed.runs), claimed.moved) == (20, 0)


def test_without_holds_it_costs_no_statement_most_of_the_time(
    deliver: Deliver, two: None, django_assert_num_queries: Any
) -> None:
    hold_cache.get(ALIAS)
    with django_assert_num_queries(0):
        for _ in range(100):
            hold_cache.get(ALIAS)
            hold_cache.recent(ALIAS)


def test_a_pause_outlives_its_process(deliver: Deliver, two: None) -> None:
    pause_in_another_process(receiver="tests.runners.site.receivers.write_once")
    deliver()

    assert run_process("-m", "django", "nateq_worker", "--once").strip() == "0 runs were due."
    assert [hold.scope for hold in api.paused()] == ["receiver:tests.runners.site.receivers.write_once"]


def test_a_resumption_that_is_rolled_back_starts_nothing(deliver: Deliver, two: None, calls: list[str]) -> None:
    dispatch.pause()
    with transaction.atomic():
        dispatch.resume()
        assert hold_cache.get(ALIAS).is_idle
        transaction.set_rollback(True)
    deliver()

    drain()

    assert calls == []
