"""The log of a webhook: every attempt once, the newest first, whatever the pages are."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks.database.keyset import bounded_scan
from nateq_webhooks.models import Attempt, Webhook
from tests.api.conftest import Program
from tests.builders import ago, build_delivery, insert, store_deliveries, store_run

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


def entries(program: Program, webhook: Webhook, **query: Any) -> list[dict[str, Any]]:
    """Follow the cursor to the end."""
    found: list[dict[str, Any]] = []
    for _page in range(200):
        document = program.ask(f"/webhooks/{webhook.pk}/logs", query).json()
        assert len(document["data"]) <= query.get("limit", 50)
        found += document["data"]
        if document["meta"]["next_cursor"] is None:
            return found
        query["cursor"] = document["meta"]["next_cursor"]
    raise AssertionError("The log does not end.")


@pytest.fixture
def ids(webhook: Webhook) -> list[str]:
    """Store deliveries and later attempts, mixed, of this webhook and of another; return this one's, newest first."""
    other = Webhook.objects.create(name="other")
    start = ago(hours=5)
    moments: list[tuple[Any, str]] = []
    for number in range(40):
        at = start + timedelta(minutes=number)
        [foreign] = insert([build_delivery(other, at)])
        [own] = insert([build_delivery(webhook, at)])
        moments.append((at, str(own.pk)))
        if number % 3 == 0:
            again = Attempt.objects.create(delivery=own, number=2, received_at=at + timedelta(seconds=30))
            moments.append((again.received_at, f"{own.pk}.{again.pk}"))
        for repeat in range(3):
            Attempt.objects.create(delivery=foreign, number=repeat, received_at=at + timedelta(seconds=40))
    late = Attempt.objects.create(delivery_id=int(moments[0][1]), number=9, received_at=timezone.now())
    moments.append((late.received_at, f"{late.delivery_id}.{late.pk}"))
    return [identity for _at, identity in sorted(moments, reverse=True)]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
@pytest.mark.parametrize("max_rows", [10_000, 4])
def test_every_attempt_comes_once_in_the_order_of_time(
    program: Program, webhook: Webhook, ids: list[str], limit: int, max_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_scan, "MAX_ROWS", max_rows)
    monkeypatch.setattr(bounded_scan, "FIRST_BATCH", min(max_rows, bounded_scan.FIRST_BATCH))

    assert [entry["id"] for entry in entries(program, webhook, limit=limit)] == ids


def test_offset_skips_entries(program: Program, webhook: Webhook, ids: list[str]) -> None:
    found = program.data(f"/webhooks/{webhook.pk}/logs", {"offset": 5, "limit": 10})

    assert [entry["id"] for entry in found] == ids[5:15]
    error = program.error(f"/webhooks/{webhook.pk}/logs", {"offset": 301}, status=422)
    assert error["details"] == {"offset": "must be a whole number from 0 to 300."}


@pytest.mark.parametrize("cursor", ["x", "1", "-", "1-2-3", f"{'9' * 19}0-1", "9" * 19 + "-1", "\u0661-1", "1-\0", ""])
def test_another_cursor_is_named(program: Program, webhook: Webhook, cursor: str) -> None:
    error = program.error(f"/webhooks/{webhook.pk}/logs", {"cursor": cursor}, status=422)

    assert set(error["details"]) == {"cursor"}


def test_an_entry_says_what_came_how_it_was_answered_and_what_each_receiver_did(
    program: Program, webhook: Webhook
) -> None:
    [delivery] = store_deliveries(webhook, attempt=1, remote_addr="192.0.2.7", delivery_id="dlv_7")
    store_run(delivery, "shop.mail", status="dead", tries=3)
    store_run(delivery, "shop.mail", round=5, tries=1)
    store_run(delivery, "shop.crm", tries=2)
    Attempt.objects.create(delivery=delivery, number=2)

    again, first = program.data(f"/webhooks/{webhook.pk}/logs")

    assert (first["delivery_id"], first["attempt"], first["delivery"]) == ("dlv_7", 1, delivery.pk)
    assert (first["status"], first["response_status"], first["remote_addr"]) == ("delivered", 200, "192.0.2.7")
    assert sorted(first["receivers"], key=str) == [
        {"receiver": "shop.crm", "status": "succeeded", "tries": 2, "failed_tries": []},
        {"receiver": "shop.mail", "status": "succeeded", "tries": 1, "failed_tries": []},
    ]
    assert (again["delivery_id"], again["attempt"], again["receivers"]) == ("dlv_7", 2, [])


def test_an_unreadable_delivery_was_answered_with_400(program: Program, webhook: Webhook) -> None:
    store_deliveries(webhook, status="invalid")

    [entry] = program.data(f"/webhooks/{webhook.pk}/logs")

    assert (entry["status"], entry["response_status"]) == ("failed", 400)


def test_an_answer_that_depended_on_the_receivers_is_not_guessed(program: Program, webhook: Webhook) -> None:
    store_deliveries(webhook)

    with override_settings(NATEQ_WEBHOOKS={"ACK": "processed"}):
        [entry] = program.data(f"/webhooks/{webhook.pk}/logs")

    assert (entry["status"], entry["response_status"]) == (None, None)


@pytest.mark.parametrize("pk", ["x", "0", "%00", "00000000-0000-0000-0000-000000000000", "9" * 10_000, "{}"])
@pytest.mark.parametrize("rest", ["", "/logs"])
def test_a_webhook_that_is_not_there_is_404(program: Program, pk: str, rest: str) -> None:
    assert program.error(f"/webhooks/{pk}{rest}", status=404)["code"] == "NOT_FOUND"
