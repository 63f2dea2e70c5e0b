"""`ACK = "processed"`: the answer waits for the receivers, and the sender's retries are the retry policy."""

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.utils import timezone

from nateq_webhooks import conf, dispatch, signals
from nateq_webhooks.dispatch import acknowledgement, api
from nateq_webhooks.errors import GiveUp, RetryLater
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import Hold
from tests.conftest import Sender, envelope
from tests.dispatch.scene import BOUND_SECONDS, Configure, Connect, at_once, written
from tests.dispatch.scene import write as write_row

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _processed(configure: Configure) -> None:
    configure(DISPATCH="inline", ACK="processed", RETRY_BASE=timedelta(hours=6))


@pytest.fixture
def calls() -> list[str]:
    """Which receiver was called, and at which try."""
    return []


def works(calls: list[str]) -> Callable[..., None]:
    def receive(*, run: Run, **kwargs: Any) -> None:
        calls.append(f"{run.receiver} {run.tries}")

    return receive


def fails(calls: list[str], times: int, error: Exception | None = None) -> Callable[..., None]:
    def receive(*, run: Run, **kwargs: Any) -> None:
        calls.append(f"{run.receiver} {run.tries}")
        if run.tries <= times:
            raise error or ValueError("broken")

    return receive


def asks_to_try_again(response: HttpResponse) -> bool:
    """Return whether the answer is 503 with the time after which to try again."""
    assert response.status_code in (200, 503)
    return response.status_code == 503 and int(response["Retry-After"]) > 0


class TestANewDelivery:
    def test_a_delivery_whose_receivers_all_succeed_is_acknowledged(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, works(calls), "one")
        connect(signals.ticket_created, works(calls), "two")

        response = sender.post(envelope())

        assert (response.status_code, response.json()) == (200, {"status": "stored"})
        assert calls == ["one 1", "two 1"]
        assert Delivery.objects.get().status == "processed"

    def test_a_delivery_of_which_a_receiver_fails_is_stored_and_answered_503(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, works(calls), "one")
        connect(signals.ticket_created, fails(calls, 1), "two")
        connect(signals.ticket_created, works(calls), "three")

        response = sender.post(envelope())

        assert asks_to_try_again(response)
        assert response.json() == {"error": "stored, but not processed yet, try again"}
        assert calls == ["one 1", "two 1", "three 1"]
        assert Delivery.objects.get().status == "failed"

    def test_a_delivery_without_receivers_is_acknowledged(self, sender: Sender) -> None:
        assert sender.post(envelope()).status_code == 200
        assert sender.post(envelope(attempt=2)).status_code == 200

    def test_an_ignored_delivery_is_acknowledged(
        self, sender: Sender, webhook: Webhook, connect: Connect, calls: list[str]
    ) -> None:
        webhook.events = ["user.created"]
        webhook.save()
        connect(signals.ticket_created, works(calls))

        assert sender.post(envelope()).status_code == 200
        assert sender.post(envelope()).status_code == 200
        assert calls == []

    def test_an_unreadable_delivery_is_a_bad_request(self, sender: Sender) -> None:
        assert sender.post(b"[]").status_code == 400

    @pytest.mark.parametrize("what", ["everything", "webhook", "receiver"])
    def test_a_paused_delivery_is_answered_503(
        self, sender: Sender, webhook: Webhook, connect: Connect, calls: list[str], what: str
    ) -> None:
        connect(signals.ticket_created, works(calls), "one")
        named: dict[str, Any] = {"everything": {}, "webhook": {"webhook": webhook}, "receiver": {"receiver": "one"}}
        dispatch.pause(**named[what])

        assert asks_to_try_again(sender.post(envelope()))
        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        assert calls == []
        dispatch.resume(**named[what])
        assert sender.post(envelope(attempt=3)).status_code == 200
        assert calls == ["one 1"]


class TestARetry:
    def test_a_retry_runs_only_receivers_that_have_not_succeeded(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        """Without waiting for its backoff, which is six hours here."""
        connect(signals.ticket_created, works(calls), "one")
        connect(signals.ticket_created, fails(calls, 2), "two")

        answers = [sender.post(envelope(attempt=attempt)).status_code for attempt in (1, 2, 3, 4)]

        assert answers == [503, 503, 200, 200]
        assert calls == ["one 1", "two 1", "two 2", "two 3"]
        assert Delivery.objects.get().status == "processed"

    def test_a_delivery_is_acknowledged_after_its_last_try(
        self, sender: Sender, connect: Connect, calls: list[str], configure: Configure
    ) -> None:
        configure(MAX_TRIES=2)
        connect(signals.ticket_created, fails(calls, 99), "one")

        assert [sender.post(envelope(attempt=attempt)).status_code for attempt in (1, 2, 3)] == [503, 200, 200]
        assert calls == ["one 1", "one 2"]
        assert Delivery.objects.get().status == "dead"

    def test_a_delivery_that_a_receiver_gives_up_is_acknowledged(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, fails(calls, 99, GiveUp("no")), "one")

        assert sender.post(envelope()).status_code == 200
        assert Delivery.objects.get().status == "dead"

    def test_a_retry_does_not_wait_as_a_receiver_asked(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, fails(calls, 1, RetryLater(3600)), "one")

        assert [sender.post(envelope(attempt=attempt)).status_code for attempt in (1, 2)] == [503, 200]

    def test_a_retry_runs_nothing_while_another_request_runs_the_receivers(
        self, sender: Sender, webhook: Webhook, connect: Connect, calls: list[str]
    ) -> None:
        at_work, go_on = threading.Event(), threading.Event()

        def slow(*, run: Run, **kwargs: Any) -> None:
            calls.append(run.receiver)
            at_work.set()
            assert go_on.wait(BOUND_SECONDS)

        connect(signals.ticket_created, slow, "one", atomic=False)
        connect(signals.ticket_created, works(calls), "two")

        def first() -> HttpResponse:
            response: HttpResponse = Sender(webhook).post(envelope())
            return response

        def second() -> HttpResponse:
            assert at_work.wait(BOUND_SECONDS)
            try:
                response: HttpResponse = Sender(webhook).post(envelope(attempt=2))
            finally:
                go_on.set()
            return response

        answers = at_once([first, second])

        assert answers[0].status_code == 200
        assert asks_to_try_again(answers[1])
        assert calls == ["one", "two 1"]

    def test_concurrent_retries_have_each_effect_once(
        self, webhook: Webhook, connect: Connect, calls: list[str]
    ) -> None:
        def fails_at_first(*, run: Run, **kwargs: Any) -> None:
            if run.tries == 1:
                raise ValueError("broken")
            write_row(run.receiver)

        connect(signals.ticket_created, lambda **kwargs: fails_at_first(**kwargs), "one")
        connect(signals.ticket_created, lambda **kwargs: fails_at_first(**kwargs), "two")
        for number in range(5):
            body = envelope(delivery_id=f"dlv_{number}")
            assert asks_to_try_again(Sender(webhook).post(body))

            answers = at_once([partial(Sender(webhook).post, body)] * 4)

            assert {answer.status_code for answer in answers} <= {200, 503}
            assert Sender(webhook).post(body).status_code == 200
        assert (written("one"), written("two")) == (5, 5)

    def test_a_retry_waits_for_the_lease_of_a_request_that_died(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        connect(signals.ticket_created, fails(calls, 1), "one")
        sender.post(envelope())
        Run.objects.update(status="running", next_try_at=timezone.now() + timedelta(minutes=5))
        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        Run.objects.update(next_try_at=timezone.now())

        assert sender.post(envelope(attempt=3)).status_code == 200
        assert calls == ["one 1", "one 2"]

    def test_a_retry_waits_for_the_hold_of_a_request_that_ran_nothing(
        self, sender: Sender, connect: Connect, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(signals.ticket_created, works(calls), "one")
        with monkeypatch.context() as patch:
            patch.setattr(api, "process", lambda receipt: False)
            assert asks_to_try_again(sender.post(envelope()))
        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        Delivery.objects.update(dispatch_at=timezone.now())

        assert sender.post(envelope(attempt=3)).status_code == 200
        assert calls == ["one 1"]

    def test_a_retry_that_creates_the_runs_tries_each_once(
        self, sender: Sender, connect: Connect, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connect(signals.ticket_created, fails(calls, 2), "one")
        with monkeypatch.context() as patch:
            patch.setattr(api, "process", lambda receipt: False)
            sender.post(envelope())
        Delivery.objects.update(dispatch_at=timezone.now())

        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        assert calls == ["one 1"]

    def test_a_retry_finalizes_the_delivery_of_a_dead_request(
        self, sender: Sender, connect: Connect, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There may be no worker."""
        from nateq_webhooks.dispatch import execute

        def dies(*args: Any) -> None:
            raise KeyboardInterrupt

        connect(signals.ticket_created, works(calls), "one")
        with monkeypatch.context() as patch:
            patch.setattr(execute, "_is_last_to_do", lambda *args: False)
            patch.setattr(execute, "_finalize", dies)
            with pytest.raises(KeyboardInterrupt):
                sender.post(envelope())
        assert (Run.objects.get().status, Delivery.objects.get().status) == ("succeeded", "received")

        assert sender.post(envelope(attempt=2)).status_code == 200
        assert Delivery.objects.get().status == "processed"
        assert Run.objects.get().next_try_at is None
        assert calls == ["one 1"]

    def test_a_retry_finds_a_run_that_a_resumed_hold_still_has(
        self, sender: Sender, connect: Connect, calls: list[str]
    ) -> None:
        """As after a killed resumption or a removed limit, without a worker."""
        connect(signals.ticket_created, fails(calls, 1), "one")
        sender.post(envelope())
        Run.objects.update(held_by=Hold.objects.create(scope="receiver:one").pk)

        assert sender.post(envelope(attempt=2)).status_code == 200
        assert Run.objects.get().held_by == 0

    def test_a_throttled_run_starts_with_the_next_slot_before_its_backoff_ends(
        self, sender: Sender, connect: Connect, calls: list[str], configure: Configure
    ) -> None:
        configure(RATE_LIMITS={"one": 0.5})
        connect(signals.ticket_created, fails(calls, 1), "one")

        assert asks_to_try_again(sender.post(envelope()))
        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        assert calls == ["one 1"]
        Hold.objects.update(next_slot_at=timezone.now())
        assert sender.post(envelope(attempt=3)).status_code == 200
        assert calls == ["one 1", "one 2"]


class TestTime:
    def test_no_receiver_is_started_after_the_timeout_and_none_is_interrupted(
        self, sender: Sender, connect: Connect, calls: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [0.0]

        def takes_nine_seconds(*, run: Run, **kwargs: Any) -> None:
            clock[0] += 9
            calls.append(run.receiver)

        class Time:
            monotonic = staticmethod(lambda: clock[0])

        monkeypatch.setattr(acknowledgement, "time", Time)
        for name in ("one", "two", "three"):
            connect(signals.ticket_created, lambda **kwargs: takes_nine_seconds(**kwargs), name)

        assert asks_to_try_again(sender.post(envelope()))
        assert calls == ["one"]
        assert Counter(Run.objects.values_list("status", "tries")) == {("succeeded", 1): 1, ("waiting", 0): 2}

        assert asks_to_try_again(sender.post(envelope(attempt=2)))
        assert sender.post(envelope(attempt=3)).status_code == 200
        assert calls == ["one", "two", "three"]

    def test_the_default_timeout_is_eight_seconds(self) -> None:
        assert conf.settings().ack_timeout == timedelta(seconds=8)


def test_a_database_error_is_answered_503(
    sender: Sender, connect: Connect, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise OperationalError("gone")

    connect(signals.ticket_created, works(calls))
    with monkeypatch.context() as patch:
        patch.setattr(acknowledgement, "claim_delivery", broken)
        assert asks_to_try_again(sender.post(envelope()))
    assert Delivery.objects.count() == 1


def test_a_sender_that_retries_gets_each_effect_once(sender: Sender, connect: Connect, configure: Configure) -> None:
    def fails_half_the_time(*, run: Run, delivery: Delivery, **kwargs: Any) -> None:
        write_row(f"{run.receiver}-{delivery.delivery_id}")
        if (run.pk + run.tries) % 2:
            raise ValueError("broken")

    for name in ("one", "two"):
        connect(signals.ticket_created, lambda **kwargs: fails_half_the_time(**kwargs), name)
    for number in range(10):
        attempt = 1
        while sender.post(envelope(delivery_id=f"dlv_{number}", attempt=attempt)).status_code == 503:
            attempt += 1
            assert attempt < 10

    assert written() == 20
    assert set(Delivery.objects.values_list("status", flat=True)) == {"processed"}
    assert connection.in_atomic_block is False


@pytest.mark.parametrize("mode", ["worker", "tasks", "celery"])
def test_it_needs_the_inline_runner(mode: str) -> None:
    (problem,) = conf.problems({"ACK": "processed", "DISPATCH": mode})
    assert problem.id == "E008"
    assert "inline" in problem.hint
    assert list(conf.problems({"ACK": "processed"})) == []
