"""The example deliveries: every event has one, and it depends on its number alone."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from nateq_webhooks.protocol import envelope
from nateq_webhooks.protocol.events import EVENTS, resource_of
from nateq_webhooks.protocol.examples import example_data, example_envelope

PREFIXES = {
    "conversation": "cnv_",
    "message": "msg_",
    "ticket": "tkt_",
    "broadcast": "brd_",
    "user": "usr_",
    "lead": "led_",
}

every_event = pytest.mark.parametrize("event", EVENTS)


def body_of(event: str, *, number: int) -> bytes:
    return json.dumps(example_envelope(event, number=number, delivery_id="dlv_1"), ensure_ascii=False).encode()


def texts_of(value: Any) -> list[str]:
    """Every text in a JSON value."""
    if isinstance(value, dict):
        return [text for child in value.values() for text in texts_of(child)]
    if isinstance(value, list):
        return [text for child in value for text in texts_of(child)]
    return [value] if isinstance(value, str) else []


@every_event
def test_each_published_event_has_an_id_with_the_prefix_of_its_resource(event: str) -> None:
    assert example_data(event)["id"].startswith(PREFIXES[resource_of(event)])


@every_event
def test_each_published_event_has_more_than_an_id_to_show(event: str) -> None:
    assert len(example_data(event)) > 5


@every_event
def test_the_same_number_gives_the_same_data_and_never_the_same_object(event: str) -> None:
    first, second = example_data(event, number=5), example_data(event, number=5)

    assert first == second
    assert first is not second


@every_event
def test_another_number_gives_another_resource(event: str) -> None:
    ids = {example_data(event, number=number)["id"] for number in range(1, 51)}

    assert len(ids) == 50


@every_event
def test_data_comes_back_from_json_as_it_went_in(event: str) -> None:
    for number in range(1, 17):
        data = example_data(event, number=number)
        assert json.loads(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize("number", [0, -3, 10**30])
@every_event
def test_any_number_will_do(event: str, number: int) -> None:
    assert example_envelope(event, number=number, delivery_id="dlv_1")["data"]["id"]


def test_a_ticket_is_the_same_ticket_from_its_creation_to_its_end() -> None:
    for number in range(1, 17):
        created, updated, closed = (
            example_data(f"ticket.{action}", number=number) for action in ("created", "updated", "closed")
        )
        for key in ("id", "subject", "requester", "channel", "conversation_id", "created_at"):
            assert created[key] == updated[key] == closed[key]
        assert [created["status"], updated["status"], closed["status"]] == ["open", "pending", "closed"]
        assert created["updated_at"] < updated["updated_at"] < closed["updated_at"]


def test_a_message_and_a_ticket_belong_to_the_conversation_of_their_number() -> None:
    conversation = example_data("conversation.started", number=4)

    assert example_data("message.received", number=4)["conversation_id"] == conversation["id"]
    assert example_data("ticket.created", number=4)["conversation_id"] == conversation["id"]


def test_an_answer_is_another_message_than_the_question_it_replies_to() -> None:
    question, answer = example_data("message.received", number=2), example_data("message.sent", number=2)

    assert answer["id"] != question["id"]
    assert answer["reply_to"] == question["id"]


def test_the_first_tickets_show_both_scripts_all_channels_attachments_and_emoji() -> None:
    tickets = [example_data("ticket.created", number=number) for number in range(1, 9)]
    text = "".join(text for ticket in tickets for text in texts_of(ticket))

    assert any("\u0600" <= character <= "\u06ff" for character in text)
    assert any(character >= "\U0001f300" for character in text)
    assert {ticket["channel"] for ticket in tickets} == {"whatsapp", "email", "web"}
    assert any(ticket["attachments"] for ticket in tickets)
    assert {"id", "name", "email", "phone"} == set(tickets[0]["requester"])


def test_an_event_that_is_not_published_gets_an_object_with_an_id() -> None:
    assert example_data("ticket.merged")["id"]
    assert example_data("")["id"]


@every_event
def test_an_envelope_has_the_published_keys_and_no_others(event: str) -> None:
    document = example_envelope(event, delivery_id="dlv_7", attempt=2, version="1.1", organization_id="org_x")

    assert list(document) == ["event", "timestamp", "organization_id", "data", "metadata"]
    assert document["event"] == event
    assert document["organization_id"] == "org_x"
    assert document["metadata"] == {"delivery_id": "dlv_7", "attempt": 2, "version": "1.1"}


@every_event
def test_the_receiving_side_reads_an_envelope_and_finds_nothing_odd(event: str) -> None:
    for number in range(1, 17):
        read = envelope.read(body_of(event, number=number))

        assert isinstance(read, envelope.Envelope)
        assert read.notes == ()
        assert read.event.data == example_data(event, number=number)


def test_a_given_timestamp_is_written_in_utc() -> None:
    riyadh = timezone(timedelta(hours=3))
    moment = datetime(2026, 1, 2, 6, 4, 5, tzinfo=riyadh)

    document = example_envelope("lead.created", delivery_id="dlv_1", timestamp=moment)

    assert document["timestamp"] == "2026-01-02T03:04:05Z"


def test_without_a_timestamp_the_event_happens_when_its_data_says() -> None:
    for event, key in {"ticket.closed": "closed_at", "message.sent": "created_at"}.items():
        document = example_envelope(event, number=3, delivery_id="dlv_1")
        assert document["timestamp"] == document["data"][key]
