"""Runs that are inserted together with their delivery, claimed by the request that stores it (`DISPATCH` "inline")."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run
from tests.conftest import Sender, envelope
from tests.dispatch.scene import (
    BOUND_SECONDS,
    Configure,
    Connect,
    at_once,
    elsewhere,
    lapse_leases,
    make_due,
    write,
    written,
)
from tests.test_views import has_returning
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

EXOTIC = {
    "plain": envelope(),
    "another time zone": envelope() | {"timestamp": "2026-06-30T14:00:00.123456+05:30"},
    "no time": envelope() | {"timestamp": None},
    "Arabic and emoji": envelope(data={"id": "tkt_سارة", "subject": "😀 e\u0301"}),
    "not queryable": envelope(data={"id": "tkt_1", "subject": "a\0b"}),
    "cut": envelope(delivery_id="x" * 300, data={"id": "y" * 300}),
    "numbers": envelope(data={"id": 7, "price": 1.5, "count": -3, "list": [1, [2, {"a": None}], True]}),
    "no delivery id": envelope(delivery_id=None, attempt="2"),
}


@pytest.fixture(autouse=True)
def _inline(configure: Configure) -> None:
    configure(DISPATCH="inline")


@pytest.fixture(params=[True, False], ids=["with the insert", "claimed afterwards"])
def inserted(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Both ways: what holds for one must hold for the other."""
    if not request.param:
        monkeypatch.setattr(api, "runs_to_insert", lambda event: [])
    return bool(request.param) and has_returning()


def needs_a_server() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer: nothing can be written elsewhere while a receiver writes")


def state() -> tuple[str, set[str], bool]:
    """Return the delivery's status, those of its runs, and whether nothing is left to be finalized."""
    runs = Run.objects.all()
    is_finalized = not runs.filter(next_try_at__isnull=False).exists()
    return Delivery.objects.get().status, set(runs.values_list("status", flat=True)), is_finalized


class TestDelivery:
    @pytest.mark.parametrize("body", EXOTIC.values(), ids=EXOTIC)
    def test_is_as_it_would_be_read_from_the_database(self, sender: Sender, connect: Connect, body: Any) -> None:
        seen: list[Delivery] = []
        connect(signals.event_received, lambda *, delivery, **kwargs: seen.append(delivery))

        assert sender.post(body).status_code == 200

        stored = Delivery.objects.get()
        names = [field.attname for field in Delivery._meta.concrete_fields if field.attname != "status"]
        assert {name: getattr(seen[0], name) for name in names} == {name: getattr(stored, name) for name in names}
        assert (seen[0]._state.db, seen[0]._state.adding, seen[0]) == ("default", False, stored)
        assert seen[0].status == "received"
        assert seen[0].load_event() == stored.load_event()

    def test_of_one_receiver_is_not_that_of_another(self, sender: Sender, connect: Connect) -> None:
        def changes(*, delivery: Delivery, event: Any, **kwargs: Any) -> None:
            assert delivery.payload is not None
            seen.append((delivery.payload["data"].pop("id"), event.data.pop("id"), delivery.load_event().data["id"]))
            delivery.headers.clear()
            delivery.delivery_id = "mine"

        seen: list[tuple[str, str, str]] = []
        connect(signals.ticket_created, partial(changes), "test.one")
        connect(signals.ticket_created, partial(changes), "test.two")

        sender.post(envelope())

        assert seen == [("tkt_1", "tkt_1", "tkt_1")] * 2
        assert Delivery.objects.get().delivery_id == "dlv_1"

    def test_can_be_saved_by_a_receiver_and_is_not_dispatched_again(self, sender: Sender, connect: Connect) -> None:
        def saves(*, delivery: Delivery, **kwargs: Any) -> None:
            write("mine")
            delivery.save()

        connect(signals.ticket_created, saves)

        sender.post(envelope())

        assert state() == ("processed", {"succeeded"}, True)
        lapse_leases()
        assert (api.run_due(), written("mine")) == (0, 1)


class TestRuns:
    def test_are_stored_before_the_first_receiver_starts(
        self, sender: Sender, connect: Connect, inserted: bool
    ) -> None:
        seen: list[list[tuple[str, str, int, bool]]] = []

        def looks(*, run: Run, **kwargs: Any) -> None:
            rows = Run.objects.order_by("pk")
            seen.append([(row.receiver, row.status, row.tries, row.started_at is not None) for row in rows])
            keys.append((run.pk, run.idempotency_key, run.tries))

        keys: list[tuple[int, str, int]] = []
        for name in ("test.a", "test.b"):
            connect(signals.ticket_created, partial(looks), name)

        assert sender.post(envelope()).status_code == 200

        first, second = ("test.a", "running", 1, True), ("test.b", "running", 0, False)
        assert seen[0] == [first, second]
        assert [(row.pk, row.idempotency_key, 1) for row in Run.objects.order_by("pk")] == keys
        assert state() == ("processed", {"succeeded"}, True)

    @pytest.mark.parametrize("count", [0, 1, 3, 30])
    def test_all_run_once_and_leave_nothing_to_do(self, sender: Sender, connect: Connect, count: int) -> None:
        for number in range(count):
            connect(signals.ticket_created, lambda **kwargs: write("mine"), f"test.{number}")

        assert sender.post(envelope()).status_code == 200

        assert (written("mine"), Run.objects.count()) == (count, count)
        assert Delivery.objects.get().status == "processed"
        lapse_leases()
        assert api.run_due() == 0

    def test_of_a_delivery_that_has_arrived_before_are_not_touched(self, sender: Sender, connect: Connect) -> None:
        def sends_again(**kwargs: Any) -> None:
            write("mine")
            answers.append(sender.post(envelope(attempt=2)).json()["status"])
            rows.append(list(Run.objects.values_list("status", "tries")))

        answers: list[str] = []
        rows: list[list[tuple[str, int]]] = []
        connect(signals.ticket_created, sends_again, atomic=False)

        assert sender.post(envelope()).json()["status"] == "stored"
        assert sender.post(envelope(attempt=3)).json()["status"] == "already stored"

        assert answers == ["already stored"]
        assert rows == [[("running", 1)]]
        assert (written("mine"), Delivery.objects.get().attempts_seen) == (1, 3)
        assert state() == ("processed", {"succeeded"}, True)

    def test_of_one_delivery_that_arrives_many_times_at_once_run_once(self, sender: Sender, connect: Connect) -> None:
        needs_a_server()
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.a")
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.b")

        answers = at_once([lambda: sender.post(envelope()).status_code] * 6)

        assert answers == [200] * 6
        assert (written("mine"), Run.objects.count(), Delivery.objects.get().attempts_seen) == (2, 2, 6)
        assert state() == ("processed", {"succeeded"}, True)

    @pytest.mark.parametrize(
        "died_in", ["nateq_webhooks.runners.inline.api.run_inserted", "nateq_webhooks.dispatch.execute.call"]
    )
    def test_of_a_process_that_died_are_run_by_a_worker_when_their_lease_has_ended(
        self, sender: Sender, connect: Connect, monkeypatch: pytest.MonkeyPatch, died_in: str
    ) -> None:
        if not has_returning():
            pytest.skip("MySQL returns no keys: the runs are claimed afterwards")

        class KilledError(BaseException):
            pass

        def dies(*args: Any, **kwargs: Any) -> None:
            raise KilledError

        for name in ("test.a", "test.b"):
            connect(signals.ticket_created, lambda **kwargs: write("mine"), name)
        with monkeypatch.context() as patch:
            patch.setattr("nateq_webhooks.dispatch.execute._Execution.release_the_rest", lambda self: None)
            patch.setattr("nateq_webhooks.dispatch.execute.record_failure", dies)
            patch.setattr(died_in, dies)
            sender.post(envelope())
        assert state() == ("received", {"running"}, False)
        assert api.run_due() == 0

        lapse_leases()
        while api.run_due():
            make_due()

        assert written("mine") == 2
        assert state() == ("processed", {"succeeded"}, True)

    def test_that_fail_are_tried_again_and_the_others_are_not(
        self, sender: Sender, connect: Connect, inserted: bool
    ) -> None:
        def fails_once(*, run: Run, **kwargs: Any) -> None:
            write("failing")
            if run.tries == 1:
                raise ValueError("broken")

        connect(signals.ticket_created, lambda **kwargs: write("before"), "test.a")
        connect(signals.ticket_created, fails_once, "test.b")
        connect(signals.ticket_created, lambda **kwargs: write("after"), "test.c")

        assert sender.post(envelope()).status_code == 200
        assert state() == ("failed", {"succeeded", "failed"}, False)
        assert (written("before"), written("failing"), written("after")) == (1, 0, 1)

        make_due()
        api.run_due()
        assert state() == ("processed", {"succeeded"}, True)
        assert (written("before"), written("failing"), written("after")) == (1, 1, 1)

    def test_are_announced_once_when_the_delivery_is_processed(
        self, sender: Sender, connect: Connect, inserted: bool
    ) -> None:
        announced: list[tuple[str, bool]] = []

        def hears(*, delivery: Delivery, **kwargs: Any) -> None:
            announced.append((delivery.status, connection.in_atomic_block))

        connect(signals.ticket_created, lambda **kwargs: None, "test.a")
        connect(signals.ticket_created, lambda **kwargs: None, "test.b")
        signals.delivery_processed.connect(hears)
        try:
            sender.post(envelope())
            sender.post(envelope(attempt=2))
        finally:
            signals.delivery_processed.disconnect(hears)

        assert announced == [("processed", False)]


class TestClaimedAfterwards:
    """What may hold a run back is asked first: then the delivery is stored alone."""

    def held_back(self, sender: Sender) -> bool:
        """Return whether a delivery is stored without runs."""
        taken: list[dispatch.Due] = []

        class Keeps:
            hold = api.runner().hold
            runs_in_request = True

            def wake(self, due: dispatch.Due) -> None:
                taken.append(due)

        with api.use_runner(Keeps()):
            sender.post(envelope(delivery_id="looked at"))
        return not taken[0].runs and taken[0].dispatch_at is not None

    @pytest.fixture(autouse=True)
    def _receiver(self, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: write("mine"), "test.mine")

    def test_is_not_what_an_idle_site_does(self, sender: Sender) -> None:
        assert self.held_back(sender) is not has_returning()

    @pytest.mark.parametrize(
        "changed",
        [
            {"ORDERED_BY": "data.id"},
            {"RATE_LIMITS": {"test.mine": "1/s"}},
            {"ACK": "processed"},
            {"DISPATCH": "worker"},
        ],
        ids=["an order", "a rate limit", "answers that wait", "a worker"],
    )
    def test_is_what_a_setting_demands(self, sender: Sender, configure: Configure, changed: dict[str, Any]) -> None:
        configure(**changed)

        assert api.runs_to_insert("ticket.created") == []

    @pytest.mark.parametrize("scope", [{}, {"receiver": "test.mine"}], ids=["everything", "a receiver"])
    def test_is_what_a_pause_demands(self, sender: Sender, scope: dict[str, Any]) -> None:
        dispatch.pause(reason="CRM is being moved", **scope)

        assert self.held_back(sender)
        sender.post(envelope())
        assert written("mine") == 0
        dispatch.resume(**scope)

    def test_is_what_an_open_breaker_demands(self, sender: Sender, configure: Configure, connect: Connect) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        configure(BREAKER_AFTER=1)
        connect(signals.ticket_created, fails, "test.fails")
        sender.post(envelope())

        assert self.held_back(sender)

    def test_is_what_a_runner_of_the_sites_own_gets(self, sender: Sender, settings: Settings) -> None:
        settings.NATEQ_WEBHOOKS = {"DISPATCH": "tests.test_views.Held"}

        sender.post(envelope())

        assert Delivery.objects.get().dispatch_at is not None
        assert not Run.objects.exists()


class TestTheLastRun:
    """It marks its delivery as processed in the transaction of the receiver."""

    def finish_beside(
        self, sender: Sender, connect: Connect, beside: Callable[[], object]
    ) -> tuple[str, set[str], bool]:
        """Do something on another connection while the receiver is at work; return the state afterwards."""

        def works(**kwargs: Any) -> None:
            write("mine")
            elsewhere(beside)

        connect(signals.ticket_created, works, "test.mine")
        sender.post(envelope())
        return state()

    def test_leaves_a_delivery_that_got_a_replay_meanwhile(
        self, sender: Sender, connect: Connect, inserted: bool
    ) -> None:
        needs_a_server()

        def replays() -> None:
            connect(signals.ticket_created, lambda **kwargs: write("other"), "test.other")
            dispatch.replay(Delivery.objects.all(), receivers=["test.other"])

        assert self.finish_beside(sender, connect, replays) == ("received", {"succeeded", "waiting"}, False)
        assert Run.objects.get(receiver="test.mine").next_try_at is None

        api.run_due()
        assert state() == ("processed", {"succeeded"}, True)
        assert (written("mine"), written("other")) == (1, 1)

    def test_does_not_wait_for_a_delivery_that_another_transaction_has_locked(
        self, sender: Sender, connect: Connect, inserted: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It commits, and finalizes apart."""
        needs_a_server()
        locked, committed = threading.Event(), threading.Event()
        seen: list[str] = []

        def holds_the_lock() -> None:
            with transaction.atomic():
                Delivery.objects.update(last_received_at=Delivery.objects.get().received_at)
                locked.set()
                committed.wait(BOUND_SECONDS)
                seen.extend(Run.objects.values_list("status", flat=True))

        def works(**kwargs: Any) -> None:
            write("mine")
            thread.start()
            locked.wait(BOUND_SECONDS)

        def watches() -> None:
            wait_until(lambda: Run.objects.filter(status="succeeded").exists(), seconds=BOUND_SECONDS)
            committed.set()

        thread = threading.Thread(target=partial(elsewhere, holds_the_lock))
        watcher = threading.Thread(target=partial(elsewhere, watches))
        connect(signals.ticket_created, works)
        watcher.start()
        sender.post(envelope())
        thread.join(BOUND_SECONDS)
        watcher.join(BOUND_SECONDS)

        assert seen == ["succeeded"]
        assert written("mine") == 1
        assert state() == ("processed", {"succeeded"}, True)

    def test_of_two_that_finish_in_two_processes_at_once_one_finalizes(
        self, sender: Sender, connect: Connect, configure: Configure
    ) -> None:
        needs_a_server()
        announced: list[int] = []
        barrier = threading.Barrier(2)

        def hears(*, delivery: Delivery, **kwargs: Any) -> None:
            announced.append(delivery.pk)

        def works(**kwargs: Any) -> None:
            write("mine")
            barrier.wait(BOUND_SECONDS)

        connect(signals.ticket_created, partial(works), "test.a")
        connect(signals.ticket_created, partial(works), "test.b")
        configure(DISPATCH="worker")
        signals.delivery_processed.connect(hears)
        try:
            for number in range(1, 6):
                sender.post(envelope(delivery_id=f"dlv_{number}"))
                delivery = Delivery.objects.get(delivery_id=f"dlv_{number}")
                dispatch.replay(delivery)  # creates its first runs, for workers to claim
                at_once([partial(api.run_due, 1), partial(api.run_due, 1)])
                delivery.refresh_from_db()
                assert delivery.status == "processed"
                assert announced == [delivery.pk]
                announced.clear()
        finally:
            signals.delivery_processed.disconnect(hears)
        assert not Run.objects.filter(next_try_at__isnull=False).exists()
        assert written("mine") == 10

    def test_of_a_receiver_that_deletes_its_delivery_fails_and_undoes_that(
        self, sender: Sender, connect: Connect, inserted: bool
    ) -> None:
        def deletes(*, delivery: Delivery, **kwargs: Any) -> None:
            delivery.delete()

        connect(signals.ticket_created, deletes)
        sender.post(envelope())

        assert state() == ("failed", {"failed"}, False)
        assert "deleted its own delivery" in Run.objects.get().error
