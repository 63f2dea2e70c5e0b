"""API keys in the admin: shown once, limited to what the user may do, and revoked."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks.models import ApiKey
from nateq_webhooks.protocol.api import Scope
from tests.admin.pages import shown

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

ADD = "admin:nateq_webhooks_apikey_add"
LIST = "admin:nateq_webhooks_apikey_changelist"


def form(**over: Any) -> dict[str, Any]:
    limits = {"allowed_addresses": "", "requests_per_minute": "1000", "expires_at_0": "", "expires_at_1": ""}
    return {"name": "support", "scopes": ["deliveries:read"], "organization_id": ""} | limits | over


def change_url(key: ApiKey) -> str:
    return reverse("admin:nateq_webhooks_apikey_change", args=[key.pk])


@pytest.fixture
def key(boss: Client) -> ApiKey:
    boss.post(reverse(ADD), form())
    return ApiKey.objects.get()


def staff(*permissions: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def test_the_form_of_a_new_key_proposes_the_usual_limit(boss: Client) -> None:
    proposed = boss.get(reverse(ADD)).context["adminform"].form["requests_per_minute"].value()

    assert proposed == ApiKey().requests_per_minute > 0


def test_a_new_key_is_shown_once_and_nothing_that_is_stored_has_it(boss: Client) -> None:
    response = boss.post(reverse(ADD), form(allowed_addresses="192.0.2.7\n198.51.100.0/24"))

    [text] = [part for part in response.content.decode().replace("<", ">").split(">") if part.startswith("tg_live_")]
    row = ApiKey.objects.with_key(text)
    assert row is not None
    assert (row.scopes, row.allowed_addresses) == (["deliveries:read"], ["192.0.2.7", "198.51.100.0/24"])
    assert "no-store" in response["Cache-Control"]
    pages = [shown(boss, url) for url in (reverse(LIST), change_url(row), reverse("admin:index"))]
    pages.append(shown(boss, reverse("admin:nateq_webhooks_apikey_history", args=[row.pk])))
    entries = "".join(f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all())
    sessions = "".join(str(session.get_decoded()) for session in Session.objects.all())
    cookies = "".join(morsel.OutputString() for morsel in boss.cookies.values())
    assert LogEntry.objects.count() == 1
    assert text not in "".join([*pages, entries, sessions, cookies])
    assert row.key_hash not in "".join(pages)


def test_what_a_key_may_do_is_chosen_once_and_its_limits_can_be_changed(boss: Client, key: ApiKey) -> None:
    before = key.key_hash

    response = boss.post(change_url(key), form(scopes=list(Scope), organization_id="org_2", requests_per_minute="5"))

    key.refresh_from_db()
    assert response.status_code == 302
    assert (key.scopes, key.organization_id, key.requests_per_minute) == (["deliveries:read"], "", 5)
    assert key.key_hash == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("scopes", []), ("scopes", ["all"]), ("allowed_addresses", "here"), ("requests_per_minute", "0")],
)
def test_invalid_values_are_refused(boss: Client, field: str, value: Any) -> None:
    response = boss.post(reverse(ADD), form(**{field: value}))

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not ApiKey.objects.exists()


def test_a_key_is_revoked_on_its_page_and_stays_revoked(boss: Client, key: ApiKey) -> None:
    boss.post(change_url(key), form(is_revoked="on"))

    key.refresh_from_db()
    assert key.state(timezone.now()) == ApiKey.State.REVOKED
    assert "is_revoked" not in shown(boss, change_url(key))
    boss.post(change_url(key), form())
    key.refresh_from_db()
    assert key.state(timezone.now()) == ApiKey.State.REVOKED


def test_keys_are_revoked_in_the_list(boss: Client, key: ApiKey) -> None:
    response = boss.post(reverse(LIST), {"action": "revoke_selected", "_selected_action": [key.pk]}, follow=True)

    key.refresh_from_db()
    assert "1 key is revoked." in response.content.decode()
    assert key.state(timezone.now()) == ApiKey.State.REVOKED
    assert LogEntry.objects.filter(object_id=key.pk).count() == 2


def test_a_user_gives_a_key_no_more_than_the_user_may_do() -> None:
    client = staff("add_apikey", "view_payload")

    refused = client.post(reverse(ADD), form(scopes=["deliveries:read"]))
    allowed = client.post(reverse(ADD), form(scopes=["payloads:read"]))

    assert "scopes" in refused.context["adminform"].form.errors
    assert b"tg_live_" in allowed.content
    assert ApiKey.objects.get().scopes == ["payloads:read"]


def test_the_list_takes_no_condition_on_the_hash(boss: Client, key: ApiKey) -> None:
    response = boss.get(reverse(LIST), {"key_hash__startswith": key.key_hash[:3]})

    assert response.status_code == 400
