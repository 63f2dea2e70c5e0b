"""Rotation: both secrets live until the new one is seen, and then for the sender's whole retry span."""

from datetime import timedelta
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.conf import settings
from nateq_webhooks.errors import ApiError, NateqConnectionError, NateqNotOfferedError
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.models.webhook import SecretQuerySet
from nateq_webhooks.remote import secret_rotation
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import Sender, envelope
from tests.remote.conftest import both_sides_agree

pytestmark = pytest.mark.django_db


def deliver(webhook: Webhook, secret: str, number: int) -> int:
    status: int = Sender(webhook).post(envelope(delivery_id=f"dlv_{number}"), secret=secret).status_code
    return status


def test_both_secrets_verify_until_the_new_one_is_seen_and_for_the_overlap_after(
    nateq: NateqClient, sandbox: Sandbox, registered: Webhook
) -> None:
    former = registered.secret
    remote.rotate(nateq, registered)
    both_sides_agree(sandbox)

    assert deliver(registered, former, 1) == 200
    assert remote.retire_secrets() == 0
    assert Secret.objects.get().expires_at is None

    assert deliver(registered, registered.secret, 2) == 200
    seen = Delivery.objects.get(delivery_id="dlv_2").received_at
    assert Secret.objects.get().expires_at == seen + settings().rotation_overlap
    assert deliver(registered, former, 3) == 200

    Secret.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert deliver(registered, former, 4) == 401
    assert remote.retire_secrets() == 0
    assert not Secret.objects.exists()


def test_a_secret_that_a_person_added_does_not_end(nateq: NateqClient, registered: Webhook) -> None:
    Secret.objects.create(webhook=registered, secret="whsec_mine_0123456789abcdef")
    remote.rotate(nateq, registered)
    deliver(registered, registered.secret, 1)

    ends = {secret.secret: secret.expires_at for secret in Secret.objects.all()}
    assert ends.pop("whsec_mine_0123456789abcdef") is None
    assert None not in ends.values()


def test_two_rotations_wait_for_the_newest_secret(nateq: NateqClient, registered: Webhook) -> None:
    remote.rotate(nateq, registered)
    middle = registered.secret
    remote.rotate(nateq, registered)
    deliver(registered, middle, 1)
    assert not Secret.objects.filter(expires_at__isnull=False).exists()

    deliver(registered, registered.secret, 2)
    assert Secret.objects.filter(expires_at__isnull=False).count() == 2


def test_the_end_is_set_once_and_costs_later_deliveries_nothing(nateq: NateqClient, registered: Webhook) -> None:
    remote.rotate(nateq, registered)
    deliver(registered, registered.secret, 1)
    end = Secret.objects.get().expires_at
    deliver(registered, registered.secret, 2)

    with CaptureQueriesContext(connection) as asked:
        deliver(registered, registered.secret, 3)
    assert not any(query["sql"].startswith("UPDATE") for query in asked)
    assert Secret.objects.get().expires_at == end


def test_a_process_that_has_not_seen_the_newest_rotation_ends_no_secret(
    nateq: NateqClient, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process's copy is up to a second old: the key that it waits for may be one of the former."""
    remote.rotate(nateq, registered)
    middle = registered.secret
    stale = cache.get(registered.pk)
    assert stale is not None
    remote.rotate(nateq, registered)
    monkeypatch.setattr(cache, "get", lambda _id: stale)

    assert deliver(registered, middle, 1) == 200

    assert not Secret.objects.filter(expires_at__isnull=False).exists()
    monkeypatch.undo()
    deliver(registered, registered.secret, 2)
    assert Secret.objects.filter(expires_at__isnull=False).count() == 2


def test_a_use_that_could_not_be_recorded_is_found_in_the_deliveries(
    nateq: NateqClient, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.rotate(nateq, registered)

    monkeypatch.setattr(SecretQuerySet, "update", Mock(side_effect=OperationalError("database is locked")))
    assert deliver(registered, registered.secret, 1) == 200
    monkeypatch.undo()
    assert Secret.objects.get().expires_at is None

    assert remote.retire_secrets() == 1
    assert Secret.objects.get().expires_at is not None


def test_each_delivery_is_looked_at_once(
    nateq: NateqClient, registered: Webhook, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(secret_rotation, "_BATCH", 2)
    former = registered.secret
    remote.rotate(nateq, registered)
    for number in range(5):
        deliver(registered, former, number)
    remote.retire_secrets()
    assert Webhook.objects.get().rotation_scanned_to == Delivery.objects.latest("pk").pk

    with django_assert_num_queries(4):  # who waits, what came since, the mark, and what has ended
        remote.retire_secrets()


def test_without_a_rotation_maintenance_reads_no_delivery(registered: Webhook, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        remote.retire_secrets()


def test_after_a_lost_answer_the_next_rotation_succeeds(
    nateq: NateqClient, sandbox: Sandbox, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotate = nateq.webhooks.rotate_secret

    def lost(id: str) -> Any:
        rotate(id)
        raise NateqConnectionError("lost", is_ambiguous=True)

    monkeypatch.setattr(nateq.webhooks, "rotate_secret", lost)
    with pytest.raises(ApiError):
        remote.rotate(nateq, registered)
    assert Webhook.objects.get().registration == Webhook.Registration.ROTATING
    monkeypatch.undo()

    remote.rotate(nateq, registered)
    both_sides_agree(sandbox)


def test_a_server_without_rotation_leaves_everything_as_it_was(
    nateq: NateqClient, sandbox: Sandbox, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Mock(side_effect=NateqNotOfferedError("rotate it in the dashboard"))
    monkeypatch.setattr(nateq.webhooks, "rotate_secret", refusal)
    with pytest.raises(NateqNotOfferedError):
        remote.rotate(nateq, registered)
    both_sides_agree(sandbox)


def test_a_webhook_set_up_by_hand_is_not_rotated(nateq: NateqClient, webhook: Webhook) -> None:
    with pytest.raises(remote.RemoteError, match="create --name shop"):
        remote.rotate(nateq, webhook)


def test_a_secret_that_is_replaced_twice_is_kept_once(nateq: NateqClient, registered: Webhook) -> None:
    """A copy of it among the older secrets, pasted by hand for instance, is the one that is kept."""
    copy = Secret.objects.create(webhook=registered, secret=registered.secret, expires_at=timezone.now())

    remote.rotate(nateq, registered)

    kept = Secret.objects.get()
    assert (kept.pk, kept.is_retiring, kept.expires_at) == (copy.pk, True, None)


def test_a_secret_in_the_environment_is_not_rotated_at_nateq(
    nateq: NateqClient, sandbox: Sandbox, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = str(registered.secret)
    monkeypatch.setenv("NATEQ_SHOP", secret)
    Webhook.objects.update(secret="env:NATEQ_SHOP")
    with pytest.raises(remote.RemoteError, match="environment variable NATEQ_SHOP"):
        remote.rotate(nateq, registered)

    assert sandbox.webhooks.all()[0].secret == secret
    row = Webhook.objects.get()
    assert (row.secret, row.registration) == ("env:NATEQ_SHOP", Webhook.Registration.REGISTERED)
    assert row.claim == ""
    assert not Secret.objects.exists()


def test_a_webhook_with_its_secret_in_the_environment_is_not_created_at_nateq(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    Webhook.objects.create(name="shop", secret="env:NATEQ_SHOP")
    with pytest.raises(remote.RemoteError, match="environment variable NATEQ_SHOP"):
        remote.register(nateq, "shop")

    assert sandbox.webhooks.all() == []
    row = Webhook.objects.get()
    assert (row.secret, row.registration) == ("env:NATEQ_SHOP", Webhook.Registration.MANUAL)
    assert not Secret.objects.exists()


def test_a_rotation_during_the_scan_keeps_its_own_scan(
    nateq: NateqClient, registered: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.rotate(nateq, registered)
    deliver(registered, Secret.objects.get().secret, 1)
    stale = Webhook.objects.get()
    remote.rotate(nateq, registered)
    before = Webhook.objects.get().rotation_scanned_to

    assert secret_rotation._first_use(stale) is None
    assert Webhook.objects.get().rotation_scanned_to == before
