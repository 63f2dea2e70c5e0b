"""Staff users of the admin, and a delivery that they look at."""

import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from nateq_webhooks import signals
from nateq_webhooks.models import Delivery
from tests.admin.pages import fail
from tests.conftest import Connect, Sender, envelope


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Make a member of staff with the permissions named."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff {uuid.uuid4().hex}", is_staff=True)
        permissions = Permission.objects.filter(content_type__app_label="nateq_webhooks", codename__in=codenames)
        assert permissions.count() == len(codenames)
        user.user_permissions.set(permissions)
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def delivery(sender: Sender) -> Delivery:
    """A delivery to a webhook without receivers, received over HTTP."""
    sender.post(envelope())
    return Delivery.objects.get()


@pytest.fixture
def receivers(connect: Connect) -> None:
    """A receiver that fails, and one that succeeds."""
    connect(signals.ticket_created, fail, "shop.fail")
    connect(signals.ticket_created, lambda **kwargs: None, "shop.succeed")
