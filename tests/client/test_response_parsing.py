"""Every shape that the wire contract tolerates, as it comes over the wire."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from nateq_webhooks.client import EventType, NateqClient, RemoteWebhook, response_parsing
from nateq_webhooks.errors import NateqUnexpectedAnswerError
from tests.client.scripted import Say, ScriptedServer, wrapped

SNAKE = {
    "id": "wh_1",
    "url": "https://shop.example/nateq/",
    "events": ["ticket.created", "lead.created"],
    "is_active": True,
    "created_at": "2026-06-30T12:00:00Z",
    "something_new": {"of": "tomorrow"},
}
CAMEL = {
    "id": "wh_1",
    "url": "https://shop.example/nateq/",
    "events": ["ticket.created", "lead.created"],
    "isActive": True,
    "createdAt": "2026-06-30T15:00:00+03:00",
}
WEBHOOK = RemoteWebhook(
    id="wh_1",
    url="https://shop.example/nateq/",
    events=("ticket.created", "lead.created"),
    is_active=True,
    created_at=datetime(2026, 6, 30, 12, tzinfo=UTC),
)
ENTRY = {
    "id": "log_1",
    "delivery_id": "dlv_1",
    "event": "ticket.created",
    "attempt": 2,
    "status": "failed",
    "response_status": 503,
    "response_body": "later",
    "duration_ms": 12.5,
    "attempted_at": "2026-06-30T12:00:00Z",
    "next_attempt_at": "2026-06-30T12:00:10Z",
    "payload": {"event": "ticket.created"},
}
CAMEL_ENTRY = {
    "id": "log_1",
    "deliveryId": "dlv_1",
    "event": "ticket.created",
    "attempt": 2,
    "status": "failed",
    "responseStatus": 503,
    "responseBody": "later",
    "durationMs": 12.5,
    "attemptedAt": "2026-06-30T12:00:00Z",
    "nextAttemptAt": "2026-06-30T12:00:10Z",
    "payload": {"event": "ticket.created"},
}


@pytest.mark.parametrize(
    "body",
    [
        wrapped(SNAKE),
        wrapped(CAMEL),
        {"data": SNAKE},
        SNAKE,
        CAMEL,
        wrapped({"webhook": SNAKE}),
        wrapped(SNAKE | {"events": {"events": ["ticket.created", "lead.created"]}}),
        wrapped(SNAKE | {"events": [{"name": "ticket.created"}, {"name": "lead.created"}]}),
        wrapped(SNAKE | {"events": {"ticket": ["created"], "lead": ["lead.created"]}}),
        wrapped(SNAKE | {"events": ["ticket.created", "ticket.created", "lead.created"]}),
    ],
)
def test_a_webhook_is_read_in_every_shape(client: NateqClient, server: ScriptedServer, body: Any) -> None:
    server.says(Say(200, body))

    assert client.webhooks.get("wh_1") == WEBHOOK
    assert server.lines == ["GET /webhooks/wh_1"]


def test_what_a_webhook_does_not_say_is_none_and_its_number_is_text(
    client: NateqClient, server: ScriptedServer
) -> None:
    server.says(Say(200, wrapped({"id": 7, "is_active": "yes", "created_at": "yesterday", "events": None})))

    assert client.webhooks.get("7") == RemoteWebhook(id="7", url="", events=(), is_active=None, created_at=None)


@pytest.mark.parametrize("name", ["secret", "signing_secret", "signingSecret"])
@pytest.mark.parametrize("shape", [wrapped, lambda data: data, lambda data: wrapped({"webhook": data})])
def test_create_sends_url_and_events_and_returns_the_secret(
    client: NateqClient, server: ScriptedServer, name: str, shape: Any
) -> None:
    server.says(Say(201, shape(SNAKE | {name: "whsec_1_0123456789abcdef"})))

    created = client.webhooks.create(url="https://shop.example/nateq/", events=("ticket.created", "lead.created"))

    assert (created.id, created.secret, created.is_active) == ("wh_1", "whsec_1_0123456789abcdef", True)
    assert "whsec_1_0123456789abcdef" not in repr(created)
    assert server.asked[0].line == "POST /api/v1/webhooks"
    assert server.asked[0].json == {
        "url": "https://shop.example/nateq/",
        "events": ["ticket.created", "lead.created"],
    }


def test_a_secret_beside_the_webhook_is_found(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(201, wrapped({"webhook": SNAKE, "secret": "whsec_1_0123456789abcdef"})))

    assert client.webhooks.create(url="https://shop.example/", events=["a.b"]).secret == "whsec_1_0123456789abcdef"


def test_a_created_webhook_without_a_secret_is_still_known_by_its_id(
    client: NateqClient, server: ScriptedServer
) -> None:
    server.says(Say(201, wrapped(SNAKE)))

    created = client.webhooks.create(url="https://shop.example/", events=["a.b"])

    assert (created.id, created.secret) == ("wh_1", None)


@pytest.mark.parametrize(
    "body",
    [
        wrapped({"secret": "whsec_2_0123456789abcdef"}),
        wrapped({"signingSecret": "whsec_2_0123456789abcdef"}),
        wrapped("whsec_2_0123456789abcdef"),
        {"signing_secret": "whsec_2_0123456789abcdef"},
        wrapped({"webhook": SNAKE | {"secret": "whsec_2_0123456789abcdef"}}),
    ],
)
def test_a_rotation_returns_the_new_secret_in_every_shape(
    client: NateqClient, server: ScriptedServer, body: Any
) -> None:
    server.says(Say(200, body))

    rotated = client.webhooks.rotate_secret("wh_1")

    assert (rotated.webhook_id, rotated.secret) == ("wh_1", "whsec_2_0123456789abcdef")
    assert "whsec_2_0123456789abcdef" not in repr(rotated)
    assert server.lines == ["POST /webhooks/wh_1/rotate-secret"]


def test_a_rotation_without_a_secret_may_have_happened(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, wrapped({"ok": True})))

    with pytest.raises(NateqUnexpectedAnswerError, match="it has no secret") as raised:
        client.webhooks.rotate_secret("wh_1")
    assert raised.value.is_ambiguous


@pytest.mark.parametrize(
    "body",
    [
        wrapped([SNAKE], total=1),
        wrapped([CAMEL]),
        wrapped({"webhooks": [SNAKE], "total": 1}),
        wrapped({"items": [SNAKE], "total": 1}),
        {"webhooks": [SNAKE], "total": 1, "limit": 50, "offset": 0},
        [SNAKE],
    ],
)
def test_a_list_of_webhooks_is_read_in_every_shape(client: NateqClient, server: ScriptedServer, body: Any) -> None:
    server.says(Say(200, body))

    assert client.webhooks.list() == [WEBHOOK]
    assert server.asked[0].query == {"limit": "100", "offset": "0"}


@pytest.mark.parametrize("body", [wrapped([], total=0), wrapped(None), {"webhooks": []}, {"webhooks": None}, [], None])
def test_an_empty_list_is_empty_in_every_shape(client: NateqClient, server: ScriptedServer, body: Any) -> None:
    server.says(Say(200, body))

    assert client.webhooks.list() == []


@pytest.mark.parametrize(
    "data",
    [
        [{"name": "ticket.created", "description": "Made"}, {"name": "lead.created", "description": ""}],
        ["ticket.created", "lead.created"],
        {"events": ["ticket.created", "lead.created"]},
        {"events": [{"event": "ticket.created"}, {"event": "lead.created"}], "total": 2},
        {"ticket": ["ticket.created"], "lead": [{"name": "lead.created"}]},
        {"ticket": ["created"], "lead": ["created"]},
        {"events": {"ticket": ["created"], "lead": ["created"]}},
        [{"resource": "ticket", "events": ["created"]}, {"resource": "lead", "events": [{"name": "created"}]}],
        [{"name": "ticket", "events": ["ticket.created"]}, {"group": "lead", "events": ["created"]}],
        {"ticket.created": "Made", "lead.created": ""},
        {"ticket.created": {"description": "Made"}, "lead.created": {}},
        {"ticket": {"created": "Made"}, "lead": {"created": {"description": "x"}}},
        [{"id": "evt_1", "type": "ticket.created"}, {"key": "lead.created", "version": "1.0"}],
        {"version": "1.0", "ticket": ["created"], "lead": ["created"]},
    ],
)
@pytest.mark.parametrize("shape", [wrapped, lambda data: data])
def test_the_catalogue_is_read_in_every_shape(
    client: NateqClient, server: ScriptedServer, data: Any, shape: Any
) -> None:
    server.says(Say(200, shape(data)))

    assert [event.name for event in client.webhooks.events()] == ["ticket.created", "lead.created"]
    assert server.lines == ["GET /webhooks/events"]


def test_the_catalogue_keeps_descriptions_and_names_an_event_once(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, wrapped([{"name": "a.b", "description": "Alpha"}, "a.b", 5, None, {"name": "c.d"}])))

    assert client.webhooks.events() == [
        EventType(name="a.b", description="Alpha"),
        EventType(name="c.d", description=""),
    ]


def test_a_catalogue_nested_for_ever_is_read_to_a_depth(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, b'{"data": [' + b"[" * 400 + b'"deep"' + b"]" * 400 + b', "a.b"]}'))

    assert [event.name for event in client.webhooks.events()] == ["a.b"]


@pytest.mark.parametrize("entry", [ENTRY, CAMEL_ENTRY])
@pytest.mark.parametrize(
    "shape", [wrapped, lambda data: data, lambda data: {"logs": data, "total": 1}, lambda data: wrapped({"logs": data})]
)
def test_a_log_entry_is_read_in_every_shape(
    client: NateqClient, server: ScriptedServer, entry: Any, shape: Any
) -> None:
    server.says(Say(200, shape([entry])))

    (read,) = client.webhooks.logs("wh_1")

    assert (read.id, read.delivery_id, read.event, read.attempt) == ("log_1", "dlv_1", "ticket.created", 2)
    assert (read.status, read.response_status, read.response_body, read.duration_ms) == ("failed", 503, "later", 12.5)
    assert read.attempted_at == datetime(2026, 6, 30, 12, tzinfo=UTC)
    assert read.next_attempt_at == datetime(2026, 6, 30, 12, 0, 10, tzinfo=UTC)
    assert read.payload == {"event": "ticket.created"}
    assert hash(read) == hash(read)


def test_a_log_entry_that_says_nothing_usable_is_read_all_the_same(client: NateqClient, server: ScriptedServer) -> None:
    odd = {"attempt": True, "duration_ms": False, "response_body": {"a": 1}, "attempted_at": 5, "delivery_id": 9}
    server.says(Say(200, wrapped([odd], total=1)))

    (read,) = client.webhooks.logs("wh_1")

    assert (read.delivery_id, read.attempt, read.duration_ms, read.response_body) == ("9", None, None, '{"a": 1}')
    assert (read.attempted_at, read.payload) == (None, None)


def test_update_sends_what_is_given_and_returns_what_it_is_then(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, wrapped(SNAKE)))

    assert client.webhooks.update("wh_1", events=["ticket.created"], is_active=False) == WEBHOOK
    assert server.asked[0].line == "PATCH /api/v1/webhooks/wh_1"
    assert server.asked[0].json == {"events": ["ticket.created"], "is_active": False}


@pytest.mark.parametrize("answer", [Say(204), Say(200, {"success": True}), Say(200, wrapped(None))])
def test_an_update_answered_with_nothing_is_read_back(client: NateqClient, server: ScriptedServer, answer: Say) -> None:
    server.says(answer, Say(200, wrapped(SNAKE)))

    assert client.webhooks.update("wh_1", url="https://shop.example/") == WEBHOOK
    assert server.lines == ["PATCH /webhooks/wh_1", "GET /webhooks/wh_1"]


@pytest.mark.parametrize("answer", [Say(204), Say(200, {"success": True}), Say(200, wrapped({"deleted": True}))])
def test_delete_takes_any_success(client: NateqClient, server: ScriptedServer, answer: Say) -> None:
    server.says(answer)

    client.webhooks.delete("wh_1")

    assert server.lines == ["DELETE /webhooks/wh_1"]


def test_an_id_is_quoted_into_the_path(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, wrapped(SNAKE)))

    client.webhooks.get("a/b?c#d é")

    assert server.lines == ["GET /webhooks/a%2Fb%3Fc%23d%20%C3%A9"]


@pytest.mark.parametrize(
    ("call", "body", "reason"),
    [
        (lambda c: c.webhooks.get("wh_1"), wrapped([1]), "an object was expected"),
        (lambda c: c.webhooks.get("wh_1"), wrapped({"url": "x"}), "has no id"),
        (lambda c: c.webhooks.list(), wrapped({"a": [], "b": []}), "no list of webhooks"),
        (lambda c: c.webhooks.list(), wrapped("none"), "no list of webhooks"),
        (lambda c: c.webhooks.list(), wrapped(["wh_1"]), "an object was expected"),
        (lambda c: c.webhooks.events(), wrapped(5), "no list of events"),
        (lambda c: list(c.webhooks.logs("wh_1")), wrapped(["entry"]), "is not an object"),
        (lambda c: c.webhooks.list(), b"<html>Bad gateway</html>", "not valid JSON"),
        (lambda c: c.webhooks.list(), b"[" * 100_000, "not valid JSON"),
        (lambda c: c.webhooks.list(), b'{"data": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (lambda c: c.webhooks.list(), b'"\xff\xfe\xfd"', "not valid JSON"),
    ],
)
def test_an_answer_that_is_not_the_apis_says_what_is_wrong_with_it(
    client: NateqClient, server: ScriptedServer, call: Any, body: Any, reason: str
) -> None:
    server.says(Say(200, body, {"X-Request-Id": "req_1"}))

    with pytest.raises(NateqUnexpectedAnswerError, match=reason) as raised:
        call(client)
    assert (raised.value.status, raised.value.request_id, raised.value.is_ambiguous) == (200, "req_1", False)


def test_a_byte_order_mark_is_taken(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(200, b'\xef\xbb\xbf{"data": []}'))

    assert client.webhooks.list() == []


def test_a_secret_in_an_answer_does_not_print_itself() -> None:
    document = json.loads(
        '{"data": {"webhook": {"id": "wh_1", "signingSecret": "s3cr3t"}, "secret": "s3cr3t"}, "other": "whsec_s3cr3t"}',
        object_hook=response_parsing.hide_secrets,
    )

    assert "s3cr3t" not in repr(document)
    assert response_parsing.created_webhook(document).secret == "s3cr3t"
    assert "s3cr3t" not in repr(response_parsing.new_secret({"data": "s3cr3t"}, "wh_1").secret)
