"""Who may look, but not at what customers wrote: no screen, search or export gives it away."""

import re
from typing import Final

import pytest

from tests.browser.conftest import Open
from tests.browser.scene import CUSTOMER, Scene
from tests.browser.screens import SCREENS
from tests.browser.watching import Watched

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LOOKER: Final = ("view_delivery", "view_run", "view_webhook", "view_rejection", "view_replay", "view_apikey")
FORBIDDEN: Final = {
    "new webhook",
    "new API key",
    "test event",
    "pause",
    "new secret",
    "at Nateq",
    "payload",
    "payload search",
    "payload bytes",
    "replay of one",
    "replay of many",
    "retry of runs",
    "sent by Nateq",
    "export",
    "erase",
    "audit log",
}
"""Screens that need more than to look."""

CUSTOMERS: Final = (CUSTOMER, "سارة", "crm.example")


def test_who_may_only_look_sees_nothing_that_customers_wrote_on_any_screen(login: Open, scene: Scene) -> None:
    page = login(can=LOOKER)
    forbidden = set()

    for name, address in SCREENS.items():
        answer = page.goto(address(scene))
        assert answer is not None
        if answer.status == 403:
            forbidden.add(name)
        else:
            assert answer.status == 200, name
        found = [word for word in CUSTOMERS if name != "payload search" and word in page.content()]
        assert found == [], name

    assert forbidden == FORBIDDEN


def test_who_may_see_payloads_finds_the_customer_on_the_same_screens(login: Open, scene: Scene) -> None:
    page = login(can=(*LOOKER, "view_payload"))

    for name in ("dashboard", "delivery", "run", "payload search"):
        page.goto(SCREENS[name](scene))
        assert CUSTOMER in page.content(), name


def test_a_search_over_payloads_finds_nothing_for_who_may_not_see_them(login: Open, scene: Scene) -> None:
    address = f"/admin/nateq_webhooks/delivery/?q=data.requester.email={CUSTOMER}"
    page = login(can=LOOKER)

    page.goto(address)

    assert page.locator("#result_list tbody tr").count() == 0


def test_an_export_of_who_may_not_see_payloads_has_none(login: Open, scene: Scene) -> None:
    page = login(can=(*LOOKER, "export_delivery"))
    watched = Watched(page)
    page.goto(SCREENS["export"](scene))
    page.get_by_text("The export contains no payloads").wait_for()

    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    text = download.value.path().read_text()

    assert "dlv_live_0" in text
    assert not re.search("|".join(CUSTOMERS), text)
    assert watched.complaints == []


def test_staff_without_any_permission_find_no_screen_of_ours(login: Open, scene: Scene) -> None:
    page = login(can=())
    page.goto("/admin/")
    assert page.get_by_role("link", name="Nateq webhooks").count() == 0

    statuses = {}
    for name, address in SCREENS.items():
        answer = page.goto(address(scene))
        statuses[name] = answer.status if answer else 0

    assert set(statuses.values()) <= {403, 404}, statuses
