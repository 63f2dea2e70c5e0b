"""Another content under the id of a stored delivery: kept within limits, noted, announced, and never run."""

import functools
import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection, connections

from nateq_webhooks import signals
from nateq_webhooks.inbox import other_content
from nateq_webhooks.models import Attempt, Delivery, OtherContent, Run
from nateq_webhooks.protocol.envelope import content_hash
from tests.conftest import SECRET, Sender, envelope
from tests.dispatch.scene import Connect
from tests.test_views import has_returning, statements

pytestmark = pytest.mark.django_db

TRANSACTIONS = ("BEGIN", "COMMIT", "SAVEPOINT", "RELEASE")


@pytest.fixture
def differences() -> Iterator[list[dict[str, Any]]]:
    """What the monitoring signal sent."""
    seen: list[dict[str, Any]] = []

    def watch(**kwargs: Any) -> None:
        seen.append(kwargs)

    signals.delivery_content_differs.connect(watch)
    yield seen
    signals.delivery_content_differs.disconnect(watch)


def test_three_contents_under_one_id_are_all_kept(
    sender: Sender, connect: Connect, differences: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[str] = []
    connect(signals.event_received, lambda *, event, **kwargs: ran.append(event.name))
    names = ["ticket.created", "ticket.updated", "ticket.closed"]

    with caplog.at_level(logging.WARNING, "nateq_webhooks"):
        answers = [sender.post(envelope(name, delivery_id="test_0000")) for name in names]

    assert [(one.status_code, one.json()["status"]) for one in answers] == [
        (200, "stored"),
        (200, "already stored"),
        (200, "already stored"),
    ]
    delivery = Delivery.objects.get()
    assert delivery.event == "ticket.created"
    assert [other.load_event().name for other in delivery.other_contents.all()] == names[1:]
    assert [other.event for other in delivery.other_contents.all()] == names[1:]
    assert (delivery.notes, delivery.attempts_seen) == (["content_differs"], 3)
    assert ran == ["ticket.created"]
    assert Run.objects.count() == 1
    assert [(one["sender"], one["delivery"], one["event"].name) for one in differences] == [
        (Delivery, delivery, "ticket.updated"),
        (Delivery, delivery, "ticket.closed"),
    ]
    assert len(caplog.records) == 2
    assert f"Delivery {delivery.pk} was repeated with other content under the same id" in caplog.text
    assert "'ticket.updated'" in caplog.text


def test_other_content_is_kept_with_time_address_attempt_and_secret(sender: Sender) -> None:
    sender.post(envelope(data=1))
    body = json.dumps(envelope(data=2, attempt=3)).encode()
    sender.post(body, REMOTE_ADDR="203.0.113.9")

    other = OtherContent.objects.get()
    delivery = Delivery.objects.get()
    assert (other.body, other.size, other.number, other.remote_addr) == (body, len(body), 3, "203.0.113.9")
    assert other.content_hash == content_hash(body)
    assert other.received_at == delivery.last_received_at
    assert other.secret_id == delivery.secret_id
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("over", ["event", "timestamp", "organization_id", "data"])
def test_a_change_of_any_part_is_other_content(sender: Sender, over: str) -> None:
    sender.post(envelope())
    sender.post(envelope(attempt=2) | {over: "2026-06-30T12:00:01Z"})

    assert OtherContent.objects.count() == 1


def with_data(text: str, **metadata: Any) -> bytes:
    """Return a body whose `data` is written exactly so."""
    body = json.dumps(envelope(data="DATA", **metadata))
    return body.replace('"DATA"', text).encode()


WITHOUT_DATA = json.dumps({key: value for key, value in envelope().items() if key != "data"}).encode()
OTHER_METADATA = envelope() | {"metadata": {"delivery_id": "dlv_1", "attempt": 4, "version": "2.0", "more": 1}}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(with_data('{"a": 1, "b": 2}'), with_data('{ "b":2,\n"a":1 }'), id="keys and whitespace"),
        pytest.param(with_data('"\\u00e9\\ud83d\\ude00"'), with_data('"é😀"'), id="escapes"),
        pytest.param(with_data("1.50"), with_data("1.5"), id="zeros"),
        pytest.param(with_data("100.0"), with_data("1e2"), id="exponent"),
        pytest.param(with_data('{"a": 1, "a": 2}'), with_data('{"a": 2}'), id="doubled keys"),
        pytest.param(with_data("NaN"), with_data("NaN", attempt=2), id="NaN"),
        pytest.param(WITHOUT_DATA, with_data("null"), id="a missing key and null"),
        pytest.param(envelope(), OTHER_METADATA, id="metadata"),
    ],
)
def test_the_same_content_written_differently_is_an_attempt(sender: Sender, first: Any, second: Any) -> None:
    sender.post(first)
    sender.post(second)

    assert not OtherContent.objects.exists()
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("1", "1.0", id="a float"),
        pytest.param("1", "true", id="a boolean"),
        pytest.param("1", '"1"', id="a text"),
        pytest.param("9007199254740993", "9007199254740992", id="large integers"),
        pytest.param("[1, 2]", "[2, 1]", id="order"),
        pytest.param('"é"', '"e\\u0301"', id="composition"),
        pytest.param('"\\ud800"', '"\\ud801"', id="half a pair"),
        pytest.param("null", "false", id="null"),
    ],
)
def test_a_different_value_is_other_content(sender: Sender, first: str, second: str) -> None:
    sender.post(with_data(first))
    sender.post(with_data(second))

    assert OtherContent.objects.count() == 1


@pytest.mark.parametrize("body", [b"no json", b"\xff\xfe", b"[1]", b'{"data": 1}'], ids=["text", "bytes", "list", "id"])
def test_a_body_without_an_id_is_identified_by_its_content(sender: Sender, body: bytes) -> None:
    sender.post(body)
    sender.post(body)
    sender.post(body.replace(b"1", b"2") + b" ")

    assert not OtherContent.objects.exists()


def test_the_same_other_content_is_kept_once(sender: Sender, differences: list[dict[str, Any]]) -> None:
    sender.post(envelope())
    for attempt in (1, 2, 3):
        sender.post(envelope("ticket.updated", attempt=attempt))
    sender.post(envelope(attempt=2))

    assert OtherContent.objects.count() == 1
    assert list(Attempt.objects.values_list("number", flat=True)) == [2, 3, 2]
    assert len(differences) == 3
    assert Delivery.objects.get().notes == ["content_differs"]


def test_a_flood_of_contents_does_not_fill_the_database(
    sender: Sender, differences: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "nateq_webhooks"):
        for number in range(15):
            assert sender.post(envelope(data=number)).status_code == 200

    assert OtherContent.objects.count() == 10
    assert Delivery.objects.get().attempts_seen == 15
    assert len(differences) == 14
    assert "too many are kept" in caplog.records[-1].message


def test_the_bytes_of_other_contents_are_bounded(sender: Sender, settings: Any) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "MAX_BODY_BYTES": 2000}
    sender.post(envelope(data="first"))
    for letter in "abc":
        sender.post(envelope(data=letter * 900))

    first, *others = OtherContent.objects.all()
    assert len(first.body) == first.size > 900
    assert [(other.body, other.size) for other in others] == [(b"", first.size)] * 2
    with pytest.raises(ValueError, match="are not kept"):
        OtherContent.objects.all()[1].load_event()


@pytest.mark.parametrize("stored_as", ["small", "large"])
def test_a_delivery_stored_before_there_were_hashes(sender: Sender, settings: Any, stored_as: str) -> None:
    sender.post(envelope(data="x" * 1500))
    Delivery.objects.update(content_hash=None)
    sender.post(envelope(data="x" * 1500, attempt=2))
    assert (OtherContent.objects.count(), Attempt.objects.count()) == (0, 1)
    Delivery.objects.update(content_hash=None)
    if stored_as == "large":  # its body is not read
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "MAX_BODY_BYTES": 1000}

    sender.post(envelope(data="y"))

    is_known = stored_as == "small"
    delivery = Delivery.objects.get()
    assert OtherContent.objects.exists() is is_known
    assert (delivery.content_hash == content_hash(delivery.body)) is is_known


def test_the_same_id_at_another_webhook_is_another_delivery(sender: Sender) -> None:
    other = Sender(type(sender.webhook).objects.create(name="other", secret=SECRET))
    sender.post(envelope(data=1))
    other.post(envelope(data=2))

    assert not OtherContent.objects.exists()


def test_there_is_no_other_content_if_the_content_is_the_identity(sender: Sender, settings: Any) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "IDENTITY": "content"}
    sender.post(envelope(data=1))
    sender.post(envelope(data=2))
    Delivery.objects.update(content_hash=None)
    sender.post(envelope(data=1, attempt=2))

    assert Delivery.objects.count() == 2
    assert not OtherContent.objects.exists()


def test_other_content_that_can_not_be_stored_is_answered_503(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    sender.post(envelope(data=1))
    monkeypatch.setattr(other_content, "_insert", Mock(side_effect=OperationalError("gone")))

    assert sender.post(envelope(data=2)).status_code == 503
    assert sender.post(envelope(data=1)).status_code == 200


def test_other_content_costs_two_more_statements_at_most(sender: Sender) -> None:
    upsert = 1 if has_returning() else 3
    sender.post(envelope(data=1))

    for data in (2, 2, 3):
        assert statements(functools.partial(sender.post, envelope(data=data))) <= upsert + 2


def test_an_event_name_can_not_forge_a_line_of_the_log(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    sender.post(envelope())
    sender.post(envelope("x\nERROR forged \x1b[31m"))

    assert "\n" not in caplog.records[-1].getMessage()
    assert "\x1b" not in caplog.records[-1].getMessage()


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_store_each_content_once(sender: Sender) -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite's tests share one connection.")
    sender.post(envelope(data="first"))

    def post(number: int) -> None:
        try:
            Sender(sender.webhook).post(envelope(data=number % 3))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(12) as threads:
        list(threads.map(post, range(12)))

    assert OtherContent.objects.count() == 3
    assert Delivery.objects.get().attempts_seen == 13
