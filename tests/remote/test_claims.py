"""One run at a time: which run holds the claim, and when a claim expires."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote import RegistrationResult
from nateq_webhooks.remote.claim import claimed
from nateq_webhooks.remote.remote_errors import ClaimLostError
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import both_sides_agree

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]


def test_a_webhook_that_another_run_works_on_is_busy(nateq: NateqClient) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING)
    with claimed(nateq, webhook), pytest.raises(remote.BusyError, match="Another run"):
        remote.register(nateq, "shop")


def test_closing_the_client_ends_the_wait_for_another_run(nateq: NateqClient, caplog: pytest.LogCaptureFixture) -> None:
    webhook = Webhook.objects.create(name="shop\nshop", registration=Webhook.Registration.PENDING)
    closer = threading.Timer(0.3, nateq.close)
    with claimed(nateq, webhook):
        closer.start()
        with pytest.raises(remote.BusyError, match="Another run"), claimed(nateq, webhook, wait_seconds=60):
            pass
    closer.join()

    (record,) = caplog.records
    assert record.getMessage().startswith("Waiting for another run (")
    assert record.getMessage().endswith('that is working on webhook "shop\\nshop".')


def test_a_waiting_run_continues_when_the_claim_of_a_killed_one_expires(nateq: NateqClient) -> None:
    until = timezone.now() + timedelta(seconds=0.5)
    pending = Webhook.Registration.PENDING
    Webhook.objects.create(name="shop", registration=pending, claim="elsewhere/1/x", claimed_until=until)

    assert remote.register(nateq, "shop", wait_seconds=60).result is RegistrationResult.CREATED


@pytest.mark.parametrize(
    "over", [{"claimed_until": timezone.now() - timedelta(hours=1)}, {"claim": ""}], ids=["lease", "released"]
)
def test_an_expired_or_released_claim_can_be_taken(nateq: NateqClient, over: dict[str, Any]) -> None:
    held = {"claim": "elsewhere/1/x", "claimed_until": timezone.now() + timedelta(hours=1)} | over
    Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, **held)

    assert remote.register(nateq, "shop").result is RegistrationResult.CREATED


def test_a_claim_that_has_not_expired_is_respected(nateq: NateqClient) -> None:
    until = timezone.now() + timedelta(minutes=1)
    pending = Webhook.Registration.PENDING
    Webhook.objects.create(name="shop", registration=pending, claim="elsewhere/1/x", claimed_until=until)

    with pytest.raises(remote.BusyError, match="elsewhere 1"):
        remote.register(nateq, "shop")


@pytest.mark.parametrize("adopted", [True, False])
def test_a_run_that_lost_its_claim_deletes_what_it_created_unless_it_was_adopted(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    create: Callable[..., Any] = nateq.webhooks.create

    def overtaken(**options: Any) -> Any:
        created = create(**options)
        Webhook.objects.update(claim="")
        remote.register_existing(nateq, Webhook.objects.get())  # adopts it, so that it must not be deleted
        assert created.id == Webhook.objects.get().nateq_id
        return created if adopted else create(**options)

    monkeypatch.setattr(nateq.webhooks, "create", overtaken)
    with pytest.raises(ClaimLostError):
        remote.register(nateq, "shop", EVENT)

    both_sides_agree(sandbox)
