"""Connects the receivers, as a site does."""

from django.apps import AppConfig


class SiteConfig(AppConfig):
    name = "tests.runners.site"

    def ready(self) -> None:
        from tests.runners.site import receivers  # noqa: F401 - importing it connects them
