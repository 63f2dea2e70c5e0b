"""One person's way through the admin on a bad day, from the login to a webhook that works again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from playwright.sync_api import BrowserContext, Page, expect

from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from tests.browser.scene import CUSTOMER, Scene, body
from tests.browser.watching import Watched, barriers, cramped

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST: Final = "/admin/nateq_webhooks/delivery/"
PASSWORD: Final = "open sesame"


def test_from_the_login_to_a_webhook_that_works_again(
    site: str, opened: Callable[..., BrowserContext], scene: Scene, tmp_path: Path
) -> None:
    User.objects.create_superuser("amal", "", PASSWORD)
    page = opened(base_url=site).new_page()
    watched = Watched(page)

    log_in(page)
    look_at_the_dashboard(page)
    find_deliveries(page, scene)
    read_one(page, scene)
    replay_one_receiver(page, scene)
    replay_many(page)
    export(page, tmp_path)
    rotate_the_secret(page, scene)
    send_a_test_event(page, scene)
    pause_and_resume(page, scene)
    read_why_requests_were_refused(page, scene)

    assert watched.complaints == []


def log_in(page: Page) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill("amal")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()


def look_at_the_dashboard(page: Page) -> None:
    page.get_by_role("link", name="Nateq webhooks", exact=True).first.click()
    attention = page.get_by_role("region", name="Needs attention")
    timeouts = attention.get_by_role("row").filter(has_text="TimeoutError")
    expect(timeouts.get_by_role("cell", name="5", exact=True)).to_be_visible()
    expect(attention.get_by_text("shop: 1 refused").first).to_be_visible()

    timeouts.get_by_role("link", name=re.compile("Show these")).click()

    expect(page.locator("#result_list tbody tr").first).to_contain_text("shop.tell_crm")
    expect(page.locator("#result_list .nateq-badge").first).to_contain_text("Failed for good")


def find_deliveries(page: Page, scene: Scene) -> None:
    def searched(words: str) -> list[str]:
        page.goto(LIST)
        page.locator("#searchbar").fill(words)
        page.get_by_role("button", name="Search").click()
        page.wait_for_url(re.compile("[?&]q="))
        return listed(page)

    assert len(searched("dlv_live_2")) == 1
    assert len(searched("tkt_live_1")) == 1
    assert searched("tkt_live_77") == []
    assert len(searched(f"data.requester.email={CUSTOMER}")) == 4
    assert searched("data.requester.email=nobody@customer.example") == []
    page.goto(LIST)
    page.locator(".nateq-filters > summary").click()
    page.locator("#changelist-filter").get_by_role("link", name=re.compile("^Failed for good")).click()
    expect(page).to_have_url(re.compile("status"))
    assert len(listed(page)) == Delivery.objects.filter(status="dead").count() == 6
    page.get_by_role("link", name="Failed for good").first.click()
    expect(page).to_have_url(re.compile(f"/delivery/{scene.dead.pk}/change/"))


def listed(page: Page) -> list[str]:
    page.wait_for_load_state()
    return page.locator("#result_list tbody tr").all_inner_texts()


def read_one(page: Page, scene: Scene) -> None:
    expect(page.get_by_text("Yes: the stored bytes verify again.")).to_be_visible()
    traceback = page.get_by_text("crm.example did not answer")
    expect(traceback).to_be_hidden()
    page.get_by_text("Traceback", exact=True).click()
    expect(traceback).to_be_visible()

    tree = page.locator("ul.nateq-tree")
    first_tag, late_tag = (tree.get_by_text(f'"tag {number}"', exact=True) for number in (0, 149))
    expect(first_tag).to_be_hidden()
    page.get_by_role("button", name="Expand all").click()
    expect(first_tag).to_be_visible()
    while late_tag.count() == 0:
        rest = tree.locator(".nateq-rest > a").first
        shown = tree.locator("li").count()
        rest.click()
        page.wait_for_function("shown => document.querySelectorAll('.nateq-tree li').length > shown", arg=shown)
    expect(late_tag).to_be_visible()
    expect(page).to_have_url(re.compile(f"/delivery/{scene.dead.pk}/change/"))

    page.get_by_label("Find in the payload").fill(CUSTOMER)
    expect(page.get_by_text("Matches shown here: 1")).to_be_visible()
    page.get_by_role("button", name="Search all of it").click()
    expect(page.get_by_role("link", name="data.requester.email")).to_be_visible()
    page.go_back()


def replay_one_receiver(page: Page, scene: Scene) -> None:
    entry = page.get_by_role("listitem").filter(has_text="shop.tell_crm: Failed for good")
    entry.get_by_role("link", name=re.compile("Run this one again")).click()
    expect(page.get_by_role("listitem").filter(has_text="shop.open_ticket")).to_have_count(0)
    page.get_by_label("Why (kept with the replay)").fill("the CRM is back")
    page.get_by_role("button", name="Run it again").click()

    expect(page.get_by_text("1 run made")).to_be_visible()
    expect(page.get_by_text("reason: the CRM is back")).to_be_visible()
    replay = Replay.objects.latest("pk")
    assert (replay.by, replay.reason) == ("amal", "the CRM is back")
    assert [run.receiver for run in Run.objects.filter(delivery=scene.dead, round=replay.pk)] == ["shop.tell_crm"]


def choose(page: Page, action: str, rows: int) -> None:
    """Tick the first rows of those given up, and choose an action."""
    page.goto(f"{LIST}?status__exact=failed")
    boxes = page.locator("#result_list input.action-select")
    for index in range(rows):
        boxes.nth(index).check()
    page.get_by_label("Action:").select_option(label=action)
    page.get_by_role("button", name=re.compile("^(Go|Run)$")).click()


def replay_many(page: Page) -> None:
    choose(page, "Replay the selected deliveries", 3)
    expect(page.get_by_text("Replay 3 deliveries?")).to_be_visible()
    page.get_by_label("shop.open_ticket").check()
    page.get_by_label("Reason").fill("three at once")
    page.get_by_role("button", name="Replay", exact=True).click()

    expect(page).to_have_url(re.compile(r"/replay/\d+/change/"))
    expect(page.get_by_role("progressbar")).to_have_attribute("value", "0")
    expect(page.get_by_text("0 succeeded, 0 failed for good, 3 left (3 waiting)")).to_be_visible()
    expect(page.get_by_text("three at once")).to_be_visible()
    replay = Replay.objects.latest("pk")
    assert (replay.by, replay.deliveries, replay.runs, replay.receivers) == ("amal", 3, 3, ["shop.open_ticket"])


def export(page: Page, directory: Path) -> None:
    choose(page, "Export the selected deliveries", 2)
    expect(page.get_by_text("Export 2 deliveries?")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Export", exact=True).click()
    file = directory / "export.jsonl"
    download.value.save_as(file)

    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["status"] for line in lines] == ["failed", "failed"]
    assert all(json.loads(line["body"])["data"] for line in lines)
    assert LogEntry.objects.filter(user__username="amal", change_message__contains="Exported").count() == 1


def rotate_the_secret(page: Page, scene: Scene) -> None:
    former = Webhook.objects.get(pk=scene.webhook.pk).secret
    page.goto(f"/admin/nateq_webhooks/webhook/{scene.webhook.pk}/change/")
    page.get_by_role("link", name="Make a new secret here").click()
    page.get_by_role("button", name="Make a new secret here").click()
    shown = page.locator(".nateq-secret-shown code").inner_text()

    assert Webhook.objects.get(pk=scene.webhook.pk).secret == shown != former
    assert barriers(page) == []
    assert cramped(page) == []
    page.get_by_role("link", name="I have copied it").click()
    assert shown not in page.content()
    page.get_by_role("link", name="History").click()
    assert shown not in page.content()
    for number, secret in enumerate((former, shown)):
        assert scene.sender.post(body("ticket.closed", 20 + number), secret=secret).status_code == 200


def send_a_test_event(page: Page, scene: Scene) -> None:
    page.goto(f"/admin/nateq_webhooks/webhook/{scene.webhook.pk}/change/")
    page.get_by_role("link", name="Send a test event").click()
    page.get_by_label("Event", exact=True).select_option("lead.created")
    page.get_by_role("button", name="Show its example").click()
    payload = page.get_by_label("Payload:")
    expect(payload).to_have_value(re.compile('"lead.created"'))
    payload.fill(payload.input_value().replace('"data": {', '"data": {"edited": "by hand",', 1))
    page.get_by_role("button", name="Send the test event").click()

    result = page.get_by_role("region", name="Result")
    expect(result).to_contain_text("shop.tell_crm")
    assert barriers(page) == []
    sent = Delivery.objects.get(delivery_id__startswith="test_")
    assert (sent.event, sent.status) == ("lead.created", "processed")
    assert b'"edited": "by hand"' in bytes(sent.body)
    result.get_by_role("link", name="Open the delivery").click()
    expect(page.get_by_text('"by hand"', exact=True)).to_be_visible()


def pause_and_resume(page: Page, scene: Scene) -> None:
    page.goto(f"/admin/nateq_webhooks/webhook/{scene.webhook.pk}/change/")
    page.get_by_role("link", name="Pause", exact=True).click()
    page.get_by_label("Why").fill("moving the shop")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("moving the shop").first).to_be_visible()
    held = scene.sender.post(body("ticket.closed", 30), secret=Webhook.objects.get(pk=scene.webhook.pk).secret)
    assert held.status_code == 200
    assert not Run.objects.filter(delivery__delivery_id="dlv_live_30", status="succeeded").exists()

    page.get_by_role("link", name="Resume").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.get_by_text("Resumed. Waiting runs start")).to_be_visible()
    expect(page.get_by_role("link", name="Pause", exact=True)).to_be_visible()


def read_why_requests_were_refused(page: Page, scene: Scene) -> None:
    page.locator("#content").get_by_role("link", name="Refused requests").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    page.locator("#result_list tbody tr").filter(has_text="Signed with a secret we don't know").get_by_role(
        "link"
    ).first.click()
    expect(page.get_by_text("It is signed with the secret of the webhook")).to_be_visible()
    expect(page.get_by_text("X-Nateq-Signature")).to_be_visible()
    assert CUSTOMER not in page.content()
