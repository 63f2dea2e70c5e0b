"""Secrets in a registration: a former one stays for late retries, and no error shows one."""

import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError
from django.views.debug import ExceptionReporter

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import WebhookQuerySet
from nateq_webhooks.remote import How
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import KEY, both_sides_agree

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]


def test_a_row_that_nateq_does_not_have_is_created_and_its_former_secret_stays(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    Webhook.objects.create(name="shop", secret="whsec_by_hand", events=EVENT)

    assert remote.register(nateq, "shop").how is How.CREATED
    both_sides_agree(sandbox)
    assert Secret.objects.get().secret == "whsec_by_hand"
    assert Secret.objects.get().is_retiring
    assert Webhook.objects.get().looked_through is not None


def test_the_former_secret_stays_however_the_registration_comes_to_its_end(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the call: the next run adopts, and a late retry may still carry the signature made by hand."""

    class Killed(BaseException):
        pass

    def killed(**options: Any) -> Any:
        create(**options)
        raise Killed

    Webhook.objects.create(name="shop", secret="whsec_by_hand", events=EVENT)
    create: Callable[..., Any] = nateq.webhooks.create
    monkeypatch.setattr(nateq.webhooks, "create", killed)
    with pytest.raises(Killed):
        remote.register(nateq, "shop")
    monkeypatch.undo()

    assert remote.register(nateq, "shop").how is How.ADOPTED
    both_sides_agree(sandbox)
    assert [(secret.secret, secret.is_retiring) for secret in Secret.objects.all()] == [("whsec_by_hand", True)]
    assert Webhook.objects.get().looked_through is not None


def report(error: BaseException) -> str:
    """Return what an error page and a monitoring service make of an error, with the variables of each function."""
    pages = ExceptionReporter(None, type(error), error, error.__traceback__)
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    return pages.get_traceback_html() + pages.get_traceback_text() + "".join(frames.format())


@pytest.mark.parametrize("do", ["create", "adopt", "rotate", "create beside a former secret"])
def test_a_database_that_fails_at_the_secret_shows_none_and_the_next_run_goes_on(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    def fails(*args: Any, **values: Any) -> int:
        if "secret" in values:
            raise OperationalError("disk full")
        return update(*args, **values)

    update = WebhookQuerySet.update
    if do == "adopt":
        sandbox.faults.set("lose_create_answer", count=1)
    if do == "rotate":
        remote.register(nateq, "shop", EVENT)
    if do == "create beside a former secret":
        Webhook.objects.create(name="shop", events=EVENT)
    monkeypatch.setattr(WebhookQuerySet, "update", fails)
    with pytest.raises(remote.RemoteError, match="Run this again") as failed:
        remote.rotate(nateq, Webhook.objects.get()) if do == "rotate" else remote.register(nateq, "shop", EVENT)
    monkeypatch.undo()

    told = report(failed.value)
    secrets = [webhook.secret for webhook in sandbox.webhooks.all()]
    secrets += Webhook.objects.values_list("secret", flat=True)
    assert all(secrets)
    assert not any(secret in told for secret in [*secrets, KEY])

    remote.register(nateq, "shop", EVENT)
    both_sides_agree(sandbox)


def test_a_webhook_registered_anew_keeps_its_former_secret_for_late_retries(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    former = remote.register(nateq, "shop", EVENT).webhook.secret
    sandbox.webhooks.delete(Webhook.objects.get().nateq_id)

    remote.settle(nateq, Webhook.objects.get(), remote.Side.HERE, is_gone=True)

    both_sides_agree(sandbox)
    assert [(secret.secret, secret.is_retiring) for secret in Secret.objects.all()] == [(former, True)]
