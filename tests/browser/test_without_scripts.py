"""The admin without JavaScript: all that a person needs is links, forms and details."""

import re

import pytest
from playwright.sync_api import Page, expect

from nateq_webhooks.models import Replay, Run
from tests.browser.conftest import Open
from tests.browser.scene import CUSTOMER, Scene
from tests.browser.screens import SCREENS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

LIST = "/admin/nateq_webhooks/delivery/"


@pytest.fixture
def page(login: Open) -> Page:
    return login(java_script_enabled=False)


def test_the_tree_unfolds_and_its_rest_and_its_search_are_pages(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["delivery"](scene))
    tree = page.locator("ul.nateq-tree")
    tag = tree.get_by_text('"tag 0"', exact=True)
    expect(tag).to_be_hidden()

    tree.locator("summary").filter(has_text="tags").click()
    expect(tag).to_be_visible()
    tree.locator(".nateq-rest > a").first.click()
    expect(page).to_have_url(re.compile("/payload/"))
    page.get_by_label("Find in the payload").fill(CUSTOMER)
    page.get_by_role("button", name="Search all of it").click()

    expect(page.get_by_role("link", name="data.requester.email")).to_be_visible()


def test_no_button_is_there_that_needs_a_script(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["delivery"](scene))

    for name in ("Expand all", "Collapse all", "Copy the JSON", "Copy"):
        assert page.get_by_role("button", name=name).count() == 0


def test_the_list_is_searched_and_paged(page: Page, scene: Scene) -> None:
    page.goto(LIST)
    rows = page.locator("#result_list tbody tr")
    first = rows.first.inner_text()
    assert rows.count() == 50

    page.locator(".paginator").get_by_role("link", name=re.compile("^(Next|2)")).first.click()
    expect(rows.first).not_to_have_text(first)
    assert rows.count() == 24

    page.locator("#searchbar").fill("dlv_live_2")
    page.get_by_role("button", name="Search").click()
    expect(rows).to_have_count(1)


def test_one_delivery_and_many_are_replayed(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["delivery"](scene))
    page.get_by_role("link", name="Run the failed ones again").click()
    page.get_by_role("button", name="Run it again").click()
    expect(page.get_by_text("1 run made")).to_be_visible()

    page.goto(f"{LIST}?status__exact=failed")
    page.locator("#result_list input.action-select").first.check()
    page.get_by_label("Action:").select_option("replay_selected")
    page.get_by_role("button", name=re.compile("^(Go|Run)$")).click()
    page.get_by_label("shop.open_ticket").check()
    page.get_by_role("button", name="Replay", exact=True).click()
    # Its runs are made, and wait for a worker.
    expect(page.get_by_text("0 %: 0 succeeded, 0 failed for good, 1 left (1 waiting)")).to_be_visible()

    many, one = Replay.objects.order_by("-pk")[:2]
    assert list(Run.objects.filter(round=one.pk).values_list("receiver", flat=True)) == ["shop.tell_crm"]
    assert list(Run.objects.filter(round=many.pk).values_list("receiver", flat=True)) == ["shop.open_ticket"]


def test_a_secret_is_replaced_and_shown(page: Page, scene: Scene) -> None:
    page.goto(SCREENS["new secret"](scene))
    page.get_by_role("button", name="Make a new secret here").click()

    scene.webhook.refresh_from_db()
    expect(page.locator(".nateq-secret-shown code")).to_have_text(scene.webhook.secret)
