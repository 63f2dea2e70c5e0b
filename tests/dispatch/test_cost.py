"""What each path costs: statements, round trips and commits, which no noisy machine changes.

A round trip is a statement, BEGIN, COMMIT or savepoint; a statement outside a transaction commits by itself. psycopg 3
sends BEGIN together with the statement that marks the transaction, which is not logged.
"""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api, holds
from nateq_webhooks.dispatch.holds import hold_cache
from nateq_webhooks.models.hold import Hold
from tests.conftest import Sender, envelope
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver
from tests.test_views import has_returning

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("caches_stay_fresh")]

TRANSACTIONS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")

COSTS = {
    "postgresql": {
        "new": (1, 1),
        "repeated": (2, 2),
        "refused": (0, 0),
        "one": (4, 2),
        "three": (10, 4),
        "claim": (67, 24),
    },
    "sqlite": {
        "new": (1, 1),
        "repeated": (5, 3),
        "refused": (0, 0),
        "one": (8, 2),
        "three": (15, 4),
        "claim": (90, 25),
    },
    "mysql": {
        "new": (1, 1),
        "repeated": (5, 3),
        "refused": (0, 0),
        "one": (11, 2),
        "three": (22, 4),
        "claim": (111, 24),
    },
}
"""Round trips and commits at most, by database and path. `mysql` is MariaDB."""


def cost(queries: CaptureQueriesContext) -> tuple[int, int]:
    """Return how many round trips there were, and how many commits."""
    commits, is_open = 0, False
    for sql in (query["sql"] for query in queries.captured_queries):
        commits += sql == "COMMIT" or not (is_open or sql.startswith(TRANSACTIONS))
        is_open = sql.startswith("BEGIN") or (is_open and sql not in ("COMMIT", "ROLLBACK"))
    return len(queries.captured_queries), commits


def statements(queries: CaptureQueriesContext) -> list[str]:
    """Return the statements without those that only begin and end a transaction."""
    return [query["sql"] for query in queries.captured_queries if not query["sql"].startswith(TRANSACTIONS)]


def fails(**kwargs: Any) -> None:
    raise ValueError("broken")


@pytest.fixture
def inline(sender: Sender, configure: Configure, connect: Connect) -> Callable[[int], None]:
    """Connect some receivers, which run in the request, and have one delivery warm everything up."""

    def prepare(receivers: int) -> None:
        configure(DISPATCH="inline")
        for number in range(receivers):
            connect(signals.ticket_created, lambda **kwargs: None, f"test.{number}")
        sender.post(envelope(delivery_id="warms up"))
        hold_cache.get(ALIAS)

    return prepare


@pytest.mark.parametrize(("path", "receivers"), [("new", 0), ("one", 1), ("three", 3), ("repeated", 1), ("refused", 1)])
def test_a_request_takes_few_round_trips_and_commits(
    sender: Sender, inline: Callable[[int], None], path: str, receivers: int
) -> None:
    if not has_returning():
        pytest.skip("MySQL takes the portable statements")
    inline(receivers)
    if path == "repeated":
        sender.post(envelope())
    arguments: dict[str, Any] = {"signature": "sha256=" + "0" * 64} if path == "refused" else {}

    with CaptureQueriesContext(connection) as queries:
        assert sender.post(envelope(attempt=1 + (path == "repeated")), **arguments).status_code in (200, 401)

    trips, commits = COSTS[connection.vendor][path]
    assert cost(queries)[0] <= trips, queries.captured_queries
    assert cost(queries)[1] <= commits, queries.captured_queries


def test_a_failing_receiver_costs_a_transaction_more(
    sender: Sender, inline: Callable[[int], None], connect: Connect
) -> None:
    inline(0)
    connect(signals.ticket_created, fails)

    with CaptureQueriesContext(connection) as queries:
        assert sender.post(envelope()).status_code == 200

    assert len(statements(queries)) <= 10, statements(queries)
    assert cost(queries)[1] <= 5, queries.captured_queries


def test_a_request_that_looks_at_the_holds_takes_one_statement_more(
    sender: Sender, inline: Callable[[int], None]
) -> None:
    """That is twice a second in each process."""
    inline(1)
    with CaptureQueriesContext(connection) as known:
        sender.post(envelope(delivery_id="known"))
    hold_cache.invalidate()

    with CaptureQueriesContext(connection) as looked:
        sender.post(envelope(delivery_id="looked"))

    assert len(looked) - len(known) <= 1, looked.captured_queries


def test_a_request_for_an_event_without_receivers_does_not_look_at_the_holds(
    sender: Sender, inline: Callable[[int], None]
) -> None:
    inline(0)
    hold_cache.invalidate()

    with CaptureQueriesContext(connection) as queries:
        sender.post(envelope())

    assert [sql for sql in statements(queries) if Hold._meta.db_table in sql] == []


def test_an_answer_that_waits_takes_few_statements(sender: Sender, connect: Connect, configure: Configure) -> None:
    configure(DISPATCH="inline", ACK="processed")
    connect(signals.ticket_created, lambda **kwargs: None)
    sender.post(envelope(delivery_id="warms up"))

    with CaptureQueriesContext(connection) as queries:
        assert sender.post(envelope()).status_code == 200

    assert len(statements(queries)) <= 12, statements(queries)


def test_a_workers_claim_of_twenty_takes_few_round_trips_and_commits(
    deliver: Deliver, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction for each run, and no more than two others that write: one that claims, one that finalizes."""
    if not has_returning():
        pytest.skip("MySQL takes the portable statements")
    connect(signals.ticket_created, lambda **kwargs: None)
    for _ in range(20):
        deliver()
    monkeypatch.setattr(holds, "REFRESH_SECONDS", 60.0)  # on a slow machine they are looked at again in between
    hold_cache.get(ALIAS)

    with CaptureQueriesContext(connection) as queries:
        assert api.run_due(20) == 20

    trips, commits = COSTS[connection.vendor]["claim"]
    assert (cost(queries)[0] <= trips, cost(queries)[1] <= commits) == (True, True), (
        cost(queries),
        statements(queries),
    )


def test_a_failure_writes_no_hold_while_the_breaker_is_off(deliver: Deliver, connect: Connect) -> None:
    connect(signals.ticket_created, fails)
    deliver()
    with CaptureQueriesContext(connection) as queries:
        api.run_due()

    written = [sql for sql in statements(queries) if Hold._meta.db_table in sql]
    assert [sql for sql in written if not sql.startswith("SELECT")] == []
