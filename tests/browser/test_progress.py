"""The page of a replay that is under way."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from nateq_webhooks.models import Replay
from tests.browser.conftest import Open
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def shows(page: Page, percent: str) -> None:
    """How much of the deliveries was looked through; that no run was found is no progress."""
    expect(page.get_by_label("Looking through the deliveries:")).to_have_attribute("value", percent)
    expect(page.get_by_label("Runs finished:")).to_have_attribute("value", "0")


def test_the_progress_follows_the_work_and_the_page_stays_until_the_end(login: Open, scene: Scene) -> None:
    page = login()
    page.goto(SCREENS["replay under way"](scene))
    shows(page, "25")
    page.get_by_role("button", name="Cancel the rest").focus()

    Replay.objects.filter(pk=scene.under_way.pk).update(after=750)
    shows(page, "75")
    expect(page.get_by_role("button", name="Cancel the rest")).to_be_focused()
    expect(page.locator("#nateq-progress-words")).to_have_text(re.compile("^0 %: "))

    Replay.objects.filter(pk=scene.under_way.pk).update(after=1000, finished_at=timezone.now())
    expect(page.get_by_label("Runs finished:")).to_have_attribute("value", "100")
    expect(page.get_by_role("button", name="Cancel the rest")).to_have_count(0)


def test_without_scripts_the_page_is_loaded_anew(login: Open, scene: Scene) -> None:
    page = login(java_script_enabled=False)
    page.goto(SCREENS["replay under way"](scene))
    shows(page, "25")

    Replay.objects.filter(pk=scene.under_way.pk).update(after=750)

    shows(page, "75")
