"""Order: a key's deliveries run one at a time in the order they came, for each receiver."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api, order
from nateq_webhooks.dispatch.create import claim_deliveries
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.errors import GiveUp
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, OrderLock
from nateq_webhooks.runners.worker import drain
from tests.conftest import SECRET, Sender, envelope, wait_until
from tests.dispatch.scene import (
    ALIAS,
    BOUND_SECONDS,
    Configure,
    Connect,
    Deliver,
    at_once,
    bring_forward,
    execute_only,
    lapse_leases,
    make_due,
    names_written,
    write,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _ordered(configure: Configure) -> None:
    configure(ORDERED_BY="data.conversation")


@pytest.fixture
def calls() -> list[str]:
    """Which deliveries a receiver was called for, in order."""
    return []


def of(conversation: object) -> dict[str, Any]:
    """The data of a delivery of this conversation."""
    return {"data": {"id": "msg_1", "conversation": conversation}}


def note(calls: list[str]) -> Callable[..., None]:
    def receive(*, delivery: Delivery, **kwargs: Any) -> None:
        calls.append(delivery.delivery_id)

    return receive


def work() -> None:
    while api.run_due():
        pass


class TestInOrder:
    def test_several_workers_and_random_failures_keep_each_keys_order(self, deliver: Deliver, connect: Connect) -> None:
        """Each try at work marks its key: nobody else may be at work on it, and it must be the head of the queue."""
        dice, lock = random.Random(6), threading.Lock()
        at_work: set[str] = set()
        done: dict[str, list[str]] = defaultdict(list)
        broken: list[str] = []

        def receive(*, event: Any, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            key = f"{run.receiver} {event.data['conversation']}"
            with lock:
                if key in at_work:
                    broken.append(f"two at once: {key}")
                at_work.add(key)
                fails = dice.random() < 0.3
            try:
                if fails:
                    raise ValueError("broken")
                with lock:
                    done[key].append(delivery.delivery_id)
                write(f"{run.receiver} {delivery.delivery_id}")
            finally:
                with lock:
                    at_work.discard(key)

        for name in ("test.one", "test.two"):
            connect(signals.ticket_created, lambda **kwargs: receive(**kwargs), name, atomic=False)
        came: dict[str, list[str]] = defaultdict(list)
        for _ in range(40):
            key = f"cnv_{dice.randrange(4)}"
            came[key].append(deliver(**of(key)).delivery_id)
        finished = threading.Event()

        def keep_working() -> None:
            while not finished.is_set():
                if not api.run_due(3):
                    make_due_again()
                    finished.wait(0.01)

        def see_to_the_end() -> None:
            wait_until(lambda: Delivery.objects.filter(status="processed").count() == 40, seconds=BOUND_SECONDS * 3)
            finished.set()

        at_once([keep_working] * 4 + [see_to_the_end], stop=finished)

        assert broken == []
        assert done == {f"{name} {key}": ids for key, ids in came.items() for name in ("test.one", "test.two")}
        assert len(names_written()) == 80
        assert not OrderLock.objects.exists()

    def test_inline_requests_at_once_keep_the_order_in_which_they_were_stored(
        self, webhook: Webhook, connect: Connect, configure: Configure
    ) -> None:
        configure(DISPATCH="inline")
        lock, at_work, ran = threading.Lock(), set[int](), list[int]()
        broken: list[str] = []

        def receive(*, delivery: Delivery, **kwargs: Any) -> None:
            with lock:
                if at_work:
                    broken.append(f"{delivery.pk} beside {at_work}")
                at_work.add(delivery.pk)
                ran.append(delivery.pk)
            write(str(delivery.pk))
            with lock:
                at_work.discard(delivery.pk)

        connect(signals.ticket_created, receive, "test.one", atomic=False)

        def send(who: int) -> None:
            mine = Sender(webhook)
            for number in range(5):
                body = envelope(delivery_id=f"{who}-{number}", **of("cnv_1"))
                assert mine.post(body).status_code == 200

        at_once([partial(send, who) for who in range(4)])
        drain()

        assert broken == []
        assert ran == sorted(Delivery.objects.values_list("pk", flat=True))
        assert not OrderLock.objects.exists()

    def test_a_run_to_be_tried_again_holds_up_those_behind_it_and_nobody_else(
        self, deliver: Deliver, connect: Connect, calls: list[str]
    ) -> None:
        def fails_once(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            if delivery.delivery_id == "dlv_1" and run.tries == 1:
                raise ValueError("broken")
            calls.append(delivery.delivery_id)

        connect(signals.ticket_created, fails_once)
        deliver(**of("cnv_1"))
        deliver(**of("cnv_1"))
        deliver(**of("cnv_2"))
        work()
        assert calls == ["dlv_3"]

        make_due()
        work()

        assert calls == ["dlv_3", "dlv_1", "dlv_2"]

    def test_each_receiver_has_an_order_of_its_own(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        def fails(**kwargs: Any) -> None:
            raise ValueError("broken")

        connect(signals.ticket_created, fails, "test.fails")
        connect(signals.ticket_created, note(calls), "test.works")
        for _ in range(3):
            deliver(**of("cnv_1"))
        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_what_has_no_key_runs_as_it_comes(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        def fails_at_first(*, delivery: Delivery, **kwargs: Any) -> None:
            calls.append(delivery.delivery_id)
            if delivery.delivery_id == "dlv_1":
                raise ValueError("broken")

        connect(signals.ticket_created, fails_at_first)
        for data in ({"id": "tkt_1"}, {"conversation": None}, [1], "text", None):
            deliver(data=data)
        work()

        assert sorted(calls) == [f"dlv_{number}" for number in range(1, 6)]
        assert not OrderLock.objects.exists()

    @pytest.mark.parametrize("key", ["cnv_1", 7, 1.5, True, ["a", 1], {"b": 1, "a": [2]}, "😀\u0000", ""], ids=repr)
    def test_a_key_may_be_any_value(self, deliver: Deliver, connect: Connect, calls: list[str], key: object) -> None:
        connect(signals.ticket_created, note(calls))
        deliver(**of(key))
        deliver(**of(key))
        claim_deliveries(ALIAS, 20)

        first, second = OrderLock.objects.order_by("position")
        assert (first.head_key, second.head_key, second.key) == (first.key, None, first.key)
        work()
        assert calls == ["dlv_1", "dlv_2"]

    def test_a_number_and_its_text_are_two_keys(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        connect(signals.ticket_created, note(calls))
        deliver(**of(7))
        deliver(**of("7"))
        claim_deliveries(ALIAS, 20)

        assert OrderLock.objects.exclude(head_key=None).count() == 2

    def test_an_earlier_delivery_that_a_dead_request_held_runs_first(
        self, deliver: Deliver, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, note(calls))
        first = deliver(**of("cnv_1"))
        Delivery.objects.filter(pk=first.pk).update(dispatch_at=timezone.now())
        Delivery.objects.filter(pk=first.pk).update(dispatch_at=first.received_at)
        second = deliver(**of("cnv_1"))

        api.run_delivery(second.pk, dispatch_at=second.dispatch_at)
        work()

        assert calls == ["dlv_1", "dlv_2"]

    def test_a_request_runs_nothing_of_others_that_no_order_holds_back(
        self, deliver: Deliver, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, note(calls))
        deliver(data={"id": "tkt_1"})
        mine = deliver(data={"id": "tkt_2"})

        api.run_delivery(mine.pk, dispatch_at=mine.dispatch_at)

        assert calls == ["dlv_2"]
        work()
        assert calls == ["dlv_2", "dlv_1"]


def make_due_again() -> None:
    """Let the time go by that failed runs wait."""
    bring_forward(Run.objects.filter(status="failed"), timezone.now())


class TestGivenUp:
    @pytest.fixture
    def gives_up(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        """The first of three deliveries of a key is given up; replayed it works."""

        def receive(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            if delivery.delivery_id == "dlv_1" and not run.is_replay:
                raise GiveUp("no")
            calls.append(delivery.delivery_id)

        connect(signals.ticket_created, receive)
        for _ in range(3):
            deliver(**of("cnv_1"))

    def test_it_is_stepped_over(self, gives_up: None, calls: list[str]) -> None:
        work()

        assert calls == ["dlv_2", "dlv_3"]
        assert not OrderLock.objects.exists()

    def test_it_stops_those_behind_it_if_that_is_set_until_a_replay_succeeds(
        self, gives_up: None, calls: list[str], configure: Configure
    ) -> None:
        configure(ORDER_ON_DEAD="block")
        work()
        Maintenance(ALIAS).run_once()
        work()
        assert calls == []

        dispatch.replay(Delivery.objects.get(delivery_id="dlv_1"))
        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_what_is_set_may_be_changed_while_it_stops_them(
        self, gives_up: None, calls: list[str], configure: Configure
    ) -> None:
        configure(ORDER_ON_DEAD="block")
        work()
        configure(ORDER_ON_DEAD="skip")
        drain()

        assert calls == ["dlv_2", "dlv_3"]


class TestReplayed:
    def test_replays_keep_the_order_too(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        def fails_once(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
            if run.is_replay and delivery.delivery_id == "dlv_1" and run.tries == 1:
                raise ValueError("broken")
            calls.append(delivery.delivery_id)

        connect(signals.ticket_created, fails_once)
        for _ in range(3):
            deliver(**of("cnv_1"))
        work()
        calls.clear()

        dispatch.replay(Delivery.objects.order_by("-pk"))
        work()
        assert calls == []
        make_due()
        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]


class TestKilled:
    """Whoever dies in between leaves nothing that nobody calls up."""

    @pytest.fixture
    def line(self, deliver: Deliver, connect: Connect, calls: list[str]) -> None:
        connect(signals.ticket_created, note(calls), "test.one")
        for _ in range(3):
            deliver(**of("cnv_1"))

    def test_after_making_the_runs_and_before_calling_the_first_up(
        self, line: None, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(order, "_promote", lambda *args: None)
            claim_deliveries(ALIAS, 20)
        work()
        assert calls == []

        drain()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_after_running_and_before_leaving_the_queue(self, line: None, calls: list[str]) -> None:
        claim_deliveries(ALIAS, 20)
        claimed = next_claim()
        execute_only(claimed)
        Run.objects.filter(status="succeeded").update(next_try_at=timezone.now())

        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_after_leaving_the_queue_and_before_promoting_the_next(
        self, line: None, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claim_deliveries(ALIAS, 20)
        claimed = next_claim()
        execute_only(claimed)
        with monkeypatch.context() as patch:
            patch.setattr(order, "_promote", lambda *args: None)
            order.dequeue(ALIAS, list(Run.objects.filter(status="succeeded")))
        work()
        assert calls == ["dlv_1"]

        drain()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_while_the_receiver_works(self, line: None, calls: list[str]) -> None:
        claim_deliveries(ALIAS, 20)
        next_claim()
        work()
        assert calls == []
        lapse_leases()
        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]

    def test_trouble_with_the_next_in_line_loses_nothing_that_was_claimed(
        self, line: None, calls: list[str], deliver: Deliver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*args: Any) -> None:
            raise OperationalError("gone")

        deliver(data={"id": "without"})
        with monkeypatch.context() as patch:
            patch.setattr(order, "_promote", broken)
            api.run_due()
        assert calls == ["dlv_4"]
        drain()
        assert calls == ["dlv_4", "dlv_1", "dlv_2", "dlv_3"]

    def test_a_deadlock_while_a_run_leaves_the_queue_is_retried(
        self, line: None, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = [1213, 1213]

        def deadlocks(alias: str, key: str) -> int | None:
            if failures:
                raise OperationalError(failures.pop(), "Deadlock found when trying to get lock")
            return promote(alias, key)

        promote = order._promote
        monkeypatch.setattr(order, "_promote", deadlocks)
        work()

        assert calls == ["dlv_1", "dlv_2", "dlv_3"]


def next_claim() -> Any:
    """Claim what is up."""
    from nateq_webhooks.dispatch.claim import claim_runs

    claimed = claim_runs(ALIAS, 20)
    assert len(claimed.runs) == 1
    return claimed


def test_switched_off_with_order_locks_left_everything_runs(
    deliver: Deliver, connect: Connect, calls: list[str], configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order, "BATCH_SIZE", 2)
    connect(signals.ticket_created, note(calls))
    for _ in range(7):
        deliver(**of("cnv_1"))
    claim_deliveries(ALIAS, 20)
    assert Run.objects.filter(held_by=HELD_BY_ORDER).count() == 6
    configure(ORDERED_BY="")

    drain()

    assert sorted(calls) == [f"dlv_{number}" for number in range(1, 8)]
    assert not OrderLock.objects.exists()


def test_a_key_behind_a_pause_goes_on_in_order_afterwards(deliver: Deliver, connect: Connect, calls: list[str]) -> None:
    connect(signals.ticket_created, note(calls), "test.one")
    dispatch.pause(receiver="test.one")
    for _ in range(4):
        deliver(**of("cnv_1"))
    work()
    assert calls == []
    dispatch.resume(receiver="test.one")
    work()

    assert calls == [f"dlv_{number}" for number in range(1, 5)]


def test_while_everything_is_paused_a_delivery_keeps_its_place(
    sender: Sender, connect: Connect, calls: list[str], configure: Configure
) -> None:
    configure(DISPATCH="inline")
    connect(signals.ticket_created, note(calls), "test.one")
    dispatch.pause()
    for number in range(3):
        sender.post(envelope(delivery_id=f"dlv_{number}", **of("cnv_1")))
    dispatch.resume()
    drain()

    assert calls == ["dlv_0", "dlv_1", "dlv_2"]


def test_no_error_is_swallowed_that_is_not_the_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> None:
        raise TypeError("a mistake")

    monkeypatch.setattr(order, "_promote", broken)
    with pytest.raises(TypeError):
        order.promote(ALIAS, ["key"])


class TestSeveralWebhooks:
    @pytest.fixture
    def other(self, webhook: Webhook) -> Sender:
        return Sender(Webhook.objects.create(name="of another party", secret=SECRET))

    def test_one_partys_bad_delivery_stops_nobody_elses(
        self, deliver: Deliver, connect: Connect, configure: Configure, other: Sender, calls: list[str]
    ) -> None:
        configure(ORDERED_BY="data.conversation", ORDER_ON_DEAD="block")

        def receive(*, delivery: Delivery, **kwargs: Any) -> None:
            if delivery.webhook_id != other.webhook.pk:
                raise GiveUp("bad")
            calls.append(delivery.delivery_id)

        connect(signals.ticket_created, receive)
        deliver(**of("cnv_1"))
        deliver(**of("cnv_1"))
        other.post(envelope(delivery_id="good", **of("cnv_1")))
        work()

        assert calls == ["good"]
        assert sorted(Run.objects.values_list("status", flat=True)) == ["dead", "succeeded", "waiting"]
