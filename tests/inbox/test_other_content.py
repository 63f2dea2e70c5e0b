"""Another content under the id of a stored delivery: kept within limits, noted, announced, and never run."""

import functools
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

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


def test_what_is_kept_says_when_and_from_where_it_came(sender: Sender) -> None:
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
def test_each_part_of_the_content_counts(sender: Sender, over: str) -> None:
    sender.post(envelope())
    sender.post(envelope(attempt=2) | {over: "2026-06-30T12:00:01Z"})

    assert OtherContent.objects.count() == 1


def with_data(text: str, **metadata: Any) -> bytes:
    """Return a body whose `data` is written exactly so."""
    body = json.dumps(envelope(data="DATA", **metadata))
    return body.replace('"DATA"', text).encode()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ('{"a": 1, "b": 2}', '{ "b":2,\n"a":1 }'),
        ('"\\u00e9\\ud83d\\ude00"', '"é😀"'),
        ("1.50", "1.5"),
        ("100.0", "1e2"),
        ('{"a": 1, "a": 2}', '{"a": 2}'),
        ("NaN", "NaN"),
    ],
    ids=["keys and whitespace", "escapes", "zeros", "exponent", "doubled keys", "NaN"],
)
def test_the_form_of_the_json_does_not_count(sender: Sender, first: str, second: str) -> None:
    sender.post(with_data(first))
    sender.post(with_data(second, attempt=2))

    assert not OtherContent.objects.exists()
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("1", "1.0"),
        ("1", "true"),
        ("1", '"1"'),
        ("9007199254740993", "9007199254740992"),
        ("[1, 2]", "[2, 1]"),
        ('"é"', '"e\\u0301"'),
        ('"\\ud800"', '"\\ud801"'),
        ("null", "false"),
    ],
    ids=["a float", "a boolean", "a text", "large integers", "order", "composition", "half a pair", "null"],
)
def test_values_that_differ_count(sender: Sender, first: str, second: str) -> None:
    sender.post(with_data(first))
    sender.post(with_data(second))

    assert OtherContent.objects.count() == 1


def test_a_missing_key_is_null(sender: Sender) -> None:
    without = {key: value for key, value in envelope().items() if key != "data"}
    sender.post(without)
    sender.post(envelope(data=None))

    assert not OtherContent.objects.exists()


def test_metadata_does_not_count(sender: Sender) -> None:
    sender.post(envelope())
    sender.post(envelope() | {"metadata": {"delivery_id": "dlv_1", "attempt": 4, "version": "2.0", "more": 1}})

    assert not OtherContent.objects.exists()


@pytest.mark.parametrize("body", [b"no json", b"\xff\xfe", b"[1]", b'{"data": 1}'], ids=["text", "bytes", "list", "id"])
def test_without_an_id_the_content_is_the_identity(sender: Sender, body: bytes) -> None:
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
    if stored_as == "large":  # its body is not read
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "MAX_BODY_BYTES": 1000}

    sender.post(envelope(data="y"))

    is_known = stored_as == "small"
    delivery = Delivery.objects.get()
    assert OtherContent.objects.exists() is is_known
    assert (delivery.content_hash == content_hash(delivery.body)) is is_known


def test_a_repetition_of_an_older_delivery_differs_in_nothing(sender: Sender) -> None:
    sender.post(envelope())
    Delivery.objects.update(content_hash=None)
    sender.post(envelope(attempt=2))

    assert not OtherContent.objects.exists()
    assert Attempt.objects.count() == 1


def test_another_webhook_has_ids_of_its_own(sender: Sender) -> None:
    other = Sender(type(sender.webhook).objects.create(name="other", secret=SECRET))
    sender.post(envelope(data=1))
    other.post(envelope(data=2))

    assert not OtherContent.objects.exists()


def test_with_the_content_as_identity_nothing_differs(sender: Sender, settings: Any) -> None:
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, "IDENTITY": "content"}
    sender.post(envelope(data=1))
    sender.post(envelope(data=2))
    Delivery.objects.update(content_hash=None)
    sender.post(envelope(data=1, attempt=2))

    assert Delivery.objects.count() == 2
    assert not OtherContent.objects.exists()


def test_what_can_not_be_kept_is_not_acknowledged(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any) -> bool:
        raise OperationalError("gone")

    sender.post(envelope(data=1))
    monkeypatch.setattr(other_content, "_insert", broken)

    assert sender.post(envelope(data=2)).status_code == 503
    assert sender.post(envelope(data=1)).status_code == 200


def test_another_content_costs_three_statements_at_most(sender: Sender) -> None:
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
def test_many_at_once_keep_each_content_once(sender: Sender) -> None:
    import threading

    from django.db import connections

    if connection.vendor == "sqlite":
        pytest.skip("SQLite's tests share one connection.")
    sender.post(envelope(data="first"))

    def post(number: int) -> None:
        try:
            Sender(sender.webhook).post(envelope(data=number % 3))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=post, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert OtherContent.objects.count() == 3
    assert Delivery.objects.get().attempts_seen == 13
