"""What is due, held and parked: the dashboard, the checks and `nateq_status` say the same of every run."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core import checks
from django.db import models
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.dashboard import alerts
from nateq_webhooks.admin.dashboard.failures import failures
from nateq_webhooks.dispatch import api, pauses
from nateq_webhooks.dispatch.holds import get_hold, hold_cache
from nateq_webhooks.dispatch.run_hold import holds_of
from nateq_webhooks.dispatch.status import due_runs, held_runs, parked_runs, status
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, Hold, receiver_scope
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.commands import output
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "test.one"
LONG = timedelta(hours=1)

Make = Callable[..., Run]


@pytest.fixture
def make(deliver: Deliver, connect: Connect) -> Make:
    """Make a run of this receiver that has been due for an hour, in any hold."""
    connect(signals.ticket_created, lambda **kwargs: None, NAME)
    delivery = deliver()
    Delivery.objects.update(dispatch_at=None)

    def one(**over: Any) -> Run:
        return Run.objects.create(
            **{"delivery": delivery, "receiver": NAME, "next_try_at": timezone.now() - LONG} | over
        )

    return one


def held_by() -> int:
    """The key of the receiver's hold."""
    return get_hold(ALIAS, f"receiver:{NAME}").pk


def is_said_to_be_late() -> bool:
    """Ask all three whether something is long overdue; they must agree."""
    now = timezone.now()
    by_dashboard = alerts.runs_due(now) is not None or alerts.deliveries_due(now) is not None
    found = checks.run_checks(databases=[ALIAS], tags=["nateq_webhooks", "database"])
    by_check = "nateq_webhooks.W005" in {message.id for message in found}
    by_status = "lag" in status(ALIAS).troubles(max_lag=timedelta(minutes=30), max_dead=0)
    assert by_dashboard == by_check == by_status, (by_dashboard, by_check, by_status)
    return by_status


def parked() -> int:
    """Ask all three how many runs are parked; they must agree."""
    by_status = sum(one.orphaned for one in status(ALIAS).receivers.values())
    assert alerts.orphaned()[0] == by_status == api.orphans(ALIAS).total()
    return by_status


def test_a_run_that_nothing_holds_back_is_late(make: Make) -> None:
    make()
    assert is_said_to_be_late()


def test_a_run_of_a_dead_worker_is_late(make: Make) -> None:
    make(status="running")
    assert is_said_to_be_late()


def test_a_finished_run_that_was_not_finalized_is_not_started_late(make: Make) -> None:
    make(status="succeeded")
    assert not is_said_to_be_late()


def test_a_delivery_that_nobody_dispatches_is_late(make: Make) -> None:
    Delivery.objects.update(dispatch_at=timezone.now() - LONG)
    assert is_said_to_be_late()


def test_a_rate_limited_run_is_late_if_no_process_took_a_slot(make: Make, configure: Configure) -> None:
    configure(RATE_LIMITS={NAME: 1.0})
    make(held_by=held_by())
    assert is_said_to_be_late()

    Hold.objects.update(next_slot_at=timezone.now() + timedelta(seconds=1))
    assert not is_said_to_be_late()  # a worker is at it, as fast as it may


def test_the_lag_of_a_rate_limited_run_begins_with_the_free_slot(make: Make, configure: Configure) -> None:
    configure(RATE_LIMITS={NAME: 1.0})
    make(held_by=held_by())
    slot = timezone.now() - timedelta(minutes=5)
    Hold.objects.update(next_slot_at=slot)

    assert status(ALIAS).oldest_due == slot


def test_a_run_that_a_resumed_hold_still_has_is_late(make: Make) -> None:
    make(held_by=held_by())
    assert is_said_to_be_late()


def test_a_run_behind_a_pause_is_held_and_not_late(make: Make) -> None:
    make(held_by=held_by())
    dispatch.pause(receiver=NAME)

    assert not is_said_to_be_late()
    assert status(ALIAS).receivers[NAME].held == 1
    (pause,) = alerts.pauses()
    assert pause.held == "1 run is held back."


def test_a_run_that_waits_for_an_earlier_delivery_is_not_late(make: Make) -> None:
    make(held_by=HELD_BY_ORDER)
    assert not is_said_to_be_late()


def test_while_everything_is_paused_nothing_is_late_and_what_waits_is_held(make: Make) -> None:
    make()
    make(round=1, status="running")
    Delivery.objects.update(dispatch_at=timezone.now() - LONG)
    dispatch.pause()

    assert not is_said_to_be_late()
    assert status(ALIAS).receivers[NAME].held == 1
    (pause,) = alerts.pauses()
    waits = "1 delivery is stored, and its receivers start after the pause."
    assert pause.held == f"1 run is held back. {waits}"  # what runs is not held
    (hidden,) = alerts.pauses(sees_deliveries=False)
    assert hidden.held == "1 run is held back."


def test_the_pause_of_everything_holds_all_pending_runs_whatever_else_holds_them(
    make: Make, configure: Configure
) -> None:
    configure(RATE_LIMITS={NAME: 1.0})
    make(held_by=held_by())
    make(round=1, held_by=HELD_BY_ORDER)
    make(round=2, receiver="test.two", held_by=get_hold(ALIAS, "receiver:test.two").pk)
    make(round=3, next_try_at=PARKED_UNTIL)
    dispatch.pause()
    dispatch.pause(receiver="test.two")

    assert sum(one.held for one in status(ALIAS).receivers.values()) == 3
    assert [pause.held for pause in alerts.pauses()] == ["3 runs are held back.", "1 run is held back."]


class TestTwoPauses:
    """A run has one hold only, and two pauses may hold it back."""

    @pytest.fixture(autouse=True)
    def _paused(self, make: Make, webhook: Webhook) -> None:
        make()
        make(round=1, held_by=HELD_BY_ORDER)
        make(round=2, receiver="test.two")
        dispatch.pause(receiver=NAME)
        dispatch.pause(webhook=webhook)

    def test_each_says_what_it_holds_back(self) -> None:
        assert [pause.held for pause in alerts.pauses()] == ["2 runs are held back.", "3 runs are held back."]
        assert sum(one.held for one in status(ALIAS).receivers.values()) == 3

    def test_after_the_end_of_one_nothing_is_due_that_the_other_holds_back(self, webhook: Webhook) -> None:
        for resume, left in (({"receiver": NAME}, 3), ({"webhook": webhook}, 2)):
            dispatch.pause(receiver=NAME)
            dispatch.pause(webhook=webhook)

            dispatch.resume(**resume)

            (pause,) = alerts.pauses()
            assert pause.held == f"{left} runs are held back."
            held = holds_of(ALIAS, Run.objects.select_related("delivery"))
            assert sum(1 for each in held.values() if each.is_pause) == left
            assert status(ALIAS).receivers[NAME].held == 2
            assert not due_runs(Run.objects.all(), timezone.now()).filter(receiver=NAME).exists()

    def test_also_for_the_command(self, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pauses, "BATCH_SIZE", 1)
        monkeypatch.setattr(pauses, "BATCHES_AT_ONCE", 1)

        output("nateq_resume", "--webhook", webhook.name)

        assert not due_runs(Run.objects.filter(receiver=NAME), timezone.now()).exists()


def test_a_pause_takes_what_a_rate_limit_has(make: Make, webhook: Webhook, configure: Configure) -> None:
    configure(RATE_LIMITS={NAME: 1.0})
    make(held_by=held_by())
    dispatch.pause(webhook=webhook)

    assert not is_said_to_be_late()
    assert status(ALIAS).receivers[NAME].held == 1
    (pause,) = alerts.pauses()
    assert pause.held == "1 run is held back."


def test_what_others_hold_is_looked_at_up_to_a_limit(
    make: Make, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "MAX_COUNTED", 3)
    monkeypatch.setattr(alerts, "MAX_READ_ELSEWHERE", 3)
    dispatch.pause(receiver=NAME)
    for number in range(4):
        make(round=number, held_by=held_by())
    dispatch.pause(receiver="test.two")
    make(receiver="test.two", held_by=get_hold(ALIAS, "receiver:test.two").pk)

    found = {pause.what: pause.held for pause in alerts.pauses()}

    assert found == {NAME: "more than 3 runs are held back.", "test.two": "1 or more runs are held back."}


@pytest.mark.parametrize("is_paused", [False, True], ids=["limited", "limited and paused"])
def test_a_parked_run_of_a_rate_limited_receiver_is_counted_too(
    make: Make, configure: Configure, *, is_paused: bool
) -> None:
    configure(RATE_LIMITS={NAME: 1.0})
    make(held_by=held_by(), next_try_at=PARKED_UNTIL)
    make(round=1, next_try_at=PARKED_UNTIL)
    if is_paused:
        dispatch.pause(receiver=NAME)

    assert parked() == 2
    assert status(ALIAS).receivers[NAME].held == 0  # it is parked, whatever else may hold it
    assert not is_said_to_be_late()


@pytest.mark.parametrize("is_paused", [False, True], ids=["limited", "paused"])
def test_a_run_to_be_tried_again_is_among_the_failures_whatever_holds_it(
    make: Make, configure: Configure, *, is_paused: bool
) -> None:
    if not is_paused:
        configure(RATE_LIMITS={NAME: 1.0})
    make(status="failed", held_by=held_by(), error="ValueError: broken")
    make(round=1, status="failed", error="ValueError: broken")
    if is_paused:
        dispatch.pause(receiver=NAME)

    (group,) = failures(with_text=True).groups
    assert (group.receiver, group.number) == (NAME, 2)


@pytest.mark.parametrize(("limit", "number", "is_capped"), [(3, 3, False), (2, 2, True)])
def test_the_dashboard_counts_what_is_due_up_to_a_limit_without_finished_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch, limit: int, number: int, is_capped: bool
) -> None:
    now = timezone.now()
    hold = get_hold(ALIAS, f"receiver:{NAME}")
    make(status="failed", next_try_at=now - 3 * LONG)
    make(round=1, next_try_at=now - 2 * LONG)
    make(round=2, held_by=hold.pk, next_try_at=now - 4 * LONG)
    make(round=3, next_try_at=now)
    make(round=4, status="succeeded", next_try_at=now - LONG)
    make(round=5, status="succeeded", next_try_at=None)
    monkeypatch.setattr(alerts, "MAX_COUNTED", limit)

    found = alerts.runs_due(now)

    assert found is not None
    assert (found.number, found.is_capped) == (number, is_capped)
    assert found.since == now - 4 * LONG
    assert status(ALIAS).oldest_due == found.since


def test_looking_only_reads(make: Make, configure: Configure) -> None:
    """A hold of a rate limit is made by who dispatches; a replica could not."""
    configure(RATE_LIMITS={NAME: 1.0})
    hold_cache.invalidate()
    make()

    assert due_runs(Run.objects.all(), timezone.now()).count() == 1
    assert status(ALIAS).oldest_due
    assert alerts.runs_due(timezone.now())

    assert not Hold.objects.exists()


@pytest.mark.parametrize("rows", ["queryset", "manager"])
def test_rows_of_a_projects_own_manager_are_counted(make: Make, rows: str) -> None:
    class OwnQuerySet(models.QuerySet[Run]):
        pass

    manager: models.Manager[Run] = models.Manager.from_queryset(OwnQuerySet)()
    manager.model = Run
    own = manager if rows == "manager" else manager.filter(receiver=NAME)
    make()
    make(round=1, next_try_at=PARKED_UNTIL)
    hold = Hold(pk=7, scope=receiver_scope(NAME))
    make(round=2, held_by=hold.pk)

    assert due_runs(own, timezone.now()).count() == 1
    assert parked_runs(own).count() == 1
    assert held_runs(own, hold).count() == 1


def test_rows_of_another_model_are_refused() -> None:
    with pytest.raises(TypeError, match="Expected runs, got rows of Delivery"):
        due_runs(Delivery.objects.all(), timezone.now())  # type: ignore[arg-type]
