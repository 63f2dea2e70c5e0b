"""Deliveries to a webhook with a secret that can't be read: none is lost, and none is accepted unverified."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Delivery, Rejection, Secret, Webhook
from tests.conftest import SECRET, Sender, envelope
from tests.encryption import NEW_KEY, OLD_KEY, keys, store_as, without_the_extra

pytest.importorskip("cryptography")

OTHER = "whsec_other_0123456789abcdef"
UNREADABLE = "fernet:gAAAAA"


@pytest.fixture
def sender(db: None) -> Sender:
    return Sender(Webhook.objects.create(name="shop", secret=SECRET))


def test_a_wrong_key_is_answered_503_and_nothing_is_lost(sender: Sender, caplog: pytest.LogCaptureFixture) -> None:
    with keys(OLD_KEY):
        sender.webhook.save()
    with keys(NEW_KEY):
        answer = sender.post(envelope())
        assert answer.status_code == 503
        assert answer["Retry-After"]
        assert not Delivery.objects.exists()
        assert not Rejection.objects.exists()
        [record] = [each for each in caplog.records if "503" in each.getMessage()]
        assert record.levelname == "WARNING"
        assert 'webhook "shop" can\'t be read' in record.getMessage()
        assert "SECRET_KEYS" in record.getMessage()
        assert NEW_KEY not in caplog.text
    with keys(NEW_KEY, OLD_KEY):
        assert sender.post(envelope()).status_code == 200


def test_a_changed_secret_key_of_django_is_mended_by_its_fallback(sender: Sender) -> None:
    with override_settings(SECRET_KEY="another"):
        assert sender.post(envelope()).status_code == 503
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["tests only"]):
        assert sender.post(envelope()).status_code == 200


def test_a_process_without_the_extra_answers_503(sender: Sender) -> None:
    """A rolling deployment: an older process reads what a newer one wrote."""
    with without_the_extra():
        assert sender.post(envelope()).status_code == 503
    assert sender.post(envelope()).status_code == 200


@pytest.mark.parametrize("reference", ["env:NATEQ_SHOP", UNREADABLE])
def test_a_request_that_nothing_can_have_signed_is_refused(sender: Sender, reference: str) -> None:
    store_as(sender.webhook, reference)
    for signature, status in [("", 401), ("no digest", 401), ("0" * 64, 503)]:
        assert sender.post(envelope(), signature=signature).status_code == status


def test_a_missing_variable_is_answered_503_until_it_is_set(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    Webhook.objects.update(secret="env:NATEQ_SHOP")
    assert sender.post(envelope()).status_code == 503
    monkeypatch.setenv("NATEQ_SHOP", SECRET)
    cache.invalidate()
    assert sender.post(envelope()).status_code == 200
    assert sender.post(envelope(), secret=OTHER).status_code == 401


def test_a_readable_secret_verifies_beside_an_unreadable_one(sender: Sender) -> None:
    older = Secret.objects.create(webhook=sender.webhook, secret=OTHER)
    store_as(older, UNREADABLE)

    assert sender.post(envelope()).status_code == 200
    assert sender.post(envelope(delivery_id="dlv_2"), secret=OTHER).status_code == 503
    Secret.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert sender.post(envelope(delivery_id="dlv_2"), secret=OTHER).status_code == 401


def test_a_readable_older_secret_verifies_beside_an_unreadable_current_one(sender: Sender) -> None:
    Secret.objects.create(webhook=sender.webhook, secret=OTHER)
    store_as(sender.webhook, UNREADABLE)

    assert sender.post(envelope(), secret=OTHER).status_code == 200
    assert sender.post(envelope(delivery_id="dlv_2")).status_code == 503


def test_a_former_secret_is_refused_from_its_end_on_in_a_cached_configuration(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    ends = timezone.now() + timedelta(hours=1)
    Secret.objects.create(webhook=sender.webhook, secret=OTHER, expires_at=ends)
    assert sender.post(envelope(), secret=OTHER).status_code == 200

    configuration = cache.get(sender.webhook.pk)
    assert configuration is not None
    assert len(configuration.live_keys(ends - timedelta(microseconds=1))) == 2
    assert len(configuration.live_keys(ends)) == 1


def test_pages_and_commands_work_with_an_unreadable_secret(
    sender: Sender, admin_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    store_as(sender.webhook, UNREADABLE)
    store_as(Secret.objects.create(webhook=sender.webhook, secret=OTHER), "env:NATEQ_SHOP")
    change = reverse("admin:nateq_webhooks_webhook_change", args=[sender.webhook.pk])
    page = admin_client.get(change).content.decode()

    assert "can&#x27;t be decrypted" in page
    assert "env:NATEQ_SHOP" in page
    assert UNREADABLE not in page
    for name in ("secret", "test"):
        address = reverse(f"admin:nateq_webhooks_webhook_{name}", args=[sender.webhook.pk])
        assert admin_client.get(address).status_code == 200
    with pytest.raises(SystemExit):
        call_command("nateq_status")
    assert 'webhook "shop" can\'t be read' in capsys.readouterr().out
    with pytest.raises(SystemExit):
        call_command("nateq_status", "--json")
    status = json.loads(capsys.readouterr().out)
    assert status["unreadable_secrets"] == ["shop"]
    assert status["needs_attention"] == ["unreadable_secret"]


def test_the_check_names_the_webhook_and_what_to_do(sender: Sender) -> None:
    Webhook.objects.create(name="second", secret="env:NATEQ_SECOND")
    store_as(sender.webhook, UNREADABLE)
    with pytest.raises(SystemCheckError) as caught:
        call_command("check", databases=["default"])
    report = str(caught.value)
    assert 'nateq_webhooks.E031) A signing secret of webhook "shop" can\'t be read' in report
    assert "after the new one" in report
    assert 'nateq_webhooks.E032) A signing secret of webhook "second" can\'t be read' in report
    assert "NATEQ_SECOND, which is not set" in report
