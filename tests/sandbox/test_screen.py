"""The settings screen as a browser without JavaScript uses it."""

import re
from html import unescape

import httpx
import pytest

from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.sandbox import Fault, Sandbox
from nateq_webhooks.sandbox.webhooks import SandboxWebhook
from tests.conftest import wait_until
from tests.sandbox.conftest import KEY, TLS
from tests.sandbox.receiver import Receiver

EVIL = "<script>alert(1)</script>\"'&"


def test_a_webhook_is_created_and_its_secret_shown_once(sandbox: Sandbox, screen: httpx.Client) -> None:
    assert "No webhooks yet" in screen.get("/").text
    form = screen.get("/webhooks/new").text
    assert all(f'value="{event}"' in form for event in EVENTS)

    page = screen.post(
        "/webhooks/new", data={"url": "https://shop.example/in/", "events": ["ticket.created", "lead.created"]}
    )

    [webhook] = sandbox.webhooks.all()
    assert (webhook.url, webhook.events) == ("https://shop.example/in/", ("ticket.created", "lead.created"))
    assert webhook.secret in page.text
    again = screen.get(str(page.url)).text
    assert webhook.url in again
    assert webhook.secret not in again
    assert webhook.url in screen.get("/").text


def test_a_form_that_is_not_valid_comes_back_with_what_was_typed(sandbox: Sandbox, screen: httpx.Client) -> None:
    page = screen.post("/webhooks/new", data={"url": EVIL, "events": ["ticket.created"]})

    assert page.status_code == 422
    assert EVIL in unescape(page.text)
    assert EVIL not in page.text
    assert 'aria-describedby="url-problem"' in page.text
    assert re.search('value="ticket.created" checked', page.text)
    assert sandbox.webhooks.all() == []


def test_a_webhook_is_edited_rotated_and_deleted(
    sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook
) -> None:
    assert webhook.url in screen.get(f"/webhooks/{webhook.id}/edit").text
    screen.post(f"/webhooks/{webhook.id}/edit", data={"url": webhook.url, "events": ["user.created"]})
    changed = sandbox.webhooks.get(webhook.id)
    assert changed is not None
    assert (changed.events, changed.is_active) == (("user.created",), False)

    refused = screen.post(f"/webhooks/{webhook.id}/edit", data={"url": webhook.url})
    assert refused.status_code == 422

    page = screen.post(f"/webhooks/{webhook.id}/rotate-secret").text
    rotated = sandbox.webhooks.get(webhook.id)
    assert rotated is not None
    assert rotated.secret != webhook.secret
    assert rotated.secret in page

    assert "was deleted" in screen.post(f"/webhooks/{webhook.id}/delete").text
    assert sandbox.webhooks.all() == []
    assert screen.get(f"/webhooks/{webhook.id}").status_code == 404


def test_an_event_is_sent_with_an_edited_example_and_seen_in_the_history(
    sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    form = screen.get(f"/webhooks/{webhook.id}/send", params={"event": "lead.created"}).text
    assert "Load example" in form
    assert '"company"' not in form
    assert '"company"' in unescape(form)

    screen.post(f"/webhooks/{webhook.id}/send", data={"event": "lead.created", "data": '{"id": "led_9"}', "count": "2"})
    sandbox.wait_until_delivered()

    assert [arrival.payload["data"] for arrival in receiver.arrivals] == [{"id": "led_9"}] * 2
    history = screen.get(f"/webhooks/{webhook.id}").text
    assert all(delivery_id in history for delivery_id in receiver.ids)
    assert "thanks" in history


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        ({"event": "lead.created", "data": "{", "count": "1"}, "data-problem"),
        ({"event": "lead.created", "data": "[]", "count": "1"}, "data-problem"),
        ({"event": "lead.created", "data": "{}", "count": "0"}, "count-problem"),
        ({"event": "lead.created", "data": "{}", "count": "x"}, "count-problem"),
        ({"event": "no.such", "data": "{}", "count": "1"}, "event-problem"),
        ({}, "data-problem"),
    ],
)
def test_an_event_that_can_not_be_sent_says_why(
    screen: httpx.Client, webhook: SandboxWebhook, form: dict[str, str], problem: str
) -> None:
    page = screen.post(f"/webhooks/{webhook.id}/send", data=form)

    assert page.status_code == 422
    assert f'id="{problem}"' in page.text


def test_a_delivery_shows_its_attempts_and_is_sent_again_under_its_id(
    sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook, receiver: Receiver
) -> None:
    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()
    seq = sandbox.log[0].delivery_seq

    page = screen.post(f"/deliveries/{seq}/resend")
    receiver.wait_for(2)
    wait_until(lambda: len(sandbox.log) == 2)

    assert page.status_code == 200
    assert len(set(receiver.ids)) == 1
    assert [arrival.attempt for arrival in receiver.arrivals] == [1, 2]
    shown = screen.get(f"/deliveries/{seq}").text
    assert "Attempt 1" in shown
    assert "Attempt 2" in shown
    assert receiver.ids[0] in shown
    assert screen.post("/deliveries/999/resend").status_code == 404
    assert screen.get("/deliveries/999").status_code == 404


def test_what_a_receiver_or_a_sender_of_events_says_is_never_markup(
    sandbox: Sandbox, screen: httpx.Client, receiver: Receiver
) -> None:
    webhook = sandbox.webhooks.create(receiver.url + "?a=<b>&c='\"", ["ticket.created"])
    receiver.body = EVIL.encode()
    sandbox.send("ticket.created", {"id": EVIL, EVIL: [EVIL]})
    sandbox.wait_until_delivered()

    pages = [
        screen.get(path).text
        for path in ("/", f"/webhooks/{webhook.id}", f"/deliveries/{sandbox.log[0].delivery_seq}", f"/{EVIL}")
    ]
    pages.append(screen.post(f"/webhooks/{webhook.id}/send", data={"event": EVIL, "data": EVIL, "count": EVIL}).text)

    for page in pages:
        assert "<script" not in page
        assert "?a=<b>" not in page
    assert "&lt;script&gt;" in pages[1]
    assert "&lt;script&gt;" in pages[2]


def test_the_history_comes_in_pages(sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook) -> None:
    sandbox.send("ticket.created", count=60)
    sandbox.wait_until_delivered()

    texts = [screen.get(f"/webhooks/{webhook.id}", params={"page": page}).text for page in ("1", "3", "99", "x")]

    assert [text.count("<tr>") for text in texts] == [26, 11, 11, 26]
    assert "Page 3 of 3, 60 attempts" in texts[1]


def test_faults_are_set_and_cleared_on_the_screen(sandbox: Sandbox, screen: httpx.Client) -> None:
    page = screen.post("/faults", data={"drop.count": "2", "delay.rate": "0.25", "delay.seconds": "3"})

    assert page.status_code == 200
    assert sandbox.faults.current()[Fault.DROP].count == 2
    assert (sandbox.faults.current()[Fault.DELAY].rate, sandbox.faults.seconds(Fault.DELAY)) == (0.25, 3)
    assert "Faults are on: drop, delay" in screen.get("/").text

    refused = screen.post("/faults", data={"drop.count": "many"})
    assert refused.status_code == 422
    assert "many" in refused.text
    assert sandbox.faults.current()[Fault.DROP].count == 2

    screen.post("/faults", data={"clear": ""})
    assert not any(switch.is_on for switch in sandbox.faults.current().values())


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_form_posted_by_another_site_changes_nothing(
    sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook, headers: dict[str, str]
) -> None:
    for path in ("delete", "rotate-secret", "edit", "send"):
        assert screen.post(f"/webhooks/{webhook.id}/{path}", headers=headers).status_code == 403

    assert sandbox.webhooks.all() == [webhook]


def test_a_form_of_our_own_page_is_taken(sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook) -> None:
    for headers in ({"Origin": sandbox.url}, {"Sec-Fetch-Site": "same-origin"}):
        assert screen.post(f"/webhooks/{webhook.id}/rotate-secret", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "[", ""])
def test_a_name_that_only_points_to_this_machine_is_refused(screen: httpx.Client, host: str) -> None:
    assert screen.get("/", headers={"Host": host}).status_code == 421


def test_every_page_forbids_scripts_frames_and_foreign_content(screen: httpx.Client, webhook: SandboxWebhook) -> None:
    for path in ("/", "/webhooks/new", f"/webhooks/{webhook.id}", "/faults", "/nothing", "/static/sandbox.css"):
        headers = screen.get(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self';")
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_pages_have_no_script_no_style_of_their_own_and_their_files_load(
    sandbox: Sandbox, screen: httpx.Client, webhook: SandboxWebhook
) -> None:
    sandbox.send("ticket.created")
    sandbox.wait_until_delivered()
    for path in ("/", "/webhooks/new", f"/webhooks/{webhook.id}", f"/webhooks/{webhook.id}/send", "/faults"):
        text = screen.get(path).text
        assert "<script" not in text
        assert " style=" not in text
        assert "<style" not in text
        for file in re.findall(r'"(/static/[^"]+)"', text):
            assert screen.get(file).status_code == 200
    assert screen.get("/static/sandbox.css").headers["Content-Type"].startswith("text/css")
    assert screen.get("/static/../pages.py").status_code == 404


def test_what_is_not_there_and_what_can_not_be_done_has_a_page_of_its_own(screen: httpx.Client) -> None:
    assert screen.get("/nothing").status_code == 404
    assert screen.get("/static/nothing").status_code == 404
    assert screen.put("/faults").status_code == 405
    assert screen.head("/").status_code == 200
    too_many = "&".join(f"f{number}=1" for number in range(1001))
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert screen.post("/faults", content=too_many, headers=form).status_code == 422


def test_no_page_shows_a_key_whole(sandbox: Sandbox, screen: httpx.Client) -> None:
    with Sandbox(key=f"{KEY}_0123456789") as other:
        page = httpx.get(other.url, trust_env=False, verify=TLS).text

    assert "tg_test_loca…" in page
    assert "0123456789" not in page


def test_the_wait_for_the_next_attempt_is_told_in_words(screen: httpx.Client, receiver: Receiver) -> None:
    receiver.status = 500
    told = []
    for base in (5, 600, 21_600):
        with Sandbox(key=KEY, retry_base=base) as sandbox:
            webhook = sandbox.webhooks.create(receiver.url, ["ticket.created"])
            sandbox.send("ticket.created")
            wait_until(lambda: bool(sandbox.log))
            page = httpx.get(f"{sandbox.url}/webhooks/{webhook.id}", trust_env=False, verify=TLS).text
            told.append(re.search(r"next in [0-9.]+ (\w+)", page))

    assert [found and found[1] for found in told] == ["s", "min", "h"]
