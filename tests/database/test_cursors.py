"""Cursors that are kept with a connection of PostgreSQL, and their prepared statements."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, InterfaceError, OperationalError, connection, transaction
from pytest_django import Settings

from nateq_webhooks import signals
from nateq_webhooks.database.cursors import prepares, statement_cursor
from nateq_webhooks.models import Delivery
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)


def on_psycopg() -> bool:
    if connection.vendor != "postgresql":
        return False
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return bool(is_psycopg3)


def select(value: int) -> int:
    with statement_cursor(connection) as cursor:
        cursor.execute("SELECT %s + 1", [value])
        return int(cursor.fetchone()[0])


def prepared_statements() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return [row[0] for row in cursor.fetchall()]


@pytest.fixture
def other_options() -> Iterator[Any]:
    """Connect with other OPTIONS for the length of a test."""
    if not on_psycopg():
        pytest.skip("psycopg prepares statements; the other drivers do not")
    options = connection.settings_dict["OPTIONS"]

    def reconnect(**changed: Any) -> None:
        connection.close()
        connection.settings_dict["OPTIONS"] = options | changed

    yield reconnect
    connection.close()
    connection.settings_dict["OPTIONS"] = options


def test_a_statement_returns_what_any_other_cursor_returns() -> None:
    assert [select(number) for number in range(5)] == [1, 2, 3, 4, 5]


def test_an_error_leaves_the_cursor_usable() -> None:
    with pytest.raises(DatabaseError), statement_cursor(connection) as cursor:
        cursor.execute("SELECT nothing FROM nowhere")

    assert select(1) == 2


def test_the_cursor_works_in_a_transaction_that_was_rolled_back() -> None:
    with transaction.atomic():
        select(1)
        transaction.set_rollback(True)

    with transaction.atomic():
        assert select(2) == 3


def test_a_new_connection_gets_a_cursor_of_its_own() -> None:
    select(1)
    connection.close()

    assert select(2) == 3


def test_each_thread_has_a_cursor_of_its_own() -> None:
    found: list[int] = []

    def work() -> None:
        try:
            found.extend(select(number) for number in range(50))
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted(4 * list(range(1, 51)))


def test_a_lost_connection_is_djangos_error(other_options: Any) -> None:
    select(1)
    connection.connection.close()

    with pytest.raises((OperationalError, InterfaceError)):
        select(2)


class TestPrepared:
    """`prepare_threshold` in OPTIONS."""

    def test_nothing_is_prepared_without_a_threshold(self, other_options: Any) -> None:
        other_options(prepare_threshold=None)
        for number in range(5):
            select(number)

        assert not prepares(connection)
        assert prepared_statements() == []

    @pytest.mark.parametrize("options", [{}, {"server_side_binding": True}], ids=["alone", "with server_side_binding"])
    def test_repeated_statements_are_prepared_with_one(self, other_options: Any, options: dict[str, Any]) -> None:
        other_options(prepare_threshold=2, **options)
        for number in range(5):
            select(number)

        assert prepares(connection)
        assert any(statement.startswith("SELECT $1 + 1") for statement in prepared_statements())

    def test_the_statements_of_a_delivery_are_prepared(
        self, other_options: Any, sender: Sender, settings: Settings, connect: Connect
    ) -> None:
        settings.NATEQ_WEBHOOKS = {"DISPATCH": "inline"}
        connect(signals.ticket_created, lambda **kwargs: None)
        other_options(prepare_threshold=2)
        for number in range(5):
            assert sender.post(envelope(delivery_id=f"dlv_{number}")).status_code == 200

        prepared = prepared_statements()
        for table in ("nateq_webhooks_delivery", "nateq_webhooks_run"):
            assert any(f'"{table}"' in statement for statement in prepared)
        assert Delivery.objects.filter(status=Delivery.Status.PROCESSED).count() == 5

    def test_other_statements_are_not_prepared(self, other_options: Any) -> None:
        other_options(prepare_threshold=2)
        for _ in range(5):
            assert Delivery.objects.count() == 0

        assert not any("nateq_webhooks_delivery" in statement for statement in prepared_statements())
