"""Connection pools: who needs how many connections, and who says so when there are too few."""

from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from nateq_webhooks.runners.pools import size_of
from tests.test_checks import found, ids


@pytest.mark.parametrize(
    ("pool", "size"),
    [
        (None, None),
        (False, None),
        (True, 4),
        ({}, None),
        ({"min_size": 2}, 2),
        ({"min_size": 2, "max_size": 10}, 10),
        ({"max_size": 3, "timeout": 10}, 3),
        ({"max_size": None}, 4),
        ({"max_size": "many"}, None),
    ],
)
def test_the_size_of_a_pool_is_what_psycopg_makes_of_it(pool: Any, size: int | None) -> None:
    assert size_of({"pool": pool} if pool is not None else {}) == size


@pytest.mark.parametrize(("size", "warnings"), [(1, ["W025"]), (2, ["W025"]), (3, [])])
def test_a_pool_that_is_too_small_for_one_thread_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, size: int, warnings: list[str]
) -> None:
    monkeypatch.setitem(
        connection.settings_dict, "OPTIONS", {"pool": {"max_size": size}, "transaction_mode": "IMMEDIATE"}
    )

    assert ids() == warnings
    for warning in found():
        assert f"has at most {size} connections; a worker needs 3" in warning.msg
        assert 'Set OPTIONS["pool"]["max_size"] to 3 or more' in str(warning.hint)
        assert 'less than 4, which is the default of "min_size"' in str(warning.hint)


@pytest.mark.django_db
@pytest.mark.parametrize(("concurrency", "is_said"), [(4, True), (3, False)])
def test_a_worker_says_when_its_threads_take_the_leases_connection(
    monkeypatch: pytest.MonkeyPatch, concurrency: int, *, is_said: bool
) -> None:
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"pool": {"max_size": 5}})
    command = "nateq_webhooks.management.commands.nateq_worker"
    monkeypatch.setattr(f"{command}.drain", lambda *args, **kwargs: 0)
    monkeypatch.setattr(f"{command}.has_unapplied_migrations", lambda: False)
    said = StringIO()

    call_command("nateq_worker", once=True, concurrency=concurrency, verbosity=0, stderr=said)

    assert ("has at most 5 connections, and --concurrency 4 needs 6" in said.getvalue()) == is_said
