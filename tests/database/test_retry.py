"""A transaction that the database broke off is retried, whatever its driver calls the database's code."""

import sqlite3
import threading
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, OperationalError, connection, transaction

from nateq_webhooks.database import retry
from nateq_webhooks.database.retry import TRIES, error_code, is_retryable, retry_transaction
from tests.dispatch.scene import BOUND_SECONDS, at_once


class PsycopgError(Exception):
    """As psycopg's errors are."""

    sqlstate: str | None = None


class Psycopg2Error(Exception):
    """As psycopg2's errors are, which Django supports, too."""

    pgcode: str | None = None


def raised(cause: Exception | None, *args: Any) -> OperationalError:
    error = OperationalError(*args)
    error.__cause__ = cause
    return error


def caused(kind: type[Exception], **attributes: str) -> Exception:
    cause = kind()
    for name, value in attributes.items():
        setattr(cause, name, value)
    return cause


@pytest.mark.parametrize(
    ("error", "code", "is_retried"),
    [
        (raised(caused(PsycopgError, sqlstate="40P01")), "40P01", True),
        (raised(caused(PsycopgError, sqlstate="40001")), "40001", True),
        (raised(caused(PsycopgError, sqlstate="23505")), "23505", False),
        (raised(caused(Psycopg2Error, pgcode="40P01")), "40P01", True),
        (raised(caused(Psycopg2Error, pgcode="40001")), "40001", True),
        (raised(caused(Psycopg2Error, pgcode="23505")), "23505", False),
        (raised(PsycopgError(), "the connection is closed"), None, False),
        (raised(Psycopg2Error(), "server closed the connection unexpectedly"), None, False),
        (raised(None, 1213, "Deadlock found"), 1213, True),
        (raised(None, 1205, "Lock wait timeout exceeded"), 1205, True),
        (raised(None, 1062, "Duplicate entry"), 1062, False),
        (raised(None, "database is locked"), None, True),
        (raised(None), None, False),
    ],
)
def test_the_code_decides(error: DatabaseError, code: str | int | None, is_retried: bool) -> None:
    assert error_code(error) == code
    assert is_retryable(error) is is_retried

    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise error

    with pytest.raises(OperationalError):
        retry_transaction(work)
    assert len(calls) == (TRIES if is_retried else 1)


def test_no_further_try_begins_after_the_time_that_the_caller_has(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 2.0, 5.0, 8.0])
    monkeypatch.setattr(retry, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    calls: list[int] = []

    def work() -> None:
        calls.append(1)
        raise raised(None, 1205, "Lock wait timeout exceeded")

    with pytest.raises(OperationalError):
        retry_transaction(work, seconds=4.0)
    assert len(calls) == 2


@pytest.mark.services
@pytest.mark.django_db(transaction=True)
def test_the_victim_of_a_deadlock_is_retried_with_the_driver_that_is_installed() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has one writer and no deadlocks")
    groups = [Group.objects.create(name=name) for name in ("first", "second")]
    both_hold_one = threading.Barrier(2)
    tries: list[int] = []

    def lock_both(order: list[Group]) -> None:
        def work() -> None:
            tries.append(1)
            with transaction.atomic():
                Group.objects.select_for_update().get(pk=order[0].pk)
                if len(tries) <= 2:
                    both_hold_one.wait(BOUND_SECONDS)
                Group.objects.select_for_update().get(pk=order[1].pk)

        retry_transaction(work)

    at_once([lambda: lock_both(groups), lambda: lock_both(groups[::-1])])

    # One deadlock; on a busy machine the victim may begin again before the survivor goes on, and there is another.
    assert 3 <= len(tries) < 2 * TRIES


def test_a_table_that_another_connection_to_a_database_in_memory_holds_is_waited_for() -> None:
    """SQLite does not wait by itself there, whatever the timeout is."""
    name = "file:held_in_memory?mode=memory&cache=shared"
    with closing(_shared(name)) as first, closing(_shared(name)) as second:
        first.execute("CREATE TABLE ticket (number integer)")
        first.execute("BEGIN IMMEDIATE")
        tries = []

        def insert() -> None:
            tries.append(1)
            try:
                second.execute("INSERT INTO ticket VALUES (1)")
            except sqlite3.OperationalError as error:
                if len(tries) > 2 * TRIES and first.in_transaction:
                    first.execute("COMMIT")
                raise OperationalError(*error.args) from error

        first.execute("INSERT INTO ticket VALUES (0)")
        retry_transaction(insert)

        assert len(tries) > 2 * TRIES
        assert first.execute("SELECT number FROM ticket ORDER BY number").fetchall() == [(0,), (1,)]


def _shared(name: str) -> sqlite3.Connection:
    return sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)


def test_a_table_that_stays_held_is_not_waited_for_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "SHARED_WAIT_SECONDS", 0.05)

    def insert() -> None:
        raise OperationalError("database table is locked: nateq_webhooks_delivery")

    with pytest.raises(OperationalError, match="table is locked") as failed:
        retry_transaction(insert)
    assert is_retryable(failed.value)
