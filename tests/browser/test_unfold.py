"""Every screen under django-unfold, with our admins as they are and combined with its own."""

from collections.abc import Callable
from typing import Final

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import PHONE, SIZE
from tests.browser.pictures import take_picture
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS
from tests.browser.watching import Watched, barriers
from tests.server import running

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

SETTINGS: Final = "tests.unfold_site.settings"

OURS: Final = ".nateq-section"
"""The parts of a page that are ours alone."""

SHOWN: Final = {
    "dashboard": "Needs attention",
    "webhook": "Deliveries per hour, last 48 hours",
    "delivery": "Was it genuine?",
    "test event": "Choose an event",
    "deliveries": "tkt_live_3",
    "run": "Traceback (most recent call last)",
    "rejection": "Signature unreadable",
    "replay of many": "Which receivers",
    "payload search": "data.requester.email",
}
"""A text of ours that a screen shows."""


@pytest.mark.parametrize("combined", ["", "1"], ids=["as they are", "combined"])
def test_every_screen_opens_and_works_under_unfold(
    combined: str, opened: Callable[..., BrowserContext], scene: Scene
) -> None:
    with running("unfold", DJANGO_SETTINGS_MODULE=SETTINGS, COMBINED=combined or "0") as port:
        page = logged_in(opened, f"http://127.0.0.1:{port}")
        watched = Watched(page)

        for name, address in SCREENS.items():
            answer = page.goto(address(scene))
            assert answer is not None
            assert answer.status == 200, name
            assert page.locator("[x-data]").count() > 0, f"{name} is not unfold's"
            kind = f"unfold{'-combined' if combined else ''}"
            take_picture(page, name, kind)
            found = our_barriers(page)
            page.locator("html").evaluate("html => html.classList.add('dark')")  # as its switch does
            take_picture(page, name, f"{kind}-dark")
            found += our_barriers(page)
            assert not found, name + "\n".join(found)
            page.set_viewport_size(PHONE)
            take_picture(page, name, f"{kind}-phone")
            page.set_viewport_size(SIZE)
            if name in SHOWN:
                expect(page.get_by_text(SHOWN[name]).first).to_be_visible()
        search_a_payload(page, scene)
        replay(page, scene)
        go_from_the_home_to_the_dashboard(page)

    assert watched.complaints == []


def our_barriers(page: Page) -> list[str]:
    return barriers(page, within=OURS) if page.locator(OURS).count() else []


def logged_in(opened: Callable[..., BrowserContext], url: str) -> Page:
    client = Client()
    client.force_login(User.objects.create_superuser("boss", "", "tests only"))
    context = opened(base_url=url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": url}])
    return context.new_page()


def go_from_the_home_to_the_dashboard(page: Page) -> None:
    page.goto("/admin/")
    page.locator('#content a[href="/admin/nateq_webhooks/dashboard/"]').first.click()
    expect(page.get_by_text(SHOWN["dashboard"]).first).to_be_visible()


def search_a_payload(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["delivery"](scene))
    page.get_by_label("Find in the payload").fill("tag 7")
    page.get_by_role("button", name="Search all of it").click()
    expect(page.get_by_role("link", name="data.tags[7]", exact=True)).to_be_visible()


def replay(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["delivery"](scene))
    page.get_by_role("link", name="Run the failed ones again").click()
    page.get_by_label("Why").wait_for()
