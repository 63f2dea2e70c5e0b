"""People who look at the admin."""

import uuid
from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client


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
