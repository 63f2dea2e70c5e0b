"""The admin's page "At Nateq": registering, drift, rotation; who may, and what is never shown."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Webhook
from nateq_webhooks.sandbox import Sandbox
from tests.admin.pages import webhook_form
from tests.conftest import Connect
from tests.remote.conftest import KEY, both_sides_agree

pytestmark = pytest.mark.django_db

ACTIONS = ["register", "push", "pull", "register_again", "switch_off", "reregister", "rotate"]


@pytest.fixture
def by_hand(nateq: NateqClient) -> Webhook:
    return Webhook.objects.create(name="shop", events=["ticket.created"])


def page(webhook: Webhook) -> str:
    return reverse("admin:nateq_webhooks_webhook_remote", args=[webhook.pk])


def act(client: Client, webhook: Webhook, action: str) -> str:
    """Press a button, confirm, and return the page that follows; neither shows a secret or the key."""
    asked = client.post(page(webhook), {"action": action})
    assert asked.status_code == 200
    assert 'name="confirmed"' in asked.text
    done = client.post(page(webhook), {"action": action, "confirmed": "yes"}, follow=True)
    told = " ".join(entry.get_change_message() for entry in LogEntry.objects.all())
    for shown in (asked.text, done.text, told):
        assert KEY not in shown
        for secret in Webhook.objects.values_list("secret", flat=True):
            assert secret not in shown
    return str(done.text)


def test_a_webhook_set_up_by_hand_is_registered(boss: Client, by_hand: Webhook, sandbox: Sandbox) -> None:
    change = boss.get(reverse("admin:nateq_webhooks_webhook_change", args=[by_hand.pk])).text
    assert "Register with Nateq" in change
    assert page(by_hand) in change

    assert "is registered with Nateq" in act(boss, by_hand, "register")
    both_sides_agree(sandbox)
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize("action", ACTIONS)
def test_a_get_or_an_unconfirmed_post_changes_nothing(
    boss: Client, registered: Webhook, sandbox: Sandbox, action: str
) -> None:
    boss.post(page(registered), {"action": action})
    boss.get(page(registered), {"action": action, "confirmed": "yes"})
    boss.post(page(registered), {"action": "nonsense", "confirmed": "yes"})

    both_sides_agree(sandbox)
    assert Webhook.objects.get().secret == registered.secret


def test_drift_is_shown_and_settled_either_way(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    assert "Both sides are the same" in boss.get(page(registered)).text
    drift = {"url": "http://127.0.0.1:1/old/", "events": ["ticket.closed"], "is_active": False}
    sandbox.webhooks.update(registered.nateq_id, drift)

    shown = boss.get(page(registered)).text
    assert all(part in shown for part in ("http://127.0.0.1:1/old/", "ticket.closed", "ticket.created"))
    act(boss, registered, "push")
    both_sides_agree(sandbox)

    sandbox.webhooks.update(registered.nateq_id, {"events": ["ticket.closed"]})
    act(boss, registered, "pull")
    assert Webhook.objects.get().events == ["ticket.closed"]


def test_the_page_says_what_could_not_be_taken_from_nateq(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    sandbox.webhooks.update(registered.nateq_id, {"url": "http://127.0.0.1:1/old/", "is_active": False})

    told = act(boss, registered, "pull")

    assert "Not everything could be taken from Nateq" in told
    assert "is like Nateq" not in told
    assert not Webhook.objects.get().is_active
    assert "http://127.0.0.1:1/old/" in boss.get(page(registered)).text


def test_the_secret_is_rotated(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    assert "has a new signing secret" in act(boss, registered, "rotate")
    both_sides_agree(sandbox)
    assert Webhook.objects.get().secret != registered.secret


def test_the_page_says_that_a_webhook_is_gone_at_nateq(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    sandbox.webhooks.delete(registered.nateq_id)
    assert "is not visible to the key in API_KEY, which sees 0 webhooks" in boss.get(page(registered)).text
    other = sandbox.webhooks.create("https://other.example/nateq/", ["ticket.created"])
    assert "which sees 1 webhook. Nothing was changed." in boss.get(page(registered)).text
    sandbox.webhooks.delete(other.id)
    for action in ("push", "pull"):
        assert "is not visible" in act(boss, registered, action)
    assert Webhook.objects.get().is_active
    assert sandbox.webhooks.all() == []

    act(boss, registered, "reregister")
    both_sides_agree(sandbox)


def test_a_webhook_that_is_gone_is_told_apart_and_registered_again(
    boss: Client, registered: Webhook, nateq: NateqClient, sandbox: Sandbox
) -> None:
    """Nateq still has another webhook of the same organization, so that this one is certainly gone."""
    Webhook.objects.update(organization_id="org_1")
    other = remote.register(nateq, "support", ["ticket.created"]).webhook
    Webhook.objects.filter(pk=other.pk).update(organization_id="org_1")
    sandbox.webhooks.delete(registered.nateq_id)

    shown = boss.get(page(registered)).text
    assert "Nateq does not have this webhook any more" in shown
    assert 'value="register_again"' in shown
    assert not any(f'value="{name}"' in shown for name in ("push", "pull", "rotate", "reregister"))
    assert "is registered with Nateq" in act(boss, registered, "register_again")

    registered.refresh_from_db()
    assert {each.id for each in sandbox.webhooks.all()} == {registered.nateq_id, other.nateq_id}
    assert "Both sides are the same" in boss.get(page(registered)).text

    sandbox.webhooks.delete(registered.nateq_id)
    assert "is switched off" in act(boss, registered, "switch_off")
    registered.refresh_from_db()
    assert not registered.is_active


def test_an_error_of_the_api_is_shown_with_what_to_do(boss: Client, registered: Webhook, sandbox: Sandbox) -> None:
    sandbox.faults.set("api_403", rate=1.0)
    assert "Settings -&gt; Developers -&gt; API Keys" in boss.get(page(registered)).text
    assert "Settings -&gt; Developers -&gt; API Keys" in act(boss, registered, "rotate")
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("permission", ["view_webhook", "add_webhook", "delete_webhook", None])
def test_a_user_without_change_webhook_is_refused(registered: Webhook, permission: str | None) -> None:
    user = User.objects.create_user("staff", is_staff=True)
    if permission:
        user.user_permissions.set(Permission.objects.filter(codename=permission))
    client = Client()
    client.force_login(user)

    assert client.get(page(registered)).status_code == 403
    for action in ACTIONS:
        assert client.post(page(registered), {"action": action, "confirmed": "yes"}).status_code == 403
    change = client.get(reverse("admin:nateq_webhooks_webhook_change", args=[registered.pk]))
    assert page(registered) not in change.text


@pytest.mark.django_db(transaction=True)
def test_each_step_is_committed_where_requests_are_transactions(
    boss: Client, by_hand: Webhook, sandbox: Sandbox, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert "is registered with Nateq" in act(boss, by_hand, "register")
    both_sides_agree(sandbox)


def test_a_secret_that_a_person_enters_ends_a_pending_registration(
    boss: Client, nateq: NateqClient, connect: Connect
) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, nateq_id="wh_1")
    boss.post(
        reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk]),
        webhook_form(new_secret="whsec_by_hand_0123456789abcdef"),
    )
    webhook.refresh_from_db()
    assert (webhook.registration, webhook.secret) == (Webhook.Registration.REGISTERED, "whsec_by_hand_0123456789abcdef")
