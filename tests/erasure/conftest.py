"""A person who is quoted everywhere, beside others who must stay."""

from typing import Any

import pytest

from nateq_webhooks.models import Webhook
from tests.erasure.people import Scene, store_scene


@pytest.fixture
def scene(webhook: Webhook, django_user_model: Any) -> Scene:
    """Store everything."""
    return store_scene(webhook)
