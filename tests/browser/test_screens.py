"""Each screen of the admin: it keeps a strict policy, is sound for everybody, and fits wherever it is read."""

import pytest

from tests.browser.conftest import PHONE, SIZE, Open
from tests.browser.pictures import take_picture
from tests.browser.scene import Scene
from tests.browser.screens import SCREENS
from tests.browser.watching import Watched, barriers, cramped, overflow

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_keeps_the_policy_and_stops_nobody_in_light_and_dark(name: str, login: Open, scene: Scene) -> None:
    page = login(color_scheme="light")
    watched = Watched(page)

    answer = page.goto(SCREENS[name](scene))
    assert answer is not None
    assert answer.status == 200
    assert watched.complaints == []
    take_picture(page, name, "light")
    found = barriers(page)
    page.emulate_media(color_scheme="dark")
    take_picture(page, name, "dark")
    found += barriers(page)

    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", SCREENS)
def test_a_screen_fits_a_phone_in_both_directions(name: str, login: Open, scene: Scene) -> None:
    page = login(viewport=PHONE, locale="ar")
    page.goto(SCREENS[name](scene))

    assert page.locator("html").get_attribute("dir") == "rtl"
    assert overflow(page) == []
    take_picture(page, name, "arabic-phone")
    page.set_viewport_size(SIZE)
    take_picture(page, name, "arabic")
    assert overflow(page) == []
    assert cramped(page) == []
    page.set_viewport_size(PHONE)
    page.context.add_cookies([{"name": "django_language", "value": "en", "url": page.url}])
    page.reload()
    assert page.locator("html").get_attribute("dir") == "ltr"
    take_picture(page, name, "phone")
    assert overflow(page) == []
