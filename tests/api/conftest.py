"""Programs with keys, and staff users, that ask the API."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.core.cache import cache
from django.test import Client, override_settings

from nateq_webhooks.models import ApiKey
from nateq_webhooks.protocol.api import Scope
from tests.api.described import check_answer
from tests.dispatch.scene import at_once

API = "/api/v1"


@pytest.fixture(autouse=True)
def _one_admin_site(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the admin sites that other tests make: what each of them shows counts for a staff user."""
    monkeypatch.setattr("django.contrib.admin.sites.all_sites", {admin.site})


@pytest.fixture(autouse=True)
def _api_urls() -> Any:
    cache.clear()
    with override_settings(ROOT_URLCONF="tests.api.urls"):
        yield


class Program(Client):
    """Asks with a key; `ask` returns the answer, and `data` what is in its envelope."""

    def __init__(self, key: str = "", **defaults: Any) -> None:
        super().__init__(headers={"Authorization": f"Bearer {key}"} if key else {}, **defaults)

    def request(self, **request: Any) -> Any:
        """Send a request. Every answer is as the description of the API says."""
        response = super().request(**request)
        check_answer(request["REQUEST_METHOD"], request["PATH_INFO"], response)
        return response

    def ask(self, path: str, query: Any = None, *, method: str = "GET", status: int = 200, **options: Any) -> Any:
        if method == "GET":
            response = self.get(f"{API}{path}", query, **options)
        else:
            response = self.generic(method, f"{API}{path}", **options)
        assert response.status_code == status, response.content
        assert response["X-Request-Id"].startswith("req_")
        assert response["Cache-Control"] == "no-store"
        return response

    def data(self, path: str, query: Any = None) -> Any:
        document = self.ask(path, query).json()
        assert document["success"] is True
        return document["data"]

    def error(self, path: str, query: Any = None, *, status: int, **options: Any) -> Any:
        document = self.ask(path, query, status=status, **options).json()
        assert document["success"] is False
        assert set(document) == {"success", "error"}
        assert set(document["error"]) <= {"code", "message", "details"}
        return document["error"]


def answers_at_once(key: str, path: str, body: bytes = b"") -> list[tuple[int, Any]]:
    """Send a request four times at the same moment, with one `Idempotency-Key`; return the statuses and documents."""

    def send() -> tuple[int, Any]:
        response = Program(key).generic("POST", f"{API}{path}", body, headers={"Idempotency-Key": "k"})
        return response.status_code, response.json()

    return at_once([send] * 4)


def issue(*scopes: str, name: str = "", **columns: Any) -> str:
    """Store a key and return it."""
    row = ApiKey(name=name or f"key {ApiKey.objects.count()}", scopes=list(scopes or Scope), **columns)
    key = row.issue()
    row.save()
    return key


def staff(*permissions: str, is_staff: bool = True, name: str = "") -> Program:
    """Log a user in with these permissions."""
    user = User.objects.create_user(name or f"user {User.objects.count()}", is_staff=is_staff)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    program = Program(enforce_csrf_checks=True)
    program.force_login(user)
    return program


Make = Callable[..., Program]


@pytest.fixture
def program(db: None) -> Program:
    """A program whose key may do everything."""
    return Program(issue())
