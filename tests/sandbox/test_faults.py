"""Every fault switch: what the receiver sees of it and what the log shows."""

import httpx
import pytest

from nateq_webhooks.sandbox import Fault, Sandbox, SandboxError
from nateq_webhooks.sandbox.faults import Faults, parse
from nateq_webhooks.sandbox.webhooks import SandboxWebhook
from tests.conftest import wait_until
from tests.sandbox.conftest import KEY, client_of
from tests.sandbox.receiver import Receiver


def test_a_dropped_delivery_is_never_sent_and_logged_as_such(
    sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver, api: httpx.Client
) -> None:
    sandbox.faults.set("drop", count=1)
    lost, sent = sandbox.send("ticket.created", count=2)
    sandbox.wait_until_delivered()

    assert receiver.ids == [sent]
    entries = api.get(f"/webhooks/{webhook.id}/logs").json()["data"]
    dropped = next(entry for entry in entries if entry["delivery_id"] == lost)
    assert (dropped["status"], dropped["attempt"], dropped["response_status"]) == ("dropped", 1, None)
    assert dropped["payload"]["metadata"]["delivery_id"] == lost


def test_a_duplicate_comes_twice_under_one_id(sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver) -> None:
    sandbox.faults.set("duplicate", count=1)
    first, second = sandbox.send("ticket.created", count=2)
    sandbox.wait_until_delivered()

    assert sorted(receiver.ids) == sorted([first, first, second])
    duplicates = [arrival.body for arrival in receiver.arrivals if arrival.delivery_id == first]
    assert duplicates[0] == duplicates[1]
    assert [attempt.faults for attempt in sandbox.log].count((Fault.DUPLICATE,)) == 2


def test_a_reordered_delivery_comes_after_a_later_one(receiver: Receiver) -> None:
    with Sandbox(key=KEY, senders=1) as sandbox:
        sandbox.webhooks.create(receiver.url, ["ticket.created"])
        sandbox.faults.set("reorder", count=1, seconds=60)
        first, second, third = sandbox.send("ticket.created", count=3)
        sandbox.wait_until_delivered()

    assert receiver.ids[0] == second
    assert sorted(receiver.ids) == sorted([first, second, third])


def test_a_reordered_delivery_that_nothing_follows_comes_in_the_end(
    sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    sandbox.faults.set("reorder", count=1, seconds=0.1)
    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    assert len(receiver.arrivals) == 1


def test_a_delayed_delivery_comes_late_and_not_before(receiver: Receiver) -> None:
    with Sandbox(key=KEY, senders=1) as sandbox:
        sandbox.webhooks.create(receiver.url, ["ticket.created"])
        sandbox.faults.set("delay", count=1, seconds=0.4)
        late, punctual = sandbox.send("ticket.created", count=2)
        sandbox.wait_until_delivered()
        attempted = {attempt.delivery_id: attempt.attempted_at for attempt in sandbox.log}

    assert receiver.ids == [punctual, late]
    assert attempted[late] - attempted[punctual] > 0.2


def test_a_corrupt_signature_is_well_formed_and_wrong_for_one_attempt(
    sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    receiver.answer = lambda arrival: 200 if arrival.is_signed_with(webhook.secret) else 401
    sandbox.faults.set("corrupt_signature", count=1)
    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    assert [len(arrival.headers["x-nateq-signature"]) for arrival in receiver.arrivals] == [64, 64]
    assert [arrival.is_signed_with(webhook.secret) for arrival in receiver.arrivals] == [False, True]
    assert [(attempt.response_status, attempt.faults) for attempt in sandbox.log] == [
        (200, ()),
        (401, (Fault.CORRUPT_SIGNATURE,)),
    ]


def test_with_new_id_every_retry_has_an_id_of_its_own(
    sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    receiver.answer = lambda arrival: 200 if arrival.attempt == 3 else 500
    sandbox.faults.set("new_id", count=1)
    [delivery_id] = sandbox.send("ticket.created")
    sandbox.wait_until_delivered()

    assert receiver.ids[0] == delivery_id
    assert len(set(receiver.ids)) == 3
    assert [attempt.delivery_id for attempt in sandbox.log] == receiver.ids[::-1]
    assert {arrival.payload["timestamp"] for arrival in receiver.arrivals} == {
        receiver.arrivals[0].payload["timestamp"]
    }


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        ("api_401", 401, "AUTHENTICATION_FAILED"),
        ("api_403", 403, "INSUFFICIENT_PERMISSION"),
        ("api_429", 429, "RATE_LIMIT_EXCEEDED"),
        ("api_500", 500, "INTERNAL_ERROR"),
    ],
)
def test_the_api_answers_the_next_request_with_an_error_and_does_nothing(
    sandbox: Sandbox, api: httpx.Client, fault: str, status: int, code: str
) -> None:
    sandbox.faults.set(fault, count=1)
    document = {"url": "https://shop.example/", "events": ["ticket.created"]}

    answers = [api.post("/webhooks", json=document) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [status, 201]
    assert answers[0].json()["error"]["code"] == code
    assert len(sandbox.webhooks.all()) == 1
    assert ("Retry-After" in answers[0].headers) == (status == 429)


def test_a_429_on_purpose_has_the_seconds_that_were_set(sandbox: Sandbox, api: httpx.Client) -> None:
    sandbox.faults.set("api_429", count=1, seconds=7)

    answer = api.get("/webhooks")

    assert answer.headers["Retry-After"] == "7"
    assert answer.json()["error"]["details"]["retry_after_seconds"] == 7


def test_the_answer_to_create_is_lost_and_the_webhook_is_there(sandbox: Sandbox, api: httpx.Client) -> None:
    sandbox.faults.set("lose_create_answer", count=1)

    with pytest.raises(httpx.RemoteProtocolError):
        api.post("/webhooks", json={"url": "https://shop.example/", "events": ["ticket.created"]})

    assert [webhook.url for webhook in sandbox.webhooks.all()] == ["https://shop.example/"]


def test_faults_are_set_shown_and_cleared_through_the_api(sandbox: Sandbox, api: httpx.Client) -> None:
    sandbox.faults.set("api_500", rate=1)  # the switches themselves always answer

    answer = api.post("/sandbox/faults", json={"drop": {"count": 3}, "delay": {"rate": 0.5, "seconds": 2}})

    shown = answer.json()["data"]
    assert shown["drop"] == {"rate": 0.0, "count": 3, "seconds": 0.0}
    assert shown["delay"] == {"rate": 0.5, "count": 0, "seconds": 2.0}
    assert shown["api_500"]["rate"] == 1
    assert api.get("/sandbox/faults").json()["data"] == shown
    cleared = api.delete("/sandbox/faults").json()["data"]
    assert not any(switch["rate"] or switch["count"] for switch in cleared.values())


@pytest.mark.parametrize(
    "document",
    [
        {"dorp": {}},
        {"drop": 3},
        {"drop": {"times": 3}},
        {"drop": {"rate": 2}},
        {"drop": {"rate": True}},
        {"drop": {"count": -1}},
        {"drop": {"count": 1.5}},
        {"drop": {"seconds": 5}},
        {"delay": {"seconds": -1}},
    ],
)
def test_a_switch_that_is_not_valid_changes_nothing(sandbox: Sandbox, api: httpx.Client, document: object) -> None:
    answer = api.post("/sandbox/faults", json={"duplicate": {"count": 1}} | document)  # type: ignore[operator]

    assert answer.status_code == 422
    assert sandbox.faults.current()[Fault.DUPLICATE].count == 0


def test_a_count_comes_before_the_probability_and_runs_out() -> None:
    faults = Faults(seed=1)
    faults.set("drop", count=2)

    assert [faults.happens(Fault.DROP) for _ in range(4)] == [True, True, False, False]


def test_with_a_seed_the_dice_fall_the_same_way_again() -> None:
    def roll(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.set("drop", rate=0.5)
        return [faults.happens(Fault.DROP) for _ in range(64)]

    assert roll(1) == roll(1)
    assert roll(1) != roll(2)
    assert 10 < sum(roll(1)) < 54


def test_a_switch_is_read_from_a_command_line() -> None:
    assert parse("drop") == ("drop", {"rate": 1.0})
    assert parse("drop:count=3") == ("drop", {"count": 3})
    assert parse("delay:rate=0.1,seconds=5") == ("delay", {"rate": 0.1, "seconds": 5.0})
    with pytest.raises(SandboxError, match="drop:count=3"):
        parse("drop:count=some")


def test_every_fault_is_explained_on_the_screen(screen: httpx.Client) -> None:
    page = screen.get("/faults").text

    assert all(f'name="{fault}.rate"' in page for fault in Fault)


def test_a_fault_happens_to_each_webhook_separately(
    sandbox: Sandbox, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    with Receiver() as other:
        sandbox.webhooks.create(other.url, ["ticket.created"])
        sandbox.faults.set("drop", count=1)
        sandbox.send("ticket.created")
        sandbox.wait_until_delivered()
        wait_until(lambda: len(receiver.arrivals) + len(other.arrivals) == 1)

        assert sorted(attempt.status for attempt in sandbox.log) == ["delivered", "dropped"]


def test_faults_may_be_given_at_the_start() -> None:
    with Sandbox(key=KEY, faults={"api_500": {"count": 1}}) as sandbox, client_of(sandbox) as api:
        assert [api.get("/webhooks").status_code for _ in range(2)] == [500, 200]
