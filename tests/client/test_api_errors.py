"""One class per case, and a message that says what to do."""

import pickle
from typing import Any

import pytest

from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import (
    ApiError,
    NateqAuthenticationError,
    NateqConfigurationError,
    NateqConnectionError,
    NateqNotFoundError,
    NateqNotOfferedError,
    NateqPermissionError,
    NateqRateLimitError,
    NateqServerError,
    NateqTimeoutError,
    NateqUnexpectedAnswerError,
    NateqValidationError,
    NateqWebhooksError,
)
from tests.client.conftest import KEY
from tests.client.scripted import Asked, FakeTime, Say, ScriptedServer, refused, scripted_server, wrapped


@pytest.mark.parametrize(
    ("status", "code", "error_class", "advice"),
    [
        (401, "INVALID_API_KEY", NateqAuthenticationError, "make a new one under Settings -> Developers -> API Keys"),
        (401, "AUTHENTICATION_FAILED", NateqAuthenticationError, "set NATEQ_API_KEY"),
        (
            403,
            "INSUFFICIENT_SCOPE",
            NateqPermissionError,
            "this key lacks the scope webhooks:manage; grant it under Settings -> Developers -> API Keys",
        ),
        (403, "INSUFFICIENT_PERMISSION", NateqPermissionError, "have an administrator"),
        (403, "IP_NOT_ALLOWED", NateqPermissionError, "allow-list; add it under Settings"),
        (403, "SOMETHING_NEW", NateqPermissionError, "check its scopes"),
        (400, "VALIDATION_ERROR", NateqValidationError, "the server did not accept the request"),
        (422, "VALIDATION_ERROR", NateqValidationError, "the server did not accept the request"),
        (429, "RATE_LIMIT_EXCEEDED", NateqRateLimitError, "no requests left this minute"),
        (408, "TIMEOUT", NateqTimeoutError, "It may have happened nevertheless"),
        (500, "INTERNAL_ERROR", NateqServerError, "It may have happened nevertheless"),
        (503, "X", NateqServerError, "check before you try again"),
        (409, "CONFLICT", ApiError, "the server refused it"),
        (404, "NOT_FOUND", NateqNotOfferedError, "create it under Settings -> Developers -> Webhooks"),
        (405, "METHOD_NOT_ALLOWED", NateqNotOfferedError, "not offered by this server"),
        (403, "ENDPOINT_NOT_PUBLIC", NateqNotOfferedError, "not offered by this server"),
    ],
)
def test_each_refusal_has_its_class_and_its_advice(
    client: NateqClient,
    server: ScriptedServer,
    status: int,
    code: str,
    error_class: type[ApiError],
    advice: str,
) -> None:
    server.says(Say(status, refused(code, "because", {"field": "url"}), {"X-Request-Id": "req_42"}))

    with pytest.raises(NateqWebhooksError) as raised:
        client.webhooks.create(url="https://shop.example/", events=["a.b"])

    error = raised.value
    assert type(error) is error_class
    assert isinstance(error, ApiError)
    assert (error.status, error.code, error.details) == (status, code, {"field": "url"})
    assert error.request_id == "req_42"
    assert str(error).startswith(f"Creating the webhook was refused ({status} {code}): ")
    assert advice in str(error)
    assert 'Nateq says: "because".' in str(error)
    assert str(error).endswith("Request id: req_42.")
    assert error.is_ambiguous == (status in (408, 500, 503))


def test_a_validation_error_shows_its_details(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(422, refused("VALIDATION_ERROR", "bad", [{"field": "url", "problem": "not https"}])))

    with pytest.raises(NateqValidationError, match="not https"):
        client.webhooks.create(url="http://shop.example/", events=["a.b"])


@pytest.mark.parametrize(
    ("body", "code", "message", "details"),
    [
        ({"error": "Failed to read", "details": "disk"}, None, "Failed to read", "disk"),
        ({"error": "Failed", "code": "E1"}, "E1", "Failed", None),
        ({"success": False, "message": "Nope"}, None, "Nope", None),
        ({"success": False, "error": {"code": 5, "message": None}}, None, "", None),
        ({"message": "Bare"}, None, "Bare", None),
        ([], None, "", None),
        (None, None, "", None),
        (b"<html>nginx</html>", None, "", None),
        (b"[" * 100_000, None, "", None),
    ],
)
def test_an_error_is_read_in_every_shape(
    client: NateqClient, server: ScriptedServer, body: Any, code: Any, message: str, details: Any
) -> None:
    server.says(Say(403, body))

    with pytest.raises(NateqPermissionError) as raised:
        client.webhooks.list()

    assert (raised.value.code, raised.value.details) == (code, details)
    assert (f'Nateq says: "{message}".' in str(raised.value)) == bool(message)


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (refused("INSUFFICIENT_SCOPE"), NateqPermissionError),
        (refused("INTERNAL_ERROR"), NateqServerError),
        (refused("SOMETHING_NEW"), ApiError),
        ({"error": "Failed to list"}, ApiError),
    ],
)
def test_an_error_under_a_good_status_is_an_error(
    client: NateqClient, server: ScriptedServer, body: Any, error_class: type[ApiError]
) -> None:
    server.says(Say(200, body))

    with pytest.raises(ApiError) as raised:
        client.webhooks.list()
    assert type(raised.value) is error_class


def test_a_message_quotes_the_server_on_one_line_and_not_for_ever(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(403, refused("NO", "a\nfake log line\x1b[31m " + "x" * 5000)))

    with pytest.raises(NateqPermissionError) as raised:
        client.webhooks.list()

    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert len(str(raised.value)) < 700


@pytest.mark.parametrize(
    ("call", "line", "todo"),
    [
        (lambda w: w.rotate_secret("wh_1"), "POST /webhooks/wh_1/rotate-secret", "rotate it under Settings"),
        (lambda w: w.get("wh_1"), "GET /webhooks/wh_1", "see it under Settings"),
        (lambda w: w.update("wh_1", is_active=True), "PATCH /webhooks/wh_1", "change it under Settings"),
        (lambda w: w.delete("wh_1"), "DELETE /webhooks/wh_1", "delete it under Settings"),
        (lambda w: next(w.logs("wh_1")), "GET /webhooks/wh_1/logs", "see them under Settings"),
    ],
)
@pytest.mark.parametrize(
    "answer", [Say(404, refused("NOT_FOUND")), Say(404, b"no page"), Say(405), Say(403, refused("ENDPOINT_NOT_PUBLIC"))]
)
def test_a_call_that_a_server_lacks_is_distinguished_from_a_webhook_that_it_lacks(
    client: NateqClient, server: ScriptedServer, call: Any, line: str, todo: str, answer: Say
) -> None:
    listed = Say(200, wrapped([{"id": "wh_1"}], total=1))
    server.script = lambda asked: listed if asked.line == "GET /api/v1/webhooks" else answer

    with pytest.raises(NateqNotOfferedError, match="is not offered by this server") as raised:
        call(client.webhooks)

    assert todo in str(raised.value)
    assert "in the dashboard" in str(raised.value)
    assert server.lines[0] == line

    listed = Say(200, wrapped([{"id": "wh_2"}], total=1))
    if answer.status == 404:
        with pytest.raises(NateqNotFoundError, match="no such webhook") as missing:
            call(client.webhooks)
        assert type(missing.value) is NateqNotFoundError
        assert "not offered by this server" in str(missing.value)


def test_a_server_that_can_only_create_offers_no_rotation(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(404))

    with pytest.raises(NateqNotOfferedError, match="Rotating the secret of webhook wh_1 is not offered"):
        client.webhooks.rotate_secret("wh_1")


def test_a_404_beside_a_list_that_fails_stays_a_404(client: NateqClient, server: ScriptedServer) -> None:
    server.script = lambda asked: Say(403 if asked.path.endswith("/webhooks") else 404)

    with pytest.raises(NateqNotFoundError) as raised:
        client.webhooks.delete("wh_1")
    assert type(raised.value) is NateqNotFoundError


def test_the_log_of_an_unknown_webhook_is_not_found(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(404, refused("NOT_FOUND")), Say(200, wrapped([])))

    with pytest.raises(NateqNotFoundError) as raised:
        next(client.webhooks.logs("wh_9"))
    assert type(raised.value) is NateqNotFoundError


@pytest.mark.parametrize("id", ["", ".", "..", "events", "a\nb", "x" * 201])
def test_what_can_not_be_an_id_is_refused_before_anything_is_sent(
    client: NateqClient, server: ScriptedServer, id: str
) -> None:
    for call in (client.webhooks.get, client.webhooks.delete, client.webhooks.logs, client.webhooks.rotate_secret):
        with pytest.raises(NateqValidationError, match="can't be a webhook's id"):
            call(id)
    assert server.asked == []


def test_an_update_of_nothing_and_events_as_one_text_are_refused_before_anything_is_sent(
    client: NateqClient, server: ScriptedServer
) -> None:
    with pytest.raises(NateqValidationError, match="none was given"):
        client.webhooks.update("wh_1")
    with pytest.raises(NateqValidationError, match=r'events=\["ticket.created"\]'):
        client.webhooks.create(url="https://shop.example/", events="ticket.created")
    assert server.asked == []


def test_no_connection_says_where_it_was_to_go_and_nothing_was_sent(fake_time: FakeTime) -> None:
    with scripted_server() as gone:
        base_url = gone.base_url
    with (
        NateqClient(KEY, base_url, sleep=fake_time.sleep) as client,
        pytest.raises(NateqConnectionError, match=r"127\.0\.0\.1:\d+.*NATEQ_BASE_URL") as raised,
    ):
        client.webhooks.create(url="https://shop.example/", events=["a.b"])
    assert (raised.value.status, raised.value.is_ambiguous) == (None, False)
    assert fake_time.slept == []


def test_a_connection_that_breaks_leaves_a_write_in_doubt(client: NateqClient, server: ScriptedServer) -> None:
    server.says(Say(hang_up=True))

    with pytest.raises(NateqConnectionError, match="check before you try again") as raised:
        client.webhooks.create(url="https://shop.example/", events=["a.b"])
    assert raised.value.is_ambiguous
    assert len(server.asked) == 1


def test_no_answer_in_time_leaves_a_write_in_doubt(server: ScriptedServer, fake_time: FakeTime) -> None:
    server.says(Say(act=lambda: server.stop.wait(5)))
    with (
        NateqClient(KEY, server.base_url, timeout=0.1, sleep=fake_time.sleep) as client,
        pytest.raises(NateqTimeoutError, match=r"within 0\.1 s.*check before you try again") as raised,
    ):
        client.webhooks.create(url="https://shop.example/", events=["a.b"])
    server.stop.set()
    assert raised.value.is_ambiguous


def test_an_answer_that_drips_is_given_up_on(server: ScriptedServer) -> None:
    server.says(Say(drip=(b" ", 0.02)))
    with (
        NateqClient(KEY, server.base_url, timeout=0.2, retries=0) as client,
        pytest.raises(NateqTimeoutError, match=r"within 0\.2 s"),
    ):
        client.webhooks.list()


def test_an_answer_that_does_not_end_is_given_up_on(
    server: ScriptedServer, client: NateqClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.client.transport.MAX_RESPONSE_BYTES", 1000)
    server.says(Say(200, b" " * 2000))

    with pytest.raises(NateqUnexpectedAnswerError, match="longer than 1000 bytes"):
        client.webhooks.list()


def test_an_answer_whose_compression_is_broken_is_not_the_apis(server: ScriptedServer, client: NateqClient) -> None:
    server.says(Say(200, b"no gzip", {"Content-Encoding": "gzip"}))

    with pytest.raises(NateqUnexpectedAnswerError, match="can't be decompressed"):
        client.webhooks.list()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_not_followed(client: NateqClient, server: ScriptedServer, status: int) -> None:
    with scripted_server() as other:
        other.says(Say(200, wrapped([])))
        server.says(Say(status, None, {"Location": f"{other.base_url}/webhooks?token=1"}))
        for call in (client.webhooks.list, lambda: client.webhooks.create(url="https://x.example/", events=["a"])):
            with pytest.raises(NateqUnexpectedAnswerError, match="set NATEQ_BASE_URL to it") as raised:
                call()
            assert f"redirects to {other.base_url}/webhooks," in str(raised.value)
        assert other.asked == []
    assert len(server.asked) == 2


@pytest.mark.parametrize("error_class", [NateqRateLimitError, NateqConfigurationError, NateqNotOfferedError])
def test_an_error_survives_pickling_with_all_it_knows(error_class: type[ApiError]) -> None:
    error = error_class("text", status=429, code="X", details={"a": 1}, request_id="r", retry_after=2.0)

    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert (str(copied), vars(copied)) == (str(error), vars(error))


def test_a_closed_client_says_so(server: ScriptedServer) -> None:
    client = NateqClient(KEY, server.base_url)
    client.close()

    with pytest.raises(NateqConfigurationError, match="is closed"):
        client.webhooks.list()


def test_a_request_carries_the_key_and_who_asks(client: NateqClient, server: ScriptedServer) -> None:
    seen: list[Asked] = []

    def script(asked: Asked) -> Say:
        seen.append(asked)
        return Say(200, wrapped([]))

    server.script = script
    client.webhooks.list()

    assert seen[0].headers["Authorization"] == f"Bearer {KEY}"
    assert seen[0].headers["User-Agent"].startswith("nateq-webhooks/")
    assert seen[0].headers["Accept"] == "application/json"
