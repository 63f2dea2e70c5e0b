"""The admin by keyboard: every action is reached in the order of the page, and one sees where one is."""

from typing import Final

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Open
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

MOST_STEPS: Final = 150

_FOCUSED: Final = """
() => {
    const one = document.activeElement;
    if (!one || one === document.body) return null;
    const look = () => {
        const style = getComputedStyle(one);
        const outline = style.outlineStyle === "none" ? "none" : style.outlineWidth + style.outlineStyle;
        return [outline, style.boxShadow, style.borderColor, style.backgroundColor, style.textDecorationLine].join();
    };
    const focused = look();
    one.blur();
    const blurred = look();
    one.focus({focusVisible: true, preventScroll: true});
    const box = one.getBoundingClientRect();
    const name = one.getAttribute("aria-label") || (one.labels && one.labels.length && one.labels[0].textContent)
        || one.textContent || one.value || one.id || one.tagName;
    return {
        name: name.trim().replace(/\\s+/g, " "),
        seen: focused !== blurred && box.width > 0 && box.height > 0,
        ours: !one.closest("#header, #nav-sidebar, .breadcrumbs, #footer, #toggle-nav-sidebar"),
    };
}
"""


def stops(page: Page) -> list[str]:
    """Press the tab key through the page; return where that stops, by name. Each of these must be seen."""
    names: list[str] = []
    for _ in range(MOST_STEPS):
        page.keyboard.press("Tab")
        stop = page.evaluate(_FOCUSED)
        if stop is None:
            return names
        if stop["ours"]:
            assert stop["seen"], f"nobody sees that {stop['name']!r} has the focus"
            names.append(stop["name"])
    raise AssertionError(f"no end after {MOST_STEPS} steps: {names[-5:]}")


def in_order(names: list[str], wanted: list[str]) -> bool:
    """Say whether the wanted names begin stops, in their order; others may be between them."""
    found = iter(names)
    return all(any(name.startswith(each) for name in found) for each in wanted)


@pytest.mark.parametrize(
    ("screen", "wanted"),
    [
        (
            "delivery",
            [
                "Run all again",
                "Run the failed ones again",
                "shop.open_ticket",
                "Traceback",
                "Find in the payload",
                "Search all of it",
                "Expand all",
                "data",
                "Raw body",
                "Download the raw body",
                "curl command",
                "Test for your receivers",
            ],
        ),
        ("dashboard", ["Replay these", "Show these", "Acknowledge", "Show", "The chart as a table", "shop"]),
        (
            "webhook",
            ["Send a test event", "Pause", "Make a new secret here", "The chart as a table", "Name", "Copy", "Save"],
        ),
        ("test event", ["Event", "Show its example", "Payload", "Send the test event", "Back to the webhook"]),
        ("replay of many", ["shop.open_ticket", "shop.tell_crm", "Reason", "Replay", "No, take me back"]),
        ("retry of runs", ["Reason", "Retry", "No, take me back"]),
        ("new secret", ["Make a new secret here", "No, take me back"]),
    ],
)
def test_the_tab_key_reaches_every_action_and_shows_where_it_is(
    screen: str, wanted: list[str], login: Open, scene: Scene
) -> None:
    page = login()
    page.goto(SCREENS[screen](scene))

    names = stops(page)

    assert in_order(names, wanted), names


def test_a_delivery_is_replayed_by_keyboard_alone(login: Open, scene: Scene) -> None:
    page = login()
    page.goto(SCREENS["delivery"](scene))

    page.get_by_role("link", name="Run the failed ones again").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Why").wait_for()
    page.get_by_label("Why").focus()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")

    page.get_by_text("reason: by keyboard").wait_for()
