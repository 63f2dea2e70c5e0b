"""The layout of the lists and of our own pages, which depends on the version of Django: CI runs it on two."""

import pytest
from playwright.sync_api import Page, expect
from pytest_django import Settings

from tests.browser.conftest import PHONE, Open
from tests.browser.pictures import take_picture
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS
from tests.browser.watching import overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LISTS = "deliveries", "runs", "rejections", "replays", "webhooks", "API keys", "audit log"

WITH_BREADCRUMBS = "at Nateq", "test event", "payload", "replay of one", "export", "erase", "receivers", "receiver"


def hidden_columns(page: Page) -> int:
    """Return how many pixels of the list's rows one has to scroll for."""
    return int(page.locator(".results").evaluate("box => box.scrollWidth - box.clientWidth"))


@pytest.mark.parametrize("name", LISTS)
def test_a_list_has_the_width_of_the_page_and_cards_on_a_phone(name: str, login: Open, scene: Scene) -> None:
    page = login()
    page.goto(SCREENS[name](scene))
    width = page.locator("#content").evaluate("box => box.clientWidth")

    assert page.locator(".results").bounding_box()["width"] > 0.8 * width  # type: ignore[index]
    assert hidden_columns(page) <= 0
    page.set_viewport_size(PHONE)
    take_picture(page, name, "cards")
    row = page.locator("#result_list tbody tr").first
    assert row.evaluate("row => getComputedStyle(row).display") == "flex"
    assert hidden_columns(page) <= 0
    assert overflow(page) == []


def test_the_outcome_is_read_on_a_phones_card(login: Open, scene: Scene) -> None:
    page = login(viewport=PHONE)
    page.goto(SCREENS["deliveries"](scene))
    row = page.locator("#result_list tbody tr").filter(has=page.locator(".nateq-failing")).first

    assert row.locator(".nateq-failing").evaluate("text => text.getBoundingClientRect().width") > 100
    assert row.evaluate("row => row.getBoundingClientRect().height") < 200


def test_the_values_on_a_phones_cards_are_named(login: Open, scene: Scene) -> None:
    page = login(viewport=PHONE)
    page.goto(SCREENS["audit log"](scene))

    source = page.locator("#result_list td.field-shown_source").first
    assert source.evaluate("cell => getComputedStyle(cell, '::before').content").replace('"', "") == "Through: "


@pytest.mark.parametrize("name", WITH_BREADCRUMBS)
def test_the_breadcrumbs_of_our_pages_look_like_djangos(name: str, login: Open, scene: Scene) -> None:
    look = "way => [getComputedStyle(way).backgroundColor, getComputedStyle(way).paddingInlineStart, way.tagName]"
    page = login()
    page.goto("/admin/nateq_webhooks/run/")
    djangos = page.locator(".breadcrumbs").evaluate(look)

    page.goto(SCREENS[name](scene))

    expect(page.get_by_role("navigation", name="Breadcrumbs")).to_have_count(1)
    assert page.locator(".breadcrumbs").evaluate(look) == djangos
    page.locator(".breadcrumbs a").last.click()
    expect(page.locator("#content")).to_be_visible()


@pytest.mark.parametrize("address", ["", "delivery/"], ids=["dashboard", "list"])
def test_a_long_value_of_a_wrong_setting_fits_a_phone(address: str, login: Open, settings: Settings) -> None:
    page = login(viewport=PHONE)
    settings.NATEQ_WEBHOOKS = {"RATE_LIMITS": {"shop.receivers.crm_" + "sync_the_contacts_" * 5: "1/h"}}
    page.goto(f"/admin/nateq_webhooks/{address}")

    expect(page.locator(".nateq-problems")).to_contain_text("sync_the_contacts_")
    assert overflow(page) == []
