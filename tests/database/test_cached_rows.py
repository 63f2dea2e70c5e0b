"""Rows that a process caches: their age, and what makes them invalid."""

import pytest
from django.db import transaction

from nateq_webhooks.database.cached_rows import CachedRows


@pytest.mark.django_db
def test_rows_are_valid_until_they_are_invalidated_and_fresh_up_to_an_age() -> None:
    rows: CachedRows[str] = CachedRows()
    assert (rows.rows, rows.is_valid, rows.fresh(60)) == (None, False, None)

    assert rows.read("default", lambda: "first") == "first"
    assert (rows.rows, rows.is_valid, rows.fresh(60), rows.fresh(0)) == ("first", True, "first", None)

    rows.invalidate()
    assert (rows.rows, rows.is_valid, rows.fresh(60)) == ("first", False, None)


@pytest.mark.django_db
def test_rows_that_are_invalidated_while_they_are_read_stay_invalid() -> None:
    rows: CachedRows[str] = CachedRows()

    def load() -> str:
        rows.invalidate()
        return "old"

    assert rows.read("default", load) == "old"

    assert rows.fresh(60) is None


@pytest.mark.django_db
def test_rows_that_were_read_in_a_transaction_are_invalid_after_it() -> None:
    rows: CachedRows[str] = CachedRows()

    with transaction.atomic():
        rows.read("default", lambda: "not committed")
        assert rows.is_valid

    assert not rows.is_valid


@pytest.mark.django_db
def test_a_read_that_fails_leaves_what_was_there() -> None:
    rows: CachedRows[str] = CachedRows()
    rows.read("default", lambda: "first")

    def load() -> str:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        rows.read("default", load)

    assert rows.fresh(60) == "first"
