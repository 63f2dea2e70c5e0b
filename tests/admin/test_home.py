"""The admin's home: a line leads to the dashboard, for users who may see it."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.sites import AdminSite
from django.test import Client
from django.urls import path, reverse

from nateq_webhooks.admin import DashboardAdmin
from nateq_webhooks.models.dashboard import Dashboard
from tests.admin.pages import shown

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

ENTRY = "/admin/nateq_webhooks/dashboard/"
LINK = f'<a href="{ENTRY}">Dashboard</a>'

other = AdminSite(name="other")
other.register(Dashboard, DashboardAdmin)
urlpatterns = [path("other/", other.urls)]


def test_the_home_has_a_line_that_leads_to_the_dashboard(boss: Client) -> None:
    assert LINK in shown(boss, reverse("admin:index"))

    answer = boss.get(ENTRY, follow=True)

    assert answer.redirect_chain == [("/admin/nateq_webhooks/", 302)]
    assert "nateq-dashboard" in answer.content.decode()


@pytest.mark.parametrize("permission", ["view_delivery", "view_run", "view_rejection"])
def test_a_user_who_may_see_a_part_of_it_has_the_line(staff: Callable[..., Client], permission: str) -> None:
    client = staff(permission)

    assert LINK in shown(client, reverse("admin:index"))
    assert client.get(ENTRY)["Location"] == "/admin/nateq_webhooks/"


@pytest.mark.parametrize("permissions", [(), ("view_webhook", "change_webhook"), ("view_replay", "replay_delivery")])
def test_a_user_who_sees_nothing_of_it_does_not(staff: Callable[..., Client], permissions: tuple[str, ...]) -> None:
    client = staff(*permissions)

    assert ENTRY not in shown(client, reverse("admin:index"))
    assert client.get(ENTRY).status_code == 403


def test_who_is_not_logged_in_is_asked_to(client: Client) -> None:
    assert "/login/?next=" in client.get(ENTRY)["Location"]


@pytest.mark.parametrize("page", ["add/", "1/change/", "1/delete/", "1/history/"])
def test_it_has_no_other_page(boss: Client, page: str) -> None:
    assert boss.get(f"{ENTRY}{page}").status_code == 404


def test_it_is_in_arabic_too(boss: Client, settings: Any) -> None:
    settings.LANGUAGE_CODE = "ar"

    assert f'<a href="{ENTRY}">لوحة المتابعة</a>' in shown(boss, reverse("admin:index"))


@pytest.mark.urls("tests.admin.test_home")
def test_another_site_leads_to_its_own_dashboard(boss: Client) -> None:
    assert '<a href="/other/nateq_webhooks/dashboard/">Dashboard</a>' in shown(boss, "/other/")
    assert boss.get("/other/nateq_webhooks/dashboard/")["Location"] == "/other/nateq_webhooks/"
