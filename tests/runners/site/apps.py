"""Connects the receivers, as a site does."""

from importlib.util import find_spec

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tests.runners.site"

    def ready(self) -> None:
        from tests.runners.site import receivers  # noqa: F401 - importing it connects them

        if find_spec("httpx") is not None:
            from tests.runners.site import async_receivers  # noqa: F401
