"""Chromium, a site for it to look at, and people who are logged in there."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from django.conf import settings
from django.contrib.auth.models import Permission, User
from django.test import Client, override_settings
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

from tests.browser.scene import Scene, staged
from tests.browser.watching import Watched
from tests.conftest import Connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS: Final = 60_000
"""Bound of every wait of the browser, in milliseconds: a busy machine takes seconds for a page."""

SIZE: Final[Any] = {"width": 1280, "height": 900}
PHONE: Final[Any] = {"width": 390, "height": 844}

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """The machine's Chromium. Playwright's event loop lives on this thread no longer than the module's tests."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        reason = "No Chromium is on this machine (looked for " + ", ".join(NAMES) + ")."
        if os.environ.get("CI") and "browser" in request.config.getoption("markexpr"):
            pytest.fail(reason)
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as environment, sync_playwright() as playwright:
        environment.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # that loop is not what the tests' queries run in
        browser = playwright.chromium.launch(executable_path=program, args=list(ARGUMENTS), timeout=WAIT_MS)
        expect.set_options(timeout=WAIT_MS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(chromium: Browser) -> Iterator[str]:
    """The address of the tests' site under a strict policy, in the language that the browser asks for."""
    middleware = list(settings.MIDDLEWARE)
    middleware.insert(0, "tests.browser.policy.StrictPolicy")
    middleware.insert(1 + middleware.index("django.middleware.common.CommonMiddleware"), LOCALE)
    with override_settings(MIDDLEWARE=middleware):
        server = LiveServer("127.0.0.1")
        yield server.url
        server.stop()


LOCALE: Final = "django.middleware.locale.LocaleMiddleware"


@pytest.fixture
def scene(db: None, connect: Connect) -> Scene:
    """A site on an ordinary bad day."""
    return staged(connect)


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Open a browser's window of its own, with the options of Playwright's `new_context`."""
    contexts: list[BrowserContext] = []

    def open_context(**options: Any) -> BrowserContext:
        context = chromium.new_context(**({"viewport": SIZE, "locale": "en"} | options))
        context.set_default_timeout(WAIT_MS)
        contexts.append(context)
        return context

    yield open_context
    for context in contexts:
        context.close()


@pytest.fixture
def login(site: str, opened: Callable[..., BrowserContext]) -> Open:
    """Open a page of the site as somebody: a superuser, or with `can` a member of staff with these permissions."""

    def page_of(*, can: tuple[str, ...] | None = None, **options: Any) -> Page:
        client = Client()
        client.force_login(_boss() if can is None else _staff(can))
        context = opened(base_url=site, **options)
        context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])
        return context.new_page()

    return page_of


@pytest.fixture
def watched() -> Callable[[Page], Watched]:
    """Watch what a page complains about."""
    return Watched


def _boss() -> User:
    return User.objects.filter(username="boss").first() or User.objects.create_superuser("boss", "", "tests only")


def _staff(codenames: tuple[str, ...]) -> User:
    user = User.objects.create_user("staff", password="tests only", is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="nateq_webhooks", codename__in=codenames)
    )
    return user
