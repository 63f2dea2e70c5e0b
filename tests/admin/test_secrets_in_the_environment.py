"""Webhooks whose secret is in an environment variable, in the admin, and what refuses to replace it."""

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks.admin.deliveries.signature_check import SignatureState, check
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.protocol.signatures import SigningKey
from nateq_webhooks.remote.local_webhooks import rotate_here
from nateq_webhooks.remote.remote_errors import RemoteError
from tests.conftest import SECRET, Sender, envelope

pytestmark = pytest.mark.pages

OTHER = "whsec_other_0123456789abcdef"


@pytest.fixture
def webhook(db: None, monkeypatch: pytest.MonkeyPatch) -> Webhook:
    monkeypatch.setenv("NATEQ_SHOP", SECRET)
    return Webhook.objects.create(name="shop", secret="env:NATEQ_SHOP")


def page(client: Client, name: str, webhook: Webhook) -> str:
    return client.get(reverse(f"admin:nateq_webhooks_webhook_{name}", args=[webhook.pk])).content.decode()


def form(webhook: Webhook, new_secret: str) -> dict[str, str]:
    empty = {"older_secrets-TOTAL_FORMS": "0", "older_secrets-INITIAL_FORMS": "0"}
    return {"name": webhook.name, "is_active": "on", "new_secret": new_secret} | empty


def test_the_page_shows_the_id_and_the_variable(webhook: Webhook, admin_client: Client) -> None:
    shown = page(admin_client, "change", webhook)
    assert SigningKey.of(SECRET).id in shown
    assert "env:NATEQ_SHOP" in shown
    assert SECRET not in shown


def test_a_variable_is_entered_and_the_former_secret_kept(
    webhook: Webhook, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = reverse("admin:nateq_webhooks_webhook_change", args=[webhook.pk])
    answer = admin_client.post(address, form(webhook, "env:NATEQ_NEXT"))
    assert "NATEQ_NEXT, which is not set" in answer.content.decode()

    monkeypatch.setenv("NATEQ_NEXT", OTHER)
    assert admin_client.post(address, form(webhook, "env:NATEQ_NEXT")).status_code == 302
    sender = Sender(webhook)
    assert sender.post(envelope()).status_code == 200
    assert sender.post(envelope(delivery_id="dlv_2"), secret=OTHER).status_code == 200
    assert Secret.objects.get().secret == "env:NATEQ_SHOP"


def test_no_new_secret_is_made_for_it(webhook: Webhook, admin_client: Client) -> None:
    shown = page(admin_client, "secret", webhook)
    assert "environment variable NATEQ_SHOP" in shown
    assert "<form method" not in shown.partition('id="content-main"')[2]
    with pytest.raises(RemoteError, match="NATEQ_SHOP"):
        rotate_here(webhook)
    assert Webhook.objects.get().secret == "env:NATEQ_SHOP"
    assert not Secret.objects.exists()


def test_the_dashboard_names_what_cannot_be_read(
    webhook: Webhook, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = reverse("admin:app_list", args=["nateq_webhooks"])
    said = "a signing secret can&#x27;t be read"
    assert said not in admin_client.get(address).content.decode()
    monkeypatch.delenv("NATEQ_SHOP")
    assert said in admin_client.get(address).content.decode()


def test_a_signature_cannot_be_checked_while_the_secret_cannot_be_read(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    Sender(webhook).post(envelope())
    delivery = Delivery.objects.get()
    assert check(delivery) is SignatureState.VALID
    monkeypatch.delenv("NATEQ_SHOP")
    assert check(delivery) is SignatureState.SECRET_UNREADABLE


def test_a_former_secret_that_has_ended_is_shown_so_in_the_check(webhook: Webhook) -> None:
    Sender(webhook).post(envelope())
    Webhook.objects.update(secret=OTHER)
    Secret.objects.create(webhook=webhook, secret=SECRET, expires_at=timezone.now())
    assert check(Delivery.objects.get()) is SignatureState.VALID_EXPIRED
    assert Sender(webhook).post(envelope(delivery_id="dlv_2")).status_code == 401
