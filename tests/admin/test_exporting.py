"""Taking deliveries away: JSON lines and CSV, streamed, kept in the history, without payloads for whom they are not."""

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

from nateq_webhooks.admin.deliveries import export_parts, export_stream, selection
from nateq_webhooks.dispatch import Selection
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


def test_csv_has_a_head_and_no_cell_that_is_a_formula(boss: Client, sender: Sender) -> None:
    sender.post(envelope(delivery_id="=cmd|' /C calc'!A0"))

    rows = list(csv.DictReader(io.StringIO(taken(boss, format="csv", everything="yes"))))

    assert [row["delivery_id"] for row in rows] == ["'=cmd|' /C calc'!A0"]


def test_only_what_was_ticked_is_taken(boss: Client, stored: list[Delivery]) -> None:
    page = boss.post(LIST, {"action": "export_selected", "_selected_action": [stored[1].pk], "index": "0"})
    assert "1 delivery" in page.content.decode()

    assert [row["delivery_id"] for row in lines(taken(boss, deliveries=str(stored[1].pk)))] == ["dlv_1"]


def test_portions_neither_repeat_nor_leave_out(boss: Client, sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_stream, "PORTION", 2)
    monkeypatch.setattr(export_stream, "SPAN", 3)
    for number in range(11):
        sender.post(envelope("message.sent" if number % 3 else "ticket.created", delivery_id=f"dlv_{number}"))

    found = [row["delivery_id"] for row in lines(taken(boss, event="message.sent"))]

    assert found == [f"dlv_{number}" for number in range(11) if number % 3]


def test_without_view_payload_nothing_of_a_customer_leaves(
    staff: Callable[..., Client], stored: list[Delivery]
) -> None:
    client = staff("view_delivery", "export_delivery")

    for kind in ("jsonl", "csv"):
        text = taken(client, format=kind, everything="yes")
        assert "dlv_1" in text
        assert "body" not in text
        assert "سارة" not in text


def test_without_the_permission_there_is_no_export(staff: Callable[..., Client], stored: list[Delivery]) -> None:
    client = staff("view_delivery", "view_payload")

    assert "export_selected" not in client.get(LIST).content.decode()
    assert client.post(EXPORT, {"format": "jsonl", "everything": "yes"}).status_code == 403


def test_the_history_says_who_took_what(boss: Client, stored: list[Delivery]) -> None:
    taken(boss, event="ticket.created")

    entry = LogEntry.objects.get()
    assert (entry.user.get_username(), entry.change_message) == ("boss", "Exported 3 deliveries as jsonl.")


def test_a_body_that_is_no_text_is_written_with_escapes(boss: Client, sender: Sender) -> None:
    sender.post(b"\xff\xfe not JSON")

    assert lines(taken(boss))[0]["body"] == "\\xff\\xfe not JSON"


def test_an_unknown_format_is_a_clear_answer(boss: Client, stored: list[Delivery]) -> None:
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


@pytest.fixture
def in_parts(stored: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The values of the parts that the page offers for three deliveries, of which more than one are many."""
    monkeypatch.setattr(selection, "MOST_COUNTED", 1)
    monkeypatch.setattr(export_parts, "KEYS_OF_A_PART", 2)
    return [part.value for part in export_parts.parts_of(Selection(event="ticket.created"))]


def test_many_are_offered_part_by_part(boss: Client, in_parts: list[str]) -> None:
    page = boss.get(f"{EXPORT}?event=ticket.created").content.decode()

    assert len(in_parts) == 2
    assert all(f'name="part" value="{value}"' in page for value in in_parts)
    assert "Part 2 of 2" in page


def test_the_parts_together_are_the_whole(boss: Client, in_parts: list[str]) -> None:
    rows = [row for value in in_parts for row in lines(taken(boss, event="ticket.created", part=value))]

    assert [row["delivery_id"] for row in rows] == ["dlv_0", "dlv_1", "dlv_2"]
    assert LogEntry.objects.earliest("pk").change_message.endswith(" Part 2 of 2.") is False
    assert LogEntry.objects.latest("pk").change_message.endswith(" Part 2 of 2.")


def test_a_part_is_named_in_its_file(boss: Client, in_parts: list[str]) -> None:
    answer = boss.post(EXPORT, {"format": "csv", "event": "ticket.created", "part": in_parts[1]})

    assert "-part-2-of-2.csv" in answer["Content-Disposition"]


@pytest.mark.parametrize("value", ["x", "1-2", "2-1-1-1", "0-1-1-1", "1-1-5-4", "1-1-1-x", "1-401-1-2"])
def test_what_is_no_part_is_a_clear_answer(boss: Client, stored: list[Delivery], value: str) -> None:
    assert boss.post(EXPORT, {"format": "csv", "event": "ticket.created", "part": value}).status_code == 400


def test_few_are_one_download(boss: Client, stored: list[Delivery]) -> None:
    assert 'name="part"' not in boss.get(f"{EXPORT}?event=ticket.created").content.decode()


def test_of_very_many_each_part_is_larger(stored: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_parts, "KEYS_OF_A_PART", 1)
    monkeypatch.setattr(export_parts, "MOST_PARTS", 2)

    parts = export_parts.parts_of(Selection(event="ticket.created"))

    first = stored[0].pk
    assert [(part.first, part.last) for part in parts] == [(first, first + 1), (first + 2, first + 2)]
