"""What watches the screens sees what it is there for: each of the checks fails on a page that is wrong."""

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import PHONE, Open
from tests.browser.policy import STRICT
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS
from tests.browser.watching import Watched, barriers, overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def page(login: Open, scene: Scene) -> Page:
    page = login(viewport=PHONE)
    page.goto(SCREENS["pause"](scene))
    return page


def test_an_inline_style_or_script_is_a_breach(login: Open) -> None:
    page = login()
    watched = Watched(page)
    inline = "<p style='color: red' onclick='alert(1)'>red</p><script>alert(2)</script>"
    headers = {"Content-Security-Policy": STRICT, "Content-Type": "text/html"}
    page.route("**/inline/", lambda route: route.fulfill(body=inline, headers=headers))

    page.goto("/inline/")

    told = " ".join(watched.complaints)
    for directive in ("style-src-attr", "script-src-attr", "script-src-elem"):
        assert f"policy: {directive}" in told


def test_an_input_without_a_name_and_pale_text_are_barriers(page: Page) -> None:
    page.evaluate("document.querySelector('label[for=nateq-reason]').remove()")
    page.evaluate("document.querySelector('#content-main p').style.color = '#ddd'")

    found = barriers(page)

    assert any(line.startswith("label (critical) at #nateq-reason") for line in found)
    assert any(line.startswith("color-contrast (serious)") for line in found)


def test_what_is_wider_than_the_window_sticks_out(page: Page) -> None:
    assert overflow(page) == []

    page.evaluate("document.querySelector('#nateq-reason').style.width = '600px'")

    assert any("nateq-reason" in line for line in overflow(page))
