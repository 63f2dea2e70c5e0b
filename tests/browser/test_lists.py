"""The list of deliveries as an on-call engineer and a support agent use it, with the number of clicks."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from nateq_webhooks.database.keyset.bounded_scan import Budget
from nateq_webhooks.models import Delivery, Run
from tests.browser.conftest import PHONE, Open
from tests.browser.pictures import take_picture
from tests.browser.scene import CUSTOMER, Scene, body
from tests.browser.watching import Watched, overflow
from tests.builders import build_delivery

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST = "/admin/nateq_webhooks/delivery/"


class Clicks:
    """Clicks and searches by the Enter key, counted."""

    def __init__(self) -> None:
        self.number = 0

    def on(self, page: Page, *, role: str, name: str | re.Pattern[str]) -> None:
        page.get_by_role(role, name=name).first.click()  # type: ignore[arg-type]
        self.number += 1

    def search(self, page: Page, text: str) -> None:
        page.locator("#searchbar").fill(text)
        page.locator("#searchbar").press("Enter")
        page.wait_for_url(re.compile("[?&]q="))
        self.number += 1


@pytest.fixture
def page(login: Open) -> Iterator[Page]:
    page = login()
    watched = Watched(page)
    yield page
    assert watched.complaints == []


def rows(page: Page) -> int:
    return page.locator("#result_list tbody tr").count()


def store_many(scene: Scene, number: int) -> None:
    """Store deliveries of long ago, before which nothing of the scene came."""
    now = timezone.now()
    Delivery.objects.bulk_create((build_delivery(scene.webhook, now) for _ in range(number)), batch_size=1_000)


def test_did_the_delivery_of_this_customer_arrive_and_run_it_again_in_four_clicks(page: Page, scene: Scene) -> None:
    clicks = Clicks()
    page.goto(LIST)

    clicks.search(page, CUSTOMER)
    expect(page.locator(".nateq-search-note")).to_contain_text("which is all. 4 deliveries were found.")
    take_picture(page, "found by e-mail", "light")
    clicks.on(page, role="link", name="ticket.created")
    clicks.on(page, role="link", name="Run all again")
    page.get_by_label("Why").fill("the customer asked")
    clicks.on(page, role="button", name="Run it again")

    expect(page.get_by_text("reason: the customer asked").first).to_be_visible()
    assert clicks.number == 4
    assert Run.objects.filter(round__gt=0, delivery=scene.dead).count() == 2


def test_a_name_in_arabic_and_an_unknown_address_say_what_was_looked_at(page: Page, scene: Scene) -> None:
    page.goto(LIST)
    clicks = Clicks()

    clicks.search(page, "سارة")
    assert rows(page) == 4
    clicks.search(page, "nobody@customer.example")
    expect(page.locator(".nateq-search-note")).to_contain_text("Nothing was found there.")
    take_picture(page, "nothing found", "light")
    page.get_by_text("Search one field for exactly this value").click()
    expect(page.get_by_role("link", name="data.requester.email")).to_be_visible()


def test_one_click_searches_further(page: Page, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.changelists.changelist.FIRST_BUDGET", Budget(100, 60))
    store_many(scene, 300)
    clicks = Clicks()
    page.goto(LIST)

    clicks.search(page, CUSTOMER)
    expect(page.locator(".nateq-search-note")).to_contain_text("Looked through the 100 newest deliveries")
    clicks.on(page, role="link", name="Search further back")

    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    assert clicks.number == 2


def test_a_preset_and_a_bar_of_the_histogram_filter_the_list(page: Page, scene: Scene) -> None:
    page.goto(LIST)
    page.locator(".nateq-filters > summary").click()
    take_picture(page, "filters", "light")
    page.locator("#changelist-filter").get_by_role("link", name="Last 15 minutes").click()
    expect(page.locator(".nateq-filters > summary")).to_contain_text("Last 15 minutes")
    assert rows(page) == Delivery.objects.filter(received_at__gte=timezone.now() - timedelta(minutes=15)).count()

    page.goto(LIST)
    bar = page.locator(".nateq-bars a").nth(10)
    number = int(re.search(r": (\d+) deliver", bar.get_attribute("aria-label") or "")[1])  # type: ignore[index]
    bar.click()

    expect(page.locator("#result_list tbody tr")).to_have_count(number)
    assert number > 0
    expect(page).to_have_url(re.compile("received_at__lt"))


def test_since_a_time_of_the_day(page: Page, scene: Scene) -> None:
    page.goto(LIST)
    page.locator(".nateq-filters > summary").click()
    page.get_by_label("Since (hours and minutes)").fill("00:00")
    page.get_by_role("button", name="Show", exact=True).click()

    expect(page).to_have_url(re.compile(r"received_at__gte=00%3A00"))


def test_a_delivery_leads_to_the_next_one_that_fails(page: Page, scene: Scene) -> None:
    page.goto(LIST)
    page.get_by_role("link", name="Failing, last 24 hours").click()
    page.locator("#result_list tbody th a, #result_list tbody td a").first.click()
    first = page.url

    page.get_by_role("link", name="Next in the list").click()
    expect(page).not_to_have_url(first)
    page.get_by_role("link", name="Previous in the list").click()
    expect(page).to_have_url(first)
    expect(page.get_by_role("link", name="Previous in the list")).to_have_count(0)
    page.get_by_role("link", name=re.compile("Back to the list")).click()
    expect(page.locator(".nateq-views [aria-current]")).to_have_text("Failing, last 24 hours")


@pytest.mark.parametrize("locale", ["en", "ar"])
def test_on_a_phone_rows_are_cards_and_filters_are_behind_a_button(locale: str, login: Open, scene: Scene) -> None:
    page = login(viewport=PHONE, locale=locale)
    page.goto(LIST)
    row = page.locator("#result_list tbody tr").first

    assert row.evaluate("row => getComputedStyle(row).display") == "flex"
    assert row.bounding_box()["width"] <= PHONE["width"]  # type: ignore[index]
    expect(page.locator("#changelist-filter")).to_be_hidden()
    page.locator(".nateq-filters > summary").click()
    expect(page.locator("#changelist-filter")).to_be_visible()
    take_picture(page, "filters", f"phone-{locale}")
    assert overflow(page) == []


def test_a_row_is_one_line_and_no_column_is_cut(page: Page, scene: Scene) -> None:
    page.goto(LIST)

    heights = page.locator("#result_list tbody tr").evaluate_all("rows => rows.map(row => row.offsetHeight)")
    results = page.locator(".results").evaluate("box => [box.scrollWidth, box.clientWidth]")

    assert max(heights) < 45
    assert results[0] <= results[1]
    expect(page.locator(".nateq-failing").first).to_contain_text("shop.tell_crm")


def test_the_list_follows_along(page: Page, scene: Scene) -> None:
    page.clock.install()
    page.goto(LIST)
    page.get_by_role("button", name="Follow along").click()
    expect(page.get_by_role("status").filter(has_text="Following")).to_be_visible()
    scene.sender.post(body("lead.created", 50))

    page.clock.run_for(6_000)

    expect(page.locator("#nateq-follow-status")).to_have_text("New rows: 1")
    expect(page.locator("#result_list tbody tr").first).to_contain_text("lead.created")
    page.locator("#result_list .action-select").first.check()
    expect(page.locator(".action-counter")).to_contain_text("1 of 50")
    scene.sender.post(body("user.created", 51))
    page.clock.run_for(6_000)
    expect(page.locator("#result_list tbody tr").first).to_contain_text("lead.created")  # it waits for the ticked one
    page.locator("#result_list .action-select").first.uncheck()
    page.clock.run_for(6_000)
    expect(page.locator("#result_list tbody tr").first).to_contain_text("user.created")


def test_following_stops_when_somebody_is_logged_out(login: Open, scene: Scene) -> None:
    page = login()
    page.clock.install()
    page.goto(LIST)
    page.get_by_role("button", name="Follow along").click()
    page.context.clear_cookies()

    page.clock.run_for(6_000)

    expect(page.locator("#nateq-follow-status")).to_have_text("Stopped: the list can't be read.")
    expect(page.get_by_role("button", name="Follow along")).to_have_attribute("aria-pressed", "false")


def test_shortcuts_move_search_and_run_again_and_can_be_switched_off(page: Page, scene: Scene) -> None:
    def focused() -> str:
        return str(page.evaluate("document.activeElement.closest('tr')?.innerText || document.activeElement.id"))

    page.goto(LIST)
    lines = [text.split("\n")[0] for text in page.locator("#result_list tbody tr").all_inner_texts()[:2]]
    page.keyboard.press("j")
    assert focused().startswith(lines[0])
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert focused().startswith(lines[0])
    page.keyboard.press("/")
    assert focused() == "searchbar"
    page.keyboard.type("jkr/")
    expect(page.locator("#searchbar")).to_have_value("jkr/")
    page.locator("#result_list tbody a").first.focus()
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile(r"/replay/\?which=all"))

    page.goto(f"{LIST}{scene.dead.pk}/change/")
    page.keyboard.press("j")
    expect(page).not_to_have_url(re.compile(f"/{scene.dead.pk}/change/"))
    expect(page.locator("#nateq-keys")).to_be_visible()  # by the script
    page.keyboard.press("k")
    expect(page).to_have_url(re.compile(f"/{scene.dead.pk}/change/"))
    expect(page.locator("#nateq-keys")).to_be_visible()
    page.get_by_text("Keyboard shortcuts", exact=True).click()
    page.get_by_role("button", name="Switch the shortcuts off").click()
    page.get_by_text("Keyboard shortcuts", exact=True).focus()
    page.keyboard.press("r")
    page.keyboard.press("/")
    expect(page).to_have_url(re.compile(f"/{scene.dead.pk}/change/"))
    assert focused() != "nateq-find"
    page.get_by_role("button", name="Switch the shortcuts on").click()
    page.get_by_text("Keyboard shortcuts", exact=True).focus()
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile("/replay/"))
