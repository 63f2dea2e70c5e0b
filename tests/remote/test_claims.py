"""One run at a time: who holds a webhook, and who is taken for dead."""

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Webhook
from nateq_webhooks.remote import How
from nateq_webhooks.remote.claim import claimed
from nateq_webhooks.remote.errors import ClaimLostError
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import both_sides_agree

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]


def test_a_webhook_that_another_run_works_on_is_busy(nateq: NateqClient) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING)
    with claimed(webhook), pytest.raises(remote.BusyError, match="Another run"):
        remote.register(nateq, "shop")


@pytest.mark.parametrize(
    "over", [{"claimed_until": timezone.now() - timedelta(hours=1)}, {"claim": ""}], ids=["lease", "released"]
)
def test_a_claim_that_has_ended_is_no_claim(nateq: NateqClient, over: dict[str, Any]) -> None:
    held = {"claim": "elsewhere/1/x", "claimed_until": timezone.now() + timedelta(hours=1)} | over
    Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, **held)

    assert remote.register(nateq, "shop").how is How.CREATED


def test_the_claim_of_another_machine_is_believed(nateq: NateqClient) -> None:
    until = timezone.now() + timedelta(minutes=1)
    pending = Webhook.Registration.PENDING
    Webhook.objects.create(name="shop", registration=pending, claim="elsewhere/1/x", claimed_until=until)

    with pytest.raises(remote.BusyError, match="elsewhere 1"):
        remote.register(nateq, "shop")


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 1], ids=["this one's number", "gone"])
def test_the_claim_of_a_dead_process_of_this_machine_is_no_claim(nateq: NateqClient, pid: int) -> None:
    until = timezone.now() + timedelta(minutes=1)
    pending = Webhook.Registration.PENDING
    claim = f"{socket.gethostname()[:100]}/{pid}/x"
    Webhook.objects.create(name="shop", registration=pending, claim=claim, claimed_until=until)

    assert remote.register(nateq, "shop").how is How.CREATED


@pytest.mark.parametrize("adopted", [True, False])
def test_a_run_that_was_taken_for_dead_deletes_what_it_created_unless_it_was_adopted(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, adopted: bool
) -> None:
    create: Callable[..., Any] = nateq.webhooks.create

    def overtaken(**options: Any) -> Any:
        created = create(**options)
        Webhook.objects.update(claim="")
        remote.register_row(nateq, Webhook.objects.get())  # adopts it, so that it must not be deleted
        assert created.id == Webhook.objects.get().nateq_id
        return created if adopted else create(**options)

    monkeypatch.setattr(nateq.webhooks, "create", overtaken)
    with pytest.raises(ClaimLostError):
        remote.register(nateq, "shop", EVENT)

    both_sides_agree(sandbox)
