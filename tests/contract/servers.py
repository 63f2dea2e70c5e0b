"""What answers the calls of the client: the sandbox, or this site's own API. A test marked `BOTH` runs against each."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol

import pytest
from django.core.cache import cache
from django.test import override_settings
from django.utils import timezone

from example_project.board.server import serving
from nateq_webhooks.models import ApiKey, Webhook
from nateq_webhooks.protocol.api import API_PATH
from nateq_webhooks.sandbox import Sandbox

SITE: Final = "https://shop.example"
"""The address that the site gives itself: its webhooks' URLs begin with it."""

BOTH: Final = pytest.mark.parametrize(
    "server", ["sandbox", pytest.param("site", marks=pytest.mark.django_db(transaction=True))], indirect=True
)


class Server(Protocol):
    """A server of the contract, and what a test has to see behind it."""

    @property
    def base_url(self) -> str:
        """Its address for the client."""

    @property
    def key(self) -> str:
        """A key that may do everything."""

    def secrets(self) -> dict[str, str]:
        """Return the secret of each webhook that it has, by its id."""

    def fill(self, count: int, events: list[str]) -> list[str]:
        """Make webhooks; return their ids, the oldest first."""


@dataclass
class SandboxServer:
    """The sandbox."""

    sandbox: Sandbox
    key: str

    @property
    def base_url(self) -> str:
        return self.sandbox.base_url

    def secrets(self) -> dict[str, str]:
        return {webhook.id: webhook.secret for webhook in self.sandbox.webhooks.all()}

    def fill(self, count: int, events: list[str]) -> list[str]:
        return [self.sandbox.webhooks.create(f"{SITE}/{number}", events).id for number in range(count)]


@dataclass
class SiteServer:
    """This site's own API, on a live server."""

    base_url: str
    key: str

    def secrets(self) -> dict[str, str]:
        return {str(webhook.pk): webhook.secret for webhook in Webhook.objects.all()}

    def fill(self, count: int, events: list[str]) -> list[str]:
        began = timezone.now()
        rows = [
            Webhook(name=f"webhook {number}", events=events, created_at=began + timedelta(milliseconds=number))
            for number in range(count)
        ]
        return [str(webhook.pk) for webhook in Webhook.objects.bulk_create(rows)]


def site_key(*scopes: str, **columns: object) -> str:
    """Store a key of the site's API, and return it."""
    row = ApiKey(name=f"key {ApiKey.objects.count()}", scopes=list(scopes), requests_per_minute=10_000, **columns)
    key = row.issue()
    row.save()
    return key


@contextmanager
def site_server() -> Iterator[SiteServer]:
    """Serve the site with its API."""
    cache.clear()
    with (
        override_settings(ROOT_URLCONF="tests.api.urls", NATEQ_WEBHOOKS={"PUBLIC_URL": SITE}),
        serving(0) as port,
    ):
        yield SiteServer(f"http://127.0.0.1:{port}{API_PATH}", site_key("webhooks:manage"))
