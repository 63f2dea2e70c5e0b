"""How dispatch stands: the figures of `dispatch.status`, and what they read."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch.create import claim_deliveries
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.dispatch.replays import request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.status import ReceiverStatus, Status, dead_runs, status
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Run]
NOW = timezone.now()


@pytest.fixture
def make(deliver: Deliver) -> Make:
    """Make a run of a delivery whose own runs are nobody's concern."""
    delivery = deliver()
    Delivery.objects.update(dispatch_at=None)
    rounds = iter(range(1, 1_000))

    def one(receiver: str, status: str, **over: Any) -> Run:
        values = {"delivery": delivery, "round": next(rounds)} | over
        return Run.objects.create(receiver=receiver, status=status, **values)

    return one


def test_it_counts_by_receiver(make: Make) -> None:
    later = timezone.now() + timedelta(minutes=5)
    make("one", "waiting")
    make("one", "waiting", next_try_at=PARKED_UNTIL)
    make("one", "running", next_try_at=later)
    make("one", "failed", next_try_at=later)
    make("two", "succeeded", next_try_at=None)
    make("two", "dropped", next_try_at=None)
    make("two", "dead", next_try_at=None)
    make("three", "succeeded", next_try_at=None)

    assert status(ALIAS).receivers == {
        "one": ReceiverStatus(waiting=2, running=1, failing=1, orphaned=1),
        "two": ReceiverStatus(dead=1),
    }


def test_a_dead_run_that_a_later_replay_has_replaced_is_not_counted(make: Make) -> None:
    make("one", "dead", next_try_at=None)
    make("two", "dead", next_try_at=None)
    make("one", "succeeded", next_try_at=None)

    assert [run.receiver for run in dead_runs(ALIAS)] == ["two"]


def test_what_is_held_is_counted_and_what_a_rate_limit_lets_run_is_not(
    deliver: Deliver, connect: Connect, configure: Configure
) -> None:
    for name in ("test.paused", "test.limited", "test.free"):
        connect(signals.ticket_created, lambda **kwargs: None, name)
    configure(RATE_LIMITS={"test.limited": 1.0})
    dispatch.pause(receiver="test.paused")
    for _ in range(2):
        deliver()
    claim_deliveries(ALIAS, 20)

    found = status(ALIAS)

    assert found.receivers == {
        "test.paused": ReceiverStatus(waiting=2, held=2),
        "test.limited": ReceiverStatus(waiting=2),
        "test.free": ReceiverStatus(running=2),
    }
    assert [hold.scope for hold in found.paused] == ["receiver:test.paused"]


def test_what_waits_for_an_earlier_delivery_is_held(deliver: Deliver, connect: Connect, configure: Configure) -> None:
    configure(ORDERED_BY="data.id")
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")
    for _ in range(3):
        deliver()
    claim_deliveries(ALIAS, 20)

    assert status(ALIAS).receivers == {"test.one": ReceiverStatus(waiting=3, held=2)}


def test_the_oldest_due_is_a_delivery_or_a_run_and_nothing_that_waits_for_its_time(
    make: Make, deliver: Deliver, connect: Connect
) -> None:
    now = timezone.now()
    assert (status(ALIAS).oldest_due, status(ALIAS).lag) == (None, timedelta())
    make("one", "failed", next_try_at=now + timedelta(minutes=1))
    assert status(ALIAS).oldest_due is None
    make("one", "waiting", next_try_at=now - timedelta(minutes=1))
    assert status(ALIAS).oldest_due == now - timedelta(minutes=1)

    connect(signals.ticket_created, lambda **kwargs: None)
    delivery = deliver()
    Delivery.objects.filter(pk=delivery.pk).update(dispatch_at=now - timedelta(minutes=2))

    found = status(ALIAS)
    assert (found.undispatched, found.oldest_due) == (1, now - timedelta(minutes=2))
    assert timedelta(minutes=2) <= found.lag < timedelta(minutes=3)


def test_workers_and_replays_are_listed(make: Make) -> None:
    Heartbeat.objects.create(name="gone:1", seen_at=timezone.now() - timedelta(minutes=2))
    Maintenance(ALIAS).heartbeat()
    request_replay(Selection())

    found = status(ALIAS)
    assert len(found.workers) == 1
    assert [progress.replay.runs for progress in found.replays] == [0]


@pytest.mark.parametrize(
    ("over", "troubles"),
    [
        ({}, []),
        ({"oldest_due": NOW - timedelta(seconds=400)}, ["lag"]),
        ({"receivers": {"one": ReceiverStatus(dead=1)}}, ["dead"]),
        ({"receivers": {"one": ReceiverStatus(orphaned=1, waiting=1)}}, ["orphaned"]),
        ({"paused": ["something"]}, ["paused"]),
    ],
    ids=["well", "lag", "dead", "orphaned", "paused"],
)
def test_what_needs_attention(over: dict[str, Any], troubles: list[str]) -> None:
    calm: dict[str, Any] = {
        "now": NOW,
        "undispatched": 0,
        "oldest_due": None,
        "receivers": {"one": ReceiverStatus(waiting=3, running=1, failing=2)},
        "paused": [],
    }
    found = Status(**(calm | over))

    assert found.troubles(max_lag=timedelta(seconds=300), max_dead=0) == troubles
    assert found.troubles(max_lag=timedelta(hours=1), max_dead=1) == [
        one for one in troubles if one not in ("lag", "dead")
    ]


def test_none_of_its_figures_reads_the_finished_runs(make: Make) -> None:
    """By what the database says it reads: with thousands of finished runs, each statement goes through an index."""
    delivery = Delivery.objects.get()
    Run.objects.bulk_create(
        (
            Run(delivery=delivery, receiver="one", round=number, status="succeeded", next_try_at=None)
            for number in range(2_000, 8_000)
        ),
        batch_size=1_000,
    )
    table = connection.ops.quote_name(Run._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            {"postgresql": f"ANALYZE {table}", "mysql": f"ANALYZE TABLE {table}"}.get(connection.vendor, "ANALYZE")
        )
        if connection.vendor == "mysql":
            cursor.fetchall()
    with CaptureQueriesContext(connection) as queries:
        status(ALIAS)

    for query in queries.captured_queries:
        if Run._meta.db_table not in query["sql"]:
            continue
        with connection.cursor() as cursor:
            prefix = "EXPLAIN QUERY PLAN" if connection.vendor == "sqlite" else "EXPLAIN"
            cursor.execute(f"{prefix} {query['sql']}")
            plan = "\n".join(" ".join(map(str, row)) for row in cursor.fetchall())
        whole = {
            "postgresql": f"Seq Scan on {Run._meta.db_table}",
            "sqlite": f"SCAN {Run._meta.db_table}",
            "mysql": " ALL ",
        }[connection.vendor]
        assert whole not in plan.replace(f"{whole} USING INDEX nateq_run_browse", ""), (query["sql"], plan)
