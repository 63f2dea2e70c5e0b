"""The states of a run, and the transitions from one to the next."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.run import HELD_BY_ORDER, NOT_HELD, PARKED_UNTIL
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db

Make = Callable[..., Run]
HOLD = 7


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def make(webhook: Webhook) -> Make:
    """Make a run of one delivery, of a round of its own."""
    Sender(webhook).post(envelope())
    delivery = Delivery.objects.get()

    def one(**values: Any) -> Run:
        return Run.objects.create(
            **{"delivery": delivery, "receiver": "test.one", "round": Run.objects.count()} | values
        )

    return one


def test_each_status_is_in_one_set_of_unfinished_and_finished() -> None:
    assert {*Run.UNFINISHED, *Run.FINISHED} == set(Run.Status)
    assert not {*Run.UNFINISHED} & {*Run.FINISHED}
    assert {*Run.PENDING} == {*Run.UNFINISHED} - {Run.Status.RUNNING}
    assert {*Run.RESOLVED} == {*Run.FINISHED} - {Run.Status.DEAD}


def test_due_held_and_parked_runs_are_distinct(make: Make, now: datetime) -> None:
    due = make(next_try_at=now - timedelta(seconds=1))
    later = make(next_try_at=now + timedelta(hours=1))
    held = make(held_by=HOLD, next_try_at=now - timedelta(seconds=1))
    ordered = make(held_by=HELD_BY_ORDER, next_try_at=now - timedelta(seconds=1))
    parked = make(next_try_at=PARKED_UNTIL)
    finalized = make(status=Run.Status.SUCCEEDED, next_try_at=None)
    runs = Run.objects.all()

    assert set(runs.due(now)) == {due}
    assert set(runs.due(now, held_by=HOLD)) == {held}
    assert set(runs.held(HOLD)) == {held}
    assert set(runs.parked([NOT_HELD, HOLD])) == {parked}
    assert [run.is_parked for run in (due, later, held, parked, finalized)] == [False, False, False, True, False]
    assert set(runs.not_finalized(NOT_HELD)) == {due, later, parked}
    assert set(runs.unfinished()) == {due, later, held, ordered, parked}
    assert set(runs.finished()) == {finalized}


def test_the_latest_rounds_are_one_for_each_receiver(make: Make) -> None:
    make(round=0, status=Run.Status.DEAD)
    latest = make(round=2, status=Run.Status.SUCCEEDED)
    other = make(receiver="test.two", round=1, status=Run.Status.DEAD)

    assert set(Run.objects.latest_rounds()) == {latest, other}


def test_a_run_that_is_released_is_as_it_was_before_the_claim(make: Make, now: datetime) -> None:
    run = make()
    lease = uuid.uuid4()
    rows = Run.objects.filter(pk=run.pk)

    assert rows.claim(lease=lease, until=now + timedelta(minutes=5), held_by=NOT_HELD, started=run, now=now) == 1
    claimed = rows.get()
    assert (claimed.status, claimed.tries, claimed.started_at, claimed.lease) == ("running", 1, now, lease)
    run.lease = lease
    assert Run.objects.all().leased(run).release(run, due_at=now) == 1

    released = rows.get()
    assert (released.status, released.tries, released.started_at, released.lease) == ("waiting", 0, None, None)
    assert released.next_try_at == now


def test_a_run_of_another_worker_is_neither_parked_nor_dropped(make: Make, now: datetime) -> None:
    run = make(status=Run.Status.RUNNING, lease=uuid.uuid4(), next_try_at=now)
    mine = Run(pk=run.pk, receiver=run.receiver, lease=uuid.uuid4())

    assert Run.objects.all().leased(mine).park(mine) == 0
    assert Run.objects.filter(pk=run.pk).drop("Dropped.", finished_at=now) == 0

    assert Run.objects.get().status == "running"


def test_a_failure_is_due_again_or_given_up_and_a_given_up_run_is_held_by_nothing(make: Make, now: datetime) -> None:
    columns: dict[str, Any] = {"duration": timedelta(seconds=1), "error": "broken", "traceback": "line 1"}
    again, dead = make(held_by=HOLD, next_try_at=now), make(held_by=HOLD, next_try_at=now)

    Run.objects.filter(pk=again.pk).fail(next_try_at=now + timedelta(hours=1), finished_at=now, **columns)
    Run.objects.filter(pk=dead.pk).fail(next_try_at=None, finished_at=now, **columns)

    again.refresh_from_db()
    dead.refresh_from_db()
    assert (again.status, again.held_by, again.next_try_at) == ("failed", HOLD, now + timedelta(hours=1))
    assert (dead.status, dead.held_by, dead.next_try_at) == ("dead", NOT_HELD, now)
    assert Run.objects.all().mark_finalized() == 1
    assert Run.objects.get(pk=dead.pk).next_try_at is None
