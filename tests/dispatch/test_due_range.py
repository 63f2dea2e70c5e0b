"""A claim reads past no dead rows: once reading everything is slow, it begins near the work that it found before."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, connections

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, due_range
from nateq_webhooks.dispatch.due_range import MIN_INTERVAL, OVERLAP, READS, SHARE, DueRange, due_ranges
from nateq_webhooks.models import Delivery, Run
from nateq_webhooks.models.run import EARLIEST
from nateq_webhooks.runners import worker
from tests.builders import ago
from tests.conftest import Connect
from tests.dispatch.scene import ALIAS, Configure, Deliver
from tests.waiting import Clock, wait_until

NOW = datetime(2026, 6, 30, 12, tzinfo=UTC)
SLOW, FAST = 0.02, 0.0005


class Index:
    """An index that notes from where it is read, and takes a time that depends on that."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.due: list[datetime] = []
        self.seconds = FAST
        self.bounded_seconds = FAST
        self.read_from: list[datetime] = []

    def read(self, low: datetime) -> datetime | None:
        self.read_from.append(low)
        self.clock.now += self.seconds if low == EARLIEST else self.bounded_seconds
        return min((moment for moment in self.due if moment >= low), default=None)


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def slow(index: Index) -> DueRange:
    """The range of an index that has been slow for some reads."""
    index.seconds = SLOW
    index.due = [NOW]
    reads = DueRange(index.clock.monotonic)
    for _ in range(READS):
        index.clock.now += 60
        reads.first(index.read, NOW)
    index.read_from.clear()
    return reads


def test_everything_is_read_as_long_as_that_is_fast(index: Index) -> None:
    reads = DueRange(index.clock.monotonic)
    for _ in range(50):
        assert reads.first(index.read, NOW) is None

    assert set(index.read_from) == {EARLIEST}


def test_single_slow_reads_change_nothing(index: Index) -> None:
    reads = DueRange(index.clock.monotonic)
    for number in range(50):
        index.seconds = FAST if number % READS == 0 else SLOW
        reads.first(index.read, NOW)

    assert set(index.read_from) == {EARLIEST}


def test_a_slow_index_is_read_from_the_last_found_work_on(index: Index, slow: DueRange) -> None:
    later = NOW + timedelta(seconds=5)
    index.due = [later]

    assert slow.first(index.read, later) == later
    assert slow.first(index.read, later) == later

    assert index.read_from == [NOW - OVERLAP, later - OVERLAP]


def test_what_became_due_earlier_is_found_within_a_few_seconds(index: Index, slow: DueRange) -> None:
    earlier = NOW - timedelta(days=1)
    index.due = [earlier, NOW]
    assert slow.first(index.read, NOW) == NOW

    index.clock.now += max(MIN_INTERVAL, SHARE * SLOW)

    assert slow.first(index.read, NOW) == earlier


def test_an_idle_process_reads_everything_for_a_small_part_of_the_time(index: Index, slow: DueRange) -> None:
    index.due = []
    started = index.clock.now
    full = 0
    while index.clock.now - started < 100:
        index.read_from.clear()
        slow.first(index.read, NOW)
        full += EARLIEST in index.read_from
        index.clock.now += 0.5

    assert 0.5 * 100 / (SHARE * SLOW) < full <= 100 / (SHARE * SLOW) + 1


def test_once_the_index_is_fast_again_everything_is_read_again(index: Index, slow: DueRange) -> None:
    index.seconds = FAST
    index.clock.now += 60
    slow.first(index.read, NOW)
    index.read_from.clear()

    for _ in range(10):
        slow.first(index.read, NOW)

    assert set(index.read_from) == {EARLIEST}


def test_everything_is_read_where_each_statement_is_slow(index: Index, slow: DueRange) -> None:
    """A distant or busy database: a read from the last found work on takes as long as one of everything."""
    index.bounded_seconds = SLOW
    for _ in range(READS):
        slow.first(index.read, NOW)
    index.read_from.clear()

    for _ in range(10):
        slow.first(index.read, NOW)

    assert set(index.read_from) == {EARLIEST}


def test_a_range_is_slow_again_once_reading_everything_takes_longer_than_each_statement(
    index: Index, slow: DueRange
) -> None:
    index.bounded_seconds = SLOW
    for _ in range(READS):
        slow.first(index.read, NOW)
    assert not slow.is_slow

    index.seconds = 3 * SLOW
    for _ in range(READS):
        slow.first(index.read, NOW)

    assert slow.is_slow


def test_after_expire_everything_is_read_once(index: Index, slow: DueRange) -> None:
    earlier = NOW - timedelta(days=1)
    index.due = [earlier, NOW]
    assert slow.first(index.read, NOW) == NOW

    slow.expire()

    assert slow.first(index.read, NOW) == earlier
    assert slow.is_slow


@pytest.mark.parametrize("rate_limits", [{}, {"test.one": 1000.0}], ids=["free", "rate-limited"])
@pytest.mark.django_db(transaction=True)
def test_each_read_of_a_claim_is_bounded_and_nothing_is_left_out(
    deliver: Deliver,
    connect: Connect,
    configure: Configure,
    monkeypatch: pytest.MonkeyPatch,
    rate_limits: dict[str, float],
) -> None:
    """With an index that is always slow, and never read as a whole in between, all work in order is still found."""
    configure(RATE_LIMITS=rate_limits)
    always_slow(monkeypatch)
    ran: list[str] = []
    connect(signals.ticket_created, lambda *, delivery, **kwargs: ran.append(delivery.delivery_id), "test.one")

    def run_due(count: int) -> None:
        wait_until(lambda: api.run_due(polling=True) is not None and len(ran) >= count, seconds=120)

    deliver()
    run_due(1)
    for _ in range(READS + 1):
        api.run_due(polling=True)
    monkeypatch.setattr(due_range, "MIN_INTERVAL", 3_600.0)

    for number in range(2, 31):
        deliver()
        run_due(number)
    held_by = set(Run.objects.values_list("held_by", flat=True))
    assert all(due_ranges.runs(ALIAS, hold).is_slow for hold in held_by)
    assert ran == [f"dlv_{number}" for number in range(1, 31)]

    deliver()
    Delivery.objects.filter(dispatch_at__isnull=False).update(dispatch_at=ago(days=1))
    run = Run.objects.earliest("pk")
    Run.objects.filter(pk=run.pk).update(status="failed", next_try_at=ago(days=1))
    monkeypatch.setattr(due_range, "MIN_INTERVAL", 0.0)
    monkeypatch.setattr(due_range, "SHARE", 0)
    run_due(32)
    assert ran[30:] == ["dlv_1", "dlv_31"]


@pytest.mark.parametrize("drain", [api.run_due, worker.drain], ids=["run_due", "drain"])
@pytest.mark.django_db(transaction=True)
def test_a_call_that_runs_all_that_is_due_finds_what_became_due_at_an_earlier_time(
    deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch, drain: Callable[[], int]
) -> None:
    always_slow(monkeypatch)
    monkeypatch.setattr(due_range, "MIN_INTERVAL", 3_600.0)
    connect(signals.ticket_created, lambda **kwargs: None)
    deliver()
    for _ in range(READS + 1):
        drain()
    assert due_ranges.deliveries(ALIAS).is_slow

    deliver()
    Delivery.objects.filter(dispatch_at__isnull=False).update(dispatch_at=ago(days=1))
    drain()

    assert list(Run.objects.values_list("status", flat=True)) == ["succeeded", "succeeded"]


@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_held_open_does_not_make_a_claim_read_past_what_is_finished(
    deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages that the claim's statements read, as PostgreSQL counts them: the same with many dead entries."""
    if connection.vendor != "postgresql":
        pytest.skip("only PostgreSQL says how many pages a statement has read")
    connect(signals.ticket_created, lambda **kwargs: None)
    holder = connections.create_connection(ALIAS)
    try:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        for _ in range(3):
            deliver()
            api.run_due()
        few = pages_of_a_claim(monkeypatch)
        run = Run.objects.earliest("pk")
        for _ in range(600):  # each leaves a dead entry in the index of what is due
            Run.objects.filter(pk=run.pk).update(next_try_at=ago(minutes=1))
            Run.objects.filter(pk=run.pk).update(next_try_at=None)
        bounded, whole = pages_of_a_claim(monkeypatch), pages_from(EARLIEST)
    finally:
        holder.close()

    assert whole > 5 * few
    assert bounded <= few + 5


def always_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each read of everything count as slow, and each other one as faster."""
    monkeypatch.setattr(due_range, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(due_range, "FASTER", 0)


def pages_of_a_claim(monkeypatch: pytest.MonkeyPatch) -> int:
    """Return how many pages are read from where a claim begins that found nothing a moment ago."""
    always_slow(monkeypatch)
    api.run_due(polling=True)
    low = due_ranges.runs(ALIAS)._low
    return pages_from(low)


def pages_from(low: datetime) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT next_try_at FROM nateq_webhooks_run WHERE held_by = 0 "
            "AND next_try_at >= %s AND next_try_at <= now() ORDER BY next_try_at LIMIT 1",
            [low],
        )
        plan = cursor.fetchone()[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
