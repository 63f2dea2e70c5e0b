"""The description of the API as a page: it keeps a strict policy, works without scripts, and fits each screen."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.test import override_settings
from playwright.sync_api import expect

from nateq_webhooks.api.schema.operations import OPERATIONS
from tests.browser.conftest import PHONE, SIZE, Open
from tests.browser.pictures import take_picture
from tests.browser.watching import Watched, barriers, overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

DOCS: Final = "/api/v1/docs"

SIZES: Final[dict[str, Any]] = {"wide": SIZE, "phone": PHONE}


@pytest.fixture(autouse=True)
def _api_urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.api.urls"):
        yield


@pytest.mark.parametrize(("size", "language"), [("wide", "en"), ("phone", "ar")])
def test_it_keeps_the_policy_loads_nothing_of_others_and_stops_nobody(
    size: str, language: str, login: Open, site: str
) -> None:
    page = login(viewport=SIZES[size], locale=language, color_scheme="light")
    watched, asked = Watched(page), list[str]()
    page.on("request", lambda request: asked.append(request.url))

    answer = page.goto(DOCS)
    assert answer is not None
    assert answer.status == 200
    expect(page.locator("html")).to_have_attribute("dir", "rtl" if language == "ar" else "ltr")
    expect(page.locator("article").first).to_have_css("border-top-style", "solid")  # the style sheet is there
    take_picture(page, "API", f"{size}-{language}-light")
    found = barriers(page)
    page.emulate_media(color_scheme="dark")
    take_picture(page, "API", f"{size}-{language}-dark")
    found += barriers(page)

    assert not found, "\n".join(found)
    assert overflow(page) == []
    assert watched.complaints == []
    assert asked
    assert [url for url in asked if not url.startswith(site)] == []
    assert page.locator("script, style, [style]").count() == 0


def test_a_person_finds_an_operation_its_example_and_the_description_without_scripts(login: Open) -> None:
    page = login(java_script_enabled=False)
    page.goto(DOCS)

    expect(page.locator("main article h3 .method")).to_have_count(len(OPERATIONS))
    page.get_by_role("navigation").get_by_role("link", name="/deliveries/{delivery}/replay").click()
    replay = page.locator("#replay_delivery")
    expect(replay).to_be_in_viewport()
    expect(replay.locator(".curl")).to_contain_text("-X POST")
    expect(replay.locator(".curl")).to_contain_text("/api/v1/deliveries/5120/replay")
    replay.get_by_text("Example", exact=True).click()
    expect(replay.get_by_text('"brought_forward": 0')).to_be_visible()
    replay.get_by_role("link", name="422").click()
    expect(page.locator("#error-422")).to_be_in_viewport()
    with page.expect_download() as download:
        page.get_by_role("link", name="json", exact=True).click()
    assert '"/deliveries/{delivery}/replay"' in download.value.path().read_text()
