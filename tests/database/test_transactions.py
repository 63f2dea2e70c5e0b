"""Transactions that begin together with their first statement (psycopg 3)."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import OperationalError, connection, transaction

from nateq_webhooks.database.transactions import begin_with
from tests.database.test_cursors import on_psycopg
from tests.dispatch.scene import ALIAS, backend_id, elsewhere, kill_connection

pytestmark = pytest.mark.django_db(transaction=True)

INSERT = "INSERT INTO auth_group (name) VALUES ('mine') RETURNING id"


@pytest.fixture
def _on_psycopg() -> Iterator[None]:
    """Have a new connection of psycopg 3, which no other test gets."""
    if not on_psycopg():
        pytest.skip("the other drivers begin by themselves")
    connection.close()
    connection.ensure_connection()
    yield
    connection.close()


def in_transaction() -> bool:
    """Return whether the driver knows of a transaction."""
    raw: Any = connection.connection
    return bool(raw.info.transaction_status)


@pytest.mark.usefixtures("_on_psycopg")
@pytest.mark.parametrize("is_undone", [False, True])
def test_the_first_statement_is_part_of_the_transaction(is_undone: bool) -> None:
    with transaction.atomic():
        assert begin_with(ALIAS, INSERT)
        assert in_transaction()
        transaction.set_rollback(is_undone)

    assert not in_transaction()
    assert Group.objects.filter(name="mine").exists() is not is_undone


@pytest.mark.usefixtures("_on_psycopg")
def test_nothing_is_sent_outside_of_a_transaction_or_in_one_that_has_begun() -> None:
    assert not begin_with(ALIAS, INSERT)
    with transaction.atomic():
        Group.objects.exists()
        assert not begin_with(ALIAS, INSERT)

    assert not Group.objects.exists()


@pytest.mark.usefixtures("_on_psycopg")
def test_an_isolation_level_is_left_to_the_driver() -> None:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    raw: Any = connection.connection
    raw.isolation_level = IsolationLevel.REPEATABLE_READ

    with transaction.atomic():
        assert not begin_with(ALIAS, INSERT)

    assert not Group.objects.exists()


@pytest.mark.usefixtures("_on_psycopg")
def test_after_a_lost_connection_the_next_statement_says_so() -> None:
    backend = backend_id()
    elsewhere(lambda: kill_connection(backend))

    def begin() -> None:
        with transaction.atomic():
            assert not begin_with(ALIAS, INSERT)
            Group.objects.exists()

    with pytest.raises(OperationalError):
        begin()
    assert not Group.objects.exists()
