"""Erasing a person in the admin, without scripts: the form, what would go, and the erasure."""

import pytest

from nateq_webhooks.models import Delivery, Webhook
from tests.browser.conftest import PHONE, SIZE, Open
from tests.browser.pictures import take_picture
from tests.browser.scene import Scene
from tests.browser.watching import Watched, barriers, cramped, overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_person_is_erased_from_the_page_of_a_delivery(login: Open, scene: Scene) -> None:
    Webhook.objects.update(has_removed=True)  # else the first erasure waits until all processes know it
    page = login(java_script_enabled=False)
    watched = Watched(page)
    page.goto(f"/admin/nateq_webhooks/delivery/{scene.dead.pk}/change/")

    page.get_by_role("link", name="Erase what is stored about a person").click()
    person = page.locator("input[name=pairs]").first
    pair = person.get_attribute("value") or ""
    person.check()
    page.get_by_role("button", name="Show what would go").click()

    assert page.get_by_role("row").count() > 1
    take_picture(page, "erase plan", "light")
    assert overflow(page) == []
    assert cramped(page) == []
    page.get_by_label("To confirm, type:").fill(pair.partition("=")[2])
    page.get_by_role("button", name="Erase", exact=True).click()

    page.get_by_text("Erased. Rows deleted or blanked").wait_for()
    assert not Delivery.objects.filter(pk=scene.dead.pk).exists()
    assert watched.complaints == []


def test_what_would_go_fits_a_phone_in_arabic(login: Open, scene: Scene) -> None:
    page = login(viewport=PHONE, locale="ar")
    page.goto(f"/admin/nateq_webhooks/delivery/erase/?deliveries={scene.dead.pk}")

    page.locator("input[name=pairs]").first.check()
    page.locator("input[type=submit].default").click()

    assert page.locator("html").get_attribute("dir") == "rtl"
    take_picture(page, "erase plan", "arabic-phone")
    assert overflow(page) == []
    assert barriers(page) == []
    page.set_viewport_size(SIZE)
    assert overflow(page) == []
