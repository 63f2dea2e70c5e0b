"""What control costs a site that uses none of it: nothing but a look at the holds, twice a second."""

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.holds import hold_cache
from tests.conftest import Sender, envelope
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)

TRANSACTIONS = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


def statements(queries: CaptureQueriesContext) -> list[str]:
    """Return the statements without those that only begin and end a transaction."""
    return [query["sql"] for query in queries.captured_queries if not query["sql"].startswith(TRANSACTIONS)]


@pytest.mark.parametrize("ack", ["stored", "processed"])
def test_a_new_delivery_with_one_inline_receiver_takes_ten_statements_at_most(
    sender: Sender, connect: Connect, configure: Configure, ack: str
) -> None:
    configure(DISPATCH="inline", ACK=ack)
    connect(signals.ticket_created, lambda **kwargs: None)
    sender.post(envelope(delivery_id="warms up"))
    hold_cache.invalidate()  # the dearer case: the holds are looked at

    with CaptureQueriesContext(connection) as queries:
        assert sender.post(envelope()).status_code == 200

    made = statements(queries)
    assert len(made) <= (10 if ack == "stored" else 14), made


def test_a_workers_claim_of_twenty_takes_few_statements_per_run(
    deliver: Deliver, connect: Connect, configure: Configure
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    for _ in range(20):
        deliver()
    hold_cache.get(ALIAS)

    with CaptureQueriesContext(connection) as queries:
        assert api.run_due(20) == 20

    each_delivery = 0 if connection.features.has_select_for_update_skip_locked else 20
    each_marker = 20 if connection.vendor == "postgresql" else 0  # what finds a raw ROLLBACK
    assert len(statements(queries)) <= 20 + 9 + each_delivery + each_marker, statements(queries)


def test_a_failure_costs_no_more_while_the_breaker_is_off(deliver: Deliver, connect: Connect) -> None:
    def fails(**kwargs: Any) -> None:
        raise ValueError("broken")

    connect(signals.ticket_created, fails)
    deliver()
    with CaptureQueriesContext(connection) as queries:
        api.run_due()

    assert not [sql for sql in statements(queries) if "nateq_webhooks_gate" in sql and not sql.startswith("SELECT")]
