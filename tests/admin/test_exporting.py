"""Exports of deliveries: JSON lines and CSV, streamed, logged, without payloads for users who may not see them."""

import asyncio
import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest
from asgiref.sync import sync_to_async
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient, Client
from django.urls import reverse

from nateq_webhooks.admin.deliveries import export_stream, selection
from nateq_webhooks.models import Delivery
from tests.conftest import Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)

LIST = reverse("admin:nateq_webhooks_delivery_changelist")
EXPORT = reverse("admin:nateq_webhooks_delivery_export")


@pytest.fixture
def stored(sender: Sender) -> list[Delivery]:
    for number in range(3):
        sender.post(envelope(delivery_id=f"dlv_{number}", data={"id": f"tkt_{number}", "note": "=1+1 سارة"}))
    return list(Delivery.objects.order_by("pk"))


def taken(client: Client, **data: Any) -> str:
    """The export's content."""
    answer = client.post(EXPORT, {"format": "jsonl", **(data or {"everything": "yes"})})
    assert answer.status_code == 200
    assert answer.streaming
    return b"".join(cast(Any, answer).streaming_content).decode()


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_json_lines_hold_each_delivery_with_its_exact_body(boss: Client, stored: list[Delivery]) -> None:
    rows = lines(taken(boss))

    assert [row["delivery_id"] for row in rows] == ["dlv_0", "dlv_1", "dlv_2"]
    assert [row["body"].encode() for row in rows] == [one.body for one in stored]
    assert {(row["webhook"], row["event"], row["status"]) for row in rows} == {("shop", "ticket.created", "processed")}
    assert rows[0]["received_at"] == stored[0].received_at.isoformat()


def test_csv_has_a_header_and_no_cell_that_is_a_formula(boss: Client, sender: Sender) -> None:
    sender.post(envelope(delivery_id="=cmd|' /C calc'!A0"))

    rows = list(csv.DictReader(io.StringIO(taken(boss, format="csv", everything="yes"))))

    assert [row["delivery_id"] for row in rows] == ["'=cmd|' /C calc'!A0"]


def test_only_the_selected_deliveries_are_exported(boss: Client, stored: list[Delivery]) -> None:
    page = boss.post(LIST, {"action": "export_selected", "_selected_action": [stored[1].pk], "index": "0"})
    assert "1 delivery" in page.content.decode()

    assert [row["delivery_id"] for row in lines(taken(boss, deliveries=str(stored[1].pk)))] == ["dlv_1"]


def test_batches_neither_repeat_nor_leave_out(boss: Client, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_stream, "BATCH_SIZE", 2)
    monkeypatch.setattr(export_stream, "SPAN", 3)
    for number in range(11):
        sender.post(envelope("message.sent" if number % 3 else "ticket.created", delivery_id=f"dlv_{number}"))

    found = [row["delivery_id"] for row in lines(taken(boss, event="message.sent"))]

    assert found == [f"dlv_{number}" for number in range(11) if number % 3]


def test_an_export_without_view_payload_has_no_customer_data(
    staff: Callable[..., Client], stored: list[Delivery]
) -> None:
    client = staff("view_delivery", "export_delivery")

    for kind in ("jsonl", "csv"):
        text = taken(client, format=kind, everything="yes")
        assert "dlv_1" in text
        assert "body" not in text
        assert "سارة" not in text


def test_the_history_says_who_exported_what(boss: Client, stored: list[Delivery]) -> None:
    taken(boss, event="ticket.created")

    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.change_message) == ("boss", "Exported 3 deliveries as jsonl.")


def test_a_body_that_is_not_text_is_written_with_escapes(boss: Client, sender: Sender) -> None:
    sender.post(b"\xff\xfe not JSON")

    assert lines(taken(boss))[0]["body"] == "\\xff\\xfe not JSON"


def test_an_unknown_format_is_refused_with_a_message(boss: Client, stored: list[Delivery]) -> None:
    answer = boss.post(EXPORT, {"format": "xlsx", "everything": "yes"})

    assert answer.status_code == 400
    assert b"jsonl or csv" in answer.content


def test_under_asgi_it_streams_too(stored: list[Delivery]) -> None:
    user = User.objects.create_superuser("async boss")

    async def take() -> str:
        client = AsyncClient()
        await client.aforce_login(user)
        answer = cast(Any, await client.post(EXPORT, {"format": "jsonl", "everything": "yes"}))
        assert answer.is_async
        parts = cast(AsyncIterator[bytes], answer.streaming_content)
        whole = b"".join([part async for part in parts]).decode()
        await sync_to_async(connections.close_all)()  # those of the thread that ends with this event loop
        return whole

    assert len(lines(asyncio.run(take()))) == 3


def test_an_export_continues_after_a_key(boss: Client, stored: list[Delivery]) -> None:
    rows = lines(taken(boss, event="ticket.created", after=stored[0].pk))

    assert [row["delivery_id"] for row in rows] == ["dlv_1", "dlv_2"]
    assert LogEntry.objects.get().change_message.endswith(f" Continued after delivery {stored[0].pk}.")


def test_the_page_and_the_file_say_that_an_export_is_continued(boss: Client, stored: list[Delivery]) -> None:
    page = boss.get(f"{EXPORT}?event=ticket.created&after={stored[1].pk}").content.decode()
    answer = boss.post(EXPORT, {"format": "csv", "event": "ticket.created", "after": stored[1].pk})

    assert f'name="after" value="{stored[1].pk}"' in page
    assert f"ended after delivery {stored[1].pk}" in page
    assert f"-after-{stored[1].pk}.csv" in answer["Content-Disposition"]


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30])
def test_an_invalid_key_to_continue_after_is_refused_with_a_message(
    boss: Client, stored: list[Delivery], after: str
) -> None:
    answer = boss.post(EXPORT, {"format": "csv", "event": "ticket.created", "after": after})

    assert answer.status_code == 400
    assert b'class="errornote"' in answer.content


def test_the_page_of_a_large_export_says_how_it_is_continued(
    boss: Client, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the address that continues it" not in boss.get(f"{EXPORT}?event=ticket.created").content.decode()

    monkeypatch.setattr(selection, "MAX_COUNTED", 1)

    assert "the address that continues it" in boss.get(f"{EXPORT}?event=ticket.created").content.decode()
