"""The circuit breaker: a receiver that fails again and again is paused by itself, and tried again with a probe."""

import logging
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.dashboard import alerts
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.claim import claim_throttled
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.dispatch.status import status
from nateq_webhooks.dispatch.throttle import count_failure, count_success
from nateq_webhooks.errors import GiveUp, RetryLater
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import Hold, breaker_scope, receiver_scope
from nateq_webhooks.runners.worker import drain
from tests.conftest import SECRET, Sender, envelope
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver, at_once, make_due

pytestmark = pytest.mark.django_db(transaction=True)

CRM = "test.crm"


class Crm:
    """A service that may be down, and the receiver that calls it."""

    def __init__(self) -> None:
        self.error: Exception | None = ValueError("down")
        self.calls = 0

    def receive(self, **kwargs: Any) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


@pytest.fixture
def crm(connect: Connect, configure: Configure) -> Crm:
    crm = Crm()
    connect(signals.ticket_created, lambda **kwargs: crm.receive(**kwargs), CRM)
    configure(BREAKER_AFTER=3, BREAKER_PAUSE=timedelta(seconds=60))
    return crm


@pytest.fixture
def open_breaker(crm: Crm, deliver: Deliver) -> Crm:
    """The breaker after three failures; ten deliveries wait, of which three have used a try."""
    for _ in range(10):
        deliver()
    work()
    return crm


def work() -> None:
    while api.run_due(1):
        pass


def any_run() -> Run:
    return Run.objects.select_related("delivery").order_by("pk")[0]


def let_a_probe_through() -> None:
    """Let BREAKER_PAUSE go by."""
    Hold.objects.update(probe_at=timezone.now() - timedelta(seconds=1))
    hold_cache.invalidate()
    make_due()


def test_it_is_off_by_default_and_costs_nothing(
    deliver: Deliver, connect: Connect, django_assert_num_queries: Any
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, CRM)
    deliver()
    run = Run(receiver=CRM)
    with django_assert_num_queries(0):
        for _ in range(50):
            count_failure(ALIAS, run)
            count_success(ALIAS, run)
    assert not Hold.objects.exists()


def test_after_so_many_failures_in_a_row_the_receiver_is_paused(open_breaker: Crm, webhook: Webhook) -> None:
    (hold,) = api.paused()
    assert (hold.scope, hold.is_automatic, hold.failures) == (breaker_scope(webhook.pk, CRM), True, 3)
    assert hold.reason == "It failed 3 times in a row."
    assert open_breaker.calls == 3


def test_it_is_logged_once(crm: Crm, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "nateq_webhooks"):
        for _ in range(10):
            deliver()
        work()
        let_a_probe_through()
        work()

    assert sum("failed 3 times in a row for webhook" in record.message for record in caplog.records) == 1


def test_its_backlog_is_held_at_once_where_no_process_makes_a_claim(
    crm: Crm, sender: Sender, configure: Configure
) -> None:
    configure(DISPATCH="inline", BREAKER_AFTER=3)
    for number in range(3):
        sender.post(envelope(delivery_id=f"dlv_{number}"))

    (pause,) = alerts.pauses()
    assert pause.held == "3 runs are held back."
    assert status(ALIAS).receivers[CRM].held == 3


def test_what_was_claimed_with_the_last_failure_is_held_at_once(crm: Crm, deliver: Deliver, webhook: Webhook) -> None:
    for _ in range(5):
        deliver()
    api.run_due(limit=5)

    assert crm.calls == 3
    [hold] = Hold.objects.all()
    assert set(Run.objects.values_list("held_by", flat=True)) == {hold.pk}
    assert status(ALIAS).receivers[CRM].held == 5
    assert status(ALIAS).oldest_due is None


def test_its_backlog_keeps_its_tries(open_breaker: Crm) -> None:
    make_due()
    work()

    assert Counter(Run.objects.values_list("tries", flat=True)) == {1: 3, 0: 7}
    assert not Run.objects.filter(status="dead").exists()


def test_a_success_in_between_resets_the_count(crm: Crm, deliver: Deliver) -> None:
    for error in (ValueError(), ValueError(), None, ValueError(), ValueError()):
        crm.error = error
        deliver()
        hold_cache.invalidate()
        work()

    assert api.paused() == []
    assert Hold.objects.get().failures == 2


@pytest.mark.parametrize("error", [RetryLater(5), GiveUp("no")])
def test_what_a_receiver_asks_for_itself_is_no_failure(crm: Crm, deliver: Deliver, error: Exception) -> None:
    crm.error = error
    for _ in range(5):
        deliver()
    work()

    assert api.paused() == []


def test_a_probe_that_fails_uses_one_try_and_the_pause_goes_on(open_breaker: Crm) -> None:
    let_a_probe_through()
    work()
    work()

    assert open_breaker.calls == 4
    (hold,) = api.paused()
    assert hold.probe_at is not None
    assert hold.probe_at > timezone.now() + timedelta(seconds=50)
    assert sum(Run.objects.values_list("tries", flat=True)) == 4


def test_a_probe_that_succeeds_lets_everything_run(open_breaker: Crm) -> None:
    open_breaker.error = None
    let_a_probe_through()
    drain()
    make_due()
    drain()

    assert api.paused() == []
    assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}
    assert Hold.objects.get().failures == 0


def test_of_several_workers_one_gets_the_probe(open_breaker: Crm) -> None:
    for _ in range(4):
        let_a_probe_through()
        Run.objects.filter(status="running").update(status="waiting", tries=0, lease=None)
        make_due()

        claims = at_once([lambda: claim_throttled(ALIAS)] * 5)

        assert sum(len(claimed.runs) for claimed in claims) == 1


def test_the_others_run_all_the_while(open_breaker: Crm, connect: Connect, deliver: Deliver) -> None:
    ran: list[int] = []
    connect(signals.ticket_created, lambda delivery, **kwargs: ran.append(delivery.pk), "test.other")
    delivery = deliver()
    work()

    assert ran == [delivery.pk]


class TestAPersonsPause:
    def test_is_not_undone_by_a_success(self, open_breaker: Crm) -> None:
        dispatch.pause(receiver=CRM, reason="moved", by="sara")
        open_breaker.error = None
        count_success(ALIAS, any_run())

        (hold,) = api.paused()
        assert (hold.is_automatic, hold.reason, hold.paused_by, hold.probe_at) == (False, "moved", "sara", None)
        let_a_probe_through()
        work()
        assert open_breaker.calls == 3

    @pytest.mark.parametrize("count", [count_failure, count_success])
    def test_that_comes_while_the_breaker_decides_stays(
        self, open_breaker: Crm, monkeypatch: pytest.MonkeyPatch, count: Callable[[str, Run], None]
    ) -> None:
        """Between its read of the hold and its write."""
        from nateq_webhooks.dispatch import pauses

        for name in ("pause_hold", "resume_hold"):
            original = getattr(pauses, name)

            def late(*args: Any, _original: Callable[..., Any] = original, **options: Any) -> Any:
                changes = {"is_automatic": False, "probe_at": None, "reason": "moved"}
                Hold.objects.update(paused_at=timezone.now(), **changes)
                return _original(*args, **options)

            monkeypatch.setattr(pauses, name, late)
        count(ALIAS, any_run())

        (hold,) = api.paused()
        assert (hold.is_automatic, hold.reason) == (False, "moved")

    def test_resuming_by_hand_resets_the_count(self, open_breaker: Crm) -> None:
        dispatch.resume(receiver=CRM)

        assert (api.paused(), Hold.objects.get().failures) == ([], 0)


def test_a_breaker_that_can_not_count_keeps_nothing_from_being_finalized(
    crm: Crm, deliver: Deliver, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    from nateq_webhooks.dispatch import throttle

    def broken(*args: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(throttle, "count_success", broken)
    crm.error = None
    deliver()
    work()

    assert Delivery.objects.get().status == "processed"


class TestSeveralWebhooks:
    @pytest.fixture
    def other(self, webhook: Webhook) -> Sender:
        return Sender(Webhook.objects.create(name="of another party", secret=SECRET))

    def test_what_one_party_sends_pauses_nobody_elses_runs(
        self, crm: Crm, webhook: Webhook, other: Sender, connect: Connect, deliver: Deliver
    ) -> None:
        poison = webhook.pk
        ran: list[int] = []

        def receive(*, delivery: Delivery, **kwargs: Any) -> None:
            if delivery.webhook_id == poison:
                raise ValueError("poison")
            ran.append(delivery.pk)

        connect(signals.ticket_closed, receive, "test.both")
        for number in range(5):
            deliver("ticket.closed")
            other.post(envelope("ticket.closed", delivery_id=f"good_{number}"))
        work()
        hold_cache.invalidate()
        other.post(envelope("ticket.closed", delivery_id="good_5"))
        work()

        assert [hold.scope for hold in api.paused()] == [breaker_scope(poison, "test.both")]
        assert len(ran) == 6
        tries = Run.objects.filter(delivery__webhook=poison).values_list("tries", flat=True)
        assert Counter(tries) == {1: 3, 0: 2}

    def test_a_success_for_one_webhook_does_not_open_the_breaker_of_another(
        self, open_breaker: Crm, other: Sender
    ) -> None:
        open_breaker.error = None
        other.post(envelope(delivery_id="good"))
        work()

        assert Run.objects.get(delivery__delivery_id="good").status == "succeeded"
        assert len(api.paused()) == 1
        assert Hold.objects.get(paused_at__isnull=False).failures == 3

    def test_a_receiver_that_is_down_is_paused_for_each_and_resumed_for_all(
        self, open_breaker: Crm, other: Sender, webhook: Webhook
    ) -> None:
        for number in range(5):
            other.post(envelope(delivery_id=f"other_{number}"))
        work()
        assert len(api.paused()) == 2
        open_breaker.error = None

        resumed = dispatch.resume(receiver=CRM)
        make_due()
        drain()

        assert {hold.scope for hold in resumed} == {breaker_scope(pk, CRM) for pk in (webhook.pk, other.webhook.pk)}
        assert api.paused() == []
        assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}

    def test_the_longest_name_of_a_receiver_fits(self) -> None:
        scope = breaker_scope(uuid.uuid4(), "x" * 200)
        assert len(scope) <= (Hold._meta.get_field("scope").max_length or 0)

    def test_a_hold_that_an_earlier_version_paused_is_resumed_by_a_success(self, crm: Crm, deliver: Deliver) -> None:
        past = timezone.now() - timedelta(seconds=1)
        hold = Hold.objects.create(
            scope=receiver_scope(CRM), paused_at=past, is_automatic=True, probe_at=past, failures=3, is_empty=False
        )
        hold_cache.invalidate()
        crm.error = None
        deliver()
        drain()

        assert api.paused() == []
        hold.refresh_from_db()
        assert hold.failures == 0
        assert set(Run.objects.values_list("status", flat=True)) == {"succeeded"}
