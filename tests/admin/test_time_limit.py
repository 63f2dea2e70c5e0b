"""The time limit of statements, on each database."""

import time

import pytest
from django.db import OperationalError, connection, transaction
from django.test import Client

from nateq_webhooks.database.keyset import time_limit
from nateq_webhooks.database.keyset.time_limit import TookTooLongError, limited
from nateq_webhooks.models import Webhook
from tests.admin.slow_site import SLOW
from tests.builders import store_deliveries


def ask_slowly() -> None:
    with connection.cursor() as cursor:
        cursor.execute(SLOW[connection.vendor])


@pytest.mark.django_db(transaction=True)
def test_a_statement_over_the_limit_ends_and_the_connection_is_usable() -> None:
    start = time.monotonic()

    with pytest.raises(TookTooLongError), limited("default", 0.3):
        ask_slowly()

    assert time.monotonic() - start < 10
    assert Webhook.objects.count() == 0
    assert not connection.in_atomic_block


@pytest.mark.django_db
def test_rows_written_earlier_in_the_transaction_stay() -> None:
    Webhook.objects.create(name="before")

    with pytest.raises(TookTooLongError), limited("default", 0.3):
        ask_slowly()

    assert list(Webhook.objects.values_list("name", flat=True)) == ["before"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_nested", [False, True])
def test_the_limit_ends_with_its_block(*, is_nested: bool) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("the others write it into each statement, or into the driver")

    def limit() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    if is_nested:
        with transaction.atomic():
            with limited("default", 2):
                assert limit() == "2s"
            assert limit() == "0"
    else:
        with limited("default", 2):
            assert limit() == "2s"
    assert limit() == "0"


@pytest.mark.django_db(transaction=True)
def test_a_lower_limit_of_the_project_stays() -> None:
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL's setting")
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL statement_timeout = '100ms'")
        with limited("default", 20), connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            assert cursor.fetchone()[0] == "100ms"


@pytest.mark.django_db(transaction=True)
def test_another_error_is_raised_as_it_is() -> None:
    with pytest.raises(OperationalError, match="lost"), limited("default", 2):
        raise OperationalError("lost")


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("tests.admin.slow_site")
@pytest.mark.parametrize(
    "query", ["", "_facets=True", "status__exact=processed", "q=tkt_1", "q=data.a=1", "cursor=last"]
)
def test_a_list_that_takes_too_long_is_answered_with_a_message(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    store_deliveries(webhook, 2)
    monkeypatch.setattr(time_limit, "MAX_SECONDS", 0.2)
    start = time.monotonic()

    answer = boss.get(f"/slow/nateq_webhooks/delivery/?{query}")

    assert answer.status_code == 200
    assert "The query was cancelled" in answer.content.decode()
    assert time.monotonic() - start < 10


@pytest.mark.django_db(transaction=True)
@pytest.mark.urls("tests.admin.slow_site")
@pytest.mark.parametrize("page", ["replay-many", "export"])
def test_a_preview_that_takes_too_long_is_answered_with_a_message(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, page: str
) -> None:
    store_deliveries(webhook, 2)
    monkeypatch.setattr(time_limit, "MAX_SECONDS", 0.2)

    answer = boss.get(f"/slow/nateq_webhooks/delivery/{page}/?event=ticket.created")

    assert answer.status_code == 400
    assert b"Choose fewer" in answer.content
