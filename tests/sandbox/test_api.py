"""The API over real HTTP: keys, limits, envelopes, and every operation on webhooks."""

import http.client
import json
import re
from typing import Any

import httpx
import pytest

from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.protocol.signatures import SECRET_PREFIX
from nateq_webhooks.sandbox import Sandbox
from nateq_webhooks.sandbox.webhooks import SandboxWebhook
from tests.sandbox.conftest import KEY, TLS, client_of
from tests.sandbox.receiver import Receiver

URL = "https://shop.example/webhooks/nateq/"


def error_of(answer: httpx.Response) -> Any:
    document = answer.json()
    assert document["success"] is False
    return document["error"]


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "MISSING_API_KEY"),
        ("", "MISSING_API_KEY"),
        ("Basic abc", "INVALID_AUTH_FORMAT"),
        ("Bearer", "INVALID_AUTH_FORMAT"),
        (KEY, "INVALID_AUTH_FORMAT"),
        (f"Bearer {KEY} {KEY}", "INVALID_AUTH_FORMAT"),
        ("Bearer sk_live_123", "INVALID_API_KEY_FORMAT"),
        ("Bearer tg_test_other", "INVALID_API_KEY"),
        ("Bearer tg_live_other", "INVALID_API_KEY"),
        ("Bearer tg_test_\xe9", "INVALID_API_KEY_FORMAT"),
    ],
)
def test_a_key_that_is_missing_or_wrong_is_refused_with_its_code(
    sandbox: Sandbox, header: str | None, code: str
) -> None:
    headers = httpx.Headers({} if header is None else {"Authorization": header}, encoding="latin-1")

    answer = httpx.get(f"{sandbox.base_url}/webhooks", headers=headers, trust_env=False, verify=TLS)

    assert answer.status_code == 401
    assert error_of(answer)["code"] == code
    assert answer.headers["X-Request-Id"].startswith("req_")


def test_a_key_without_the_scope_is_refused_and_told_which_one_it_lacks() -> None:
    with (
        Sandbox(key=[KEY, "tg_test_poor:tickets:read,tags:read"]) as sandbox,
        client_of(sandbox, "tg_test_poor") as poor,
    ):
        answer = poor.get("/webhooks")

    assert answer.status_code == 403
    assert error_of(answer)["code"] == "INSUFFICIENT_SCOPE"
    assert error_of(answer)["details"] == {
        "required": ["webhooks:manage"],
        "granted": ["tags:read", "tickets:read"],
    }


def test_a_key_used_from_an_address_that_is_not_allowed_is_refused() -> None:
    with Sandbox(key=KEY, allow_ips=["10.0.0.0/8"]) as sandbox, client_of(sandbox) as api:
        answer = api.get("/webhooks")

    assert (answer.status_code, error_of(answer)["code"]) == (403, "IP_NOT_ALLOWED")


def test_a_withheld_operation_is_not_public() -> None:
    with Sandbox(key=KEY, withhold=["rotate_secret"]) as sandbox, client_of(sandbox) as api:
        webhook = sandbox.webhooks.create(URL, ["ticket.created"])
        answer = api.post(f"/webhooks/{webhook.id}/rotate-secret")

    assert (answer.status_code, error_of(answer)["code"]) == (403, "ENDPOINT_NOT_PUBLIC")


def test_the_101st_request_of_a_minute_is_refused_with_the_time_to_wait(api: httpx.Client) -> None:
    answers = [api.get("/webhooks") for _ in range(101)]

    assert [answer.status_code for answer in answers] == [200] * 100 + [429]
    assert answers[0].headers["X-RateLimit-Limit"] == "100"
    assert answers[0].headers["X-RateLimit-Remaining"] == "99"
    last = answers[-1]
    assert last.headers["X-RateLimit-Remaining"] == "0"
    wait = int(last.headers["Retry-After"])
    assert 1 <= wait <= 60
    assert error_of(last)["code"] == "RATE_LIMIT_EXCEEDED"
    assert error_of(last)["details"] == {"limit": 100, "window": "1 minute", "retry_after_seconds": wait}


def test_each_key_has_a_limit_of_its_own() -> None:
    with (
        Sandbox(key=["tg_test_a", "tg_test_b"], rate_limit=1) as sandbox,
        client_of(sandbox, "tg_test_a") as a,
        client_of(sandbox, "tg_test_b") as b,
    ):
        statuses = [a.get("/webhooks").status_code, a.get("/webhooks").status_code, b.get("/webhooks").status_code]

    assert statuses == [200, 429, 200]


def test_sending_events_is_not_limited() -> None:
    with Sandbox(key=KEY, rate_limit=1) as sandbox, client_of(sandbox) as api:
        statuses = {api.post("/sandbox/events", json={"event": "ticket.created"}).status_code for _ in range(5)}

    assert statuses == {202}


def test_a_webhook_is_created_with_a_secret_that_no_other_answer_has(api: httpx.Client) -> None:
    created = api.post("/webhooks", json={"url": URL, "events": ["ticket.created", "ticket.created"]})

    assert created.status_code == 201
    assert created.json()["success"] is True
    webhook = created.json()["data"]
    assert webhook.keys() == {"id", "url", "events", "secret", "is_active", "created_at"}
    assert webhook["events"] == ["ticket.created"]
    assert webhook["is_active"] is True
    secret = webhook.pop("secret")
    assert re.fullmatch(f"{SECRET_PREFIX}[0-9a-f]{{64}}", secret)
    assert api.get(f"/webhooks/{webhook['id']}").json()["data"] == webhook
    assert api.get("/webhooks").json() == {
        "success": True,
        "data": [webhook],
        "meta": {"total": 1, "limit": 50, "offset": 0},
    }


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        (None, {"url", "events"}),
        ({}, {"url", "events"}),
        ({"url": URL, "events": []}, {"events"}),
        ({"url": URL, "events": "ticket.created"}, {"events"}),
        ({"url": URL, "events": ["ticket.crated"]}, {"events"}),
        ({"url": URL, "events": [["ticket.created"]]}, {"events"}),
        ({"url": "shop.example", "events": ["ticket.created"]}, {"url"}),
        ({"url": "ftp://shop.example/", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https:///path", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https://shop.example:99999/", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https://[shop/", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https://shop..example/", "events": ["ticket.created"]}, {"url"}),
        ({"url": f"https://{'s' * 64}.example/", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https://shop.example/\x00", "events": ["ticket.created"]}, {"url"}),
        ({"url": "https://shop.example/\ud800", "events": ["\ud800"]}, {"url", "events"}),
        ({"url": "https://shop.example/" + "x" * 2048, "events": ["ticket.created"]}, {"url"}),
        ({"url": 7, "events": None}, {"url", "events"}),
    ],
)
def test_a_webhook_that_is_not_valid_is_refused_field_by_field(
    api: httpx.Client, document: dict[str, Any] | None, fields: set[str]
) -> None:
    answer = api.post("/webhooks", content=b"" if document is None else json.dumps(document))

    assert answer.status_code == 422
    assert error_of(answer)["code"] == "VALIDATION_ERROR"
    assert error_of(answer)["details"].keys() == fields
    assert api.get("/webhooks").json()["data"] == []


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b'{"a": ' + b"1" * 5000 + b"}"])
def test_a_body_that_is_no_json_object_is_answered_400(api: httpx.Client, body: bytes) -> None:
    answer = api.post("/webhooks", content=body)

    assert (answer.status_code, error_of(answer)["code"]) == (400, "VALIDATION_ERROR")


def test_a_webhook_is_changed_field_by_field(api: httpx.Client, webhook: SandboxWebhook) -> None:
    path = f"/webhooks/{webhook.id}"

    changed = api.patch(path, json={"events": ["user.created"], "is_active": False, "unheard": 1})
    refused = api.patch(path, json={"url": "nowhere", "is_active": "yes"})

    assert changed.json()["data"] == webhook.as_json() | {"events": ["user.created"], "is_active": False}
    assert refused.status_code == 422
    assert error_of(refused)["details"].keys() == {"url", "is_active"}
    assert api.get(path).json()["data"] == changed.json()["data"]


def test_rotating_gives_a_new_secret_that_signs_from_then_on(
    api: httpx.Client, sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    secret = api.post(f"/webhooks/{webhook.id}/rotate-secret").json()["data"]["secret"]

    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    assert secret != webhook.secret
    assert receiver.arrivals[0].is_signed_with(secret)
    assert not receiver.arrivals[0].is_signed_with(webhook.secret)


def test_a_deleted_webhook_is_gone_with_its_log(api: httpx.Client, sandbox: Sandbox, webhook: SandboxWebhook) -> None:
    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    answer = api.delete(f"/webhooks/{webhook.id}")

    assert (answer.status_code, answer.json()["data"]) == (200, {"id": webhook.id, "deleted": True})
    assert sandbox.log == []
    paths = ["", "/logs"]
    assert {api.get(f"/webhooks/{webhook.id}{path}").status_code for path in paths} == {404}
    assert api.delete(f"/webhooks/{webhook.id}").status_code == 404
    assert api.patch(f"/webhooks/{webhook.id}", json={}).status_code == 404
    assert api.post(f"/webhooks/{webhook.id}/rotate-secret").status_code == 404


def test_the_catalogue_has_the_published_events_and_those_of_tomorrow() -> None:
    with Sandbox(key=KEY, events={"ticket.merged": "Two tickets became one"}) as sandbox, client_of(sandbox) as api:
        events = api.get("/webhooks/events").json()["data"]
        created = api.post("/webhooks", json={"url": URL, "events": ["ticket.merged"]})

    assert events == [
        {"name": name, "description": text}
        for name, text in {**EVENTS, "ticket.merged": "Two tickets became one"}.items()
    ]
    assert created.status_code == 201


@pytest.mark.parametrize("path", ["", "/", "/nothing", "/webhooks/", "/webhooks/wh_1/else", "/webhooks/wh_1/logs/1"])
def test_a_path_that_is_not_there_is_answered_404(api: httpx.Client, path: str) -> None:
    answer = api.get(path)

    assert (answer.status_code, error_of(answer)["code"]) == (404, "NOT_FOUND")


def test_a_wrong_method_is_answered_405_with_those_that_are_right(api: httpx.Client) -> None:
    answer = api.put("/webhooks")

    assert (answer.status_code, error_of(answer)["code"]) == (405, "METHOD_NOT_ALLOWED")
    assert answer.headers["Allow"] == "GET, POST"
    assert api.delete("/webhooks/events").headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "limit=", "offset=-1", "limit=٣", "limit=1" + "0" * 30]
)
def test_paging_out_of_range_is_refused(api: httpx.Client, webhook: SandboxWebhook, query: str) -> None:
    assert api.get(f"/webhooks?{query}").status_code == 422
    assert api.get(f"/webhooks/{webhook.id}/logs?{query}").status_code == 422


def test_webhooks_come_in_pages_newest_first(api: httpx.Client, sandbox: Sandbox) -> None:
    made = [sandbox.webhooks.create(f"{URL}{number}/", ["ticket.created"]).id for number in range(5)]

    pages = [api.get("/webhooks", params={"limit": 2, "offset": offset}).json() for offset in (0, 2, 4)]

    assert [webhook["id"] for page in pages for webhook in page["data"]] == made[::-1]
    assert {page["meta"]["total"] for page in pages} == {5}


def test_the_log_has_an_entry_per_attempt_newest_first_in_pages(
    api: httpx.Client, sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    receiver.answer = lambda arrival: 200 if arrival.attempt == 3 else 503
    ids = sandbox.send("ticket.created", count=2)
    sandbox.wait_until_delivered()

    pages = [api.get(f"/webhooks/{webhook.id}/logs", params={"limit": 4, "offset": offset}).json() for offset in (0, 4)]

    assert [page["meta"] for page in pages] == [
        {"total": 6, "limit": 4, "offset": 0},
        {"total": 6, "limit": 4, "offset": 4},
    ]
    entries = [entry for page in pages for entry in page["data"]]
    assert sorted((entry["delivery_id"], entry["attempt"]) for entry in entries) == sorted(
        (delivery_id, attempt) for delivery_id in ids for attempt in (1, 2, 3)
    )
    for delivery_id in ids:
        assert [entry["attempt"] for entry in entries if entry["delivery_id"] == delivery_id] == [3, 2, 1]
    failed = next(entry for entry in entries if entry["attempt"] == 1)
    assert failed.keys() == {
        "delivery_id",
        "event",
        "attempt",
        "status",
        "response_status",
        "response_body",
        "duration_ms",
        "attempted_at",
        "next_attempt_at",
        "payload",
    }
    assert (failed["status"], failed["response_status"], failed["response_body"]) == ("failed", 503, "thanks")
    assert failed["next_attempt_at"] > failed["attempted_at"]
    assert failed["payload"] in [arrival.payload for arrival in receiver.arrivals]
    delivered = next(entry for entry in entries if entry["attempt"] == 3)
    assert (delivered["status"], delivered["next_attempt_at"]) == ("delivered", None)


def test_an_event_is_sent_through_the_api(api: httpx.Client, webhook: SandboxWebhook, receiver: Receiver) -> None:
    answer = api.post("/sandbox/events", json={"event": "ticket.created", "data": {"id": "tkt_ü"}, "count": 2})

    assert answer.status_code == 202
    receiver.wait_for(2)
    assert answer.json()["data"]["accepted"] == 2
    assert sorted(answer.json()["data"]["delivery_ids"]) == sorted(receiver.ids)
    assert [arrival.payload["data"] for arrival in receiver.arrivals] == [{"id": "tkt_ü"}] * 2


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "event"),
        ({"event": "ticket.crated"}, "event"),
        ({"event": ["ticket.created"]}, "event"),
        ({"event": "ticket.created", "cuont": 3}, "cuont"),
        ({"event": "ticket.created", "count": 0}, "count"),
        ({"event": "ticket.created", "count": True}, "count"),
        ({"event": "ticket.created", "count": 10_001}, "count"),
        ({"event": "ticket.created", "data": float("nan")}, "data"),
        ({"event": "ticket.created", "webhook_id": "wh_none"}, "webhook_id"),
        ({"event": "ticket.created", "webhook_id": 7}, "webhook_id"),
        ({"event": "ticket.created", "webhook_id": "\ud800"}, "webhook_id"),
    ],
)
def test_an_event_that_is_not_valid_is_refused(api: httpx.Client, document: dict[str, Any], field: str) -> None:
    answer = api.post("/sandbox/events", content=json.dumps(document))

    assert answer.status_code == 422
    assert error_of(answer)["details"].keys() == {field}


def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: httpx.Client) -> None:
    assert api.post("/webhooks", content=b"x" * (1024 * 1024 + 1)).status_code == 413


def test_a_body_of_unknown_length_is_refused(api: httpx.Client) -> None:
    assert api.post("/webhooks", content=iter([b"{}"])).status_code == 411


def test_a_connection_is_kept_for_further_requests(sandbox: Sandbox) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(sandbox.url.rpartition(":")[2]), timeout=120)
    sockets = []
    for _ in range(3):
        connection.request("GET", "/api/v1/webhooks", headers={"Authorization": f"Bearer {KEY}"})
        assert connection.getresponse().read()
        sockets.append(connection.sock)
    connection.close()

    assert len({id(sock) for sock in sockets}) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:8765"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "[::1"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_a_page_of_another_site_can_use_neither_the_api_nor_the_screen(
    sandbox: Sandbox, api: httpx.Client, headers: dict[str, str], status: int
) -> None:
    body = {"url": "https://evil.example/", "events": ["ticket.created"]}
    assert api.post("/webhooks", json=body, headers=headers).status_code == status
    assert api.get("/webhooks", headers=headers).status_code == status
    assert api.post(f"{sandbox.url}/webhooks/new", data=body, headers=headers).status_code == status
    assert sandbox.webhooks.all() == []


def test_this_machine_may_be_asked_for_by_each_of_its_names(sandbox: Sandbox, api: httpx.Client) -> None:
    port = sandbox.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert api.get("/webhooks", headers={"Host": host}).status_code == 200


def test_a_key_sees_changes_and_sends_to_the_webhooks_of_its_organization_only() -> None:
    keys = ["tg_test_one@org_1", "tg_test_two@org_2"]
    with Sandbox(key=keys) as sandbox, client_of(sandbox) as one, client_of(sandbox, "tg_test_two") as two:
        body = {"url": "http://127.0.0.1:1/", "events": ["ticket.created"]}
        first, second = (api.post("/webhooks", json=body).json()["data"]["id"] for api in (one, two))

        assert [each["id"] for each in two.get("/webhooks").json()["data"]] == [second]
        assert two.get("/webhooks").json()["meta"]["total"] == 1
        for answer in (
            two.get(f"/webhooks/{first}"),
            two.patch(f"/webhooks/{first}", json={"is_active": False}),
            two.post(f"/webhooks/{first}/rotate-secret"),
            two.get(f"/webhooks/{first}/logs"),
            two.delete(f"/webhooks/{first}"),
        ):
            assert answer.status_code == 404
        assert one.get(f"/webhooks/{first}").json()["data"]["is_active"] is True
        sent = two.post("/sandbox/events", json={"event": "ticket.created"}).json()["data"]["delivery_ids"]
        assert len(sent) == 1
        assert {each.organization for each in sandbox.webhooks.all()} == {"org_1", "org_2"}
