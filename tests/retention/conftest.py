"""Old deliveries, and the setting that removes them."""

from collections.abc import Callable
from typing import Any

import pytest
from pytest_django import Settings

from nateq_webhooks.retention import removal

Configure = Callable[..., None]


@pytest.fixture(autouse=True)
def _no_other_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "KNOWN_SECONDS", 0.0)


@pytest.fixture
def configure(settings: Settings) -> Configure:
    """Set settings of `NATEQ_WEBHOOKS`, by their names."""

    def change(**values: Any) -> None:
        settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, **values}

    return change
