"""Secrets in a registration: a former one stays for late retries, and no error shows one."""

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db import Error, OperationalError, connection
from django.views.debug import ExceptionReporter

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import WebhookQuerySet
from nateq_webhooks.remote import RegistrationResult, RemoteError
from nateq_webhooks.sandbox import Sandbox
from tests.admin.test_error_reports import refused_by_a_trigger
from tests.conftest import Sender, envelope
from tests.remote.conftest import KEY, both_sides_agree

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]
BY_HAND = "whsec_by_hand_0123456789abcdef"


def test_a_row_that_nateq_does_not_have_is_created_and_its_former_secret_stays(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    Webhook.objects.create(name="shop", secret=BY_HAND, events=EVENT)

    assert remote.register(nateq, "shop").result is RegistrationResult.CREATED
    both_sides_agree(sandbox)
    assert Secret.objects.get().secret == BY_HAND
    assert Secret.objects.get().is_retiring
    assert Webhook.objects.get().rotation_scanned_to is not None


def test_the_former_secret_stays_if_the_registration_was_killed(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the call: the next run adopts, and a late retry may still carry the signature made by hand."""

    class Killed(BaseException):
        pass

    def killed(**options: Any) -> Any:
        create(**options)
        raise Killed

    Webhook.objects.create(name="shop", secret=BY_HAND, events=EVENT)
    create: Callable[..., Any] = nateq.webhooks.create
    monkeypatch.setattr(nateq.webhooks, "create", killed)
    with pytest.raises(Killed):
        remote.register(nateq, "shop")
    monkeypatch.undo()

    assert remote.register(nateq, "shop").result is RegistrationResult.ADOPTED
    both_sides_agree(sandbox)
    assert [(secret.secret, secret.is_retiring) for secret in Secret.objects.all()] == [(BY_HAND, True)]
    assert Webhook.objects.get().rotation_scanned_to is not None


def report(error: BaseException) -> str:
    """Return what an error page and a monitoring service make of an error, with the variables of each function."""
    pages = ExceptionReporter(None, type(error), error, error.__traceback__)
    frames = traceback.TracebackException.from_exception(error, capture_locals=True)
    return pages.get_traceback_html() + pages.get_traceback_text() + "".join(frames.format())


def has_no_secret(text: str, sandbox: Sandbox) -> None:
    """Assert that neither the key nor the beginning of a secret of either side is in a text."""
    secrets = [webhook.secret for webhook in sandbox.webhooks.all()]
    secrets += Webhook.objects.values_list("secret", flat=True)
    assert all(secrets)
    assert not any(secret[:40] in text for secret in [*secrets, KEY])


@pytest.mark.parametrize("do", ["create", "adopt", "rotate", "create beside a former secret"])
def test_no_error_of_a_failing_database_shows_a_secret_and_the_next_run_continues(
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

    has_no_secret(report(failed.value), sandbox)

    remote.register(nateq, "shop", EVENT)
    both_sides_agree(sandbox)


def test_a_webhook_registered_again_keeps_its_former_secret_for_late_retries(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    former = remote.register(nateq, "shop", EVENT).webhook.secret
    sandbox.webhooks.delete(Webhook.objects.get().nateq_id)

    remote.reconcile(nateq, Webhook.objects.get(), remote.Direction.PUSH, is_gone=True)

    both_sides_agree(sandbox)
    assert [(secret.secret, secret.is_retiring) for secret in Secret.objects.all()] == [(former, True)]


def answers_with(secret: str, nateq: NateqClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the answers of Nateq that have a secret have this one instead."""
    for name in ("create", "rotate_secret"):
        call: Callable[..., Any] = getattr(nateq.webhooks, name)
        monkeypatch.setattr(nateq.webhooks, name, lambda *a, _call=call, **o: replace(_call(*a, **o), secret=secret))


@pytest.mark.parametrize("short", ["whsec_", "a", "whsec_0123456789abcde"])
def test_a_short_secret_from_nateq_is_not_saved_and_the_next_run_asks_for_another(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, short: str
) -> None:
    answers_with(short, nateq, monkeypatch)
    with pytest.raises(RemoteError, match=r"can verify nothing, so it was not saved\. The signing secret is too short"):
        remote.register(nateq, "shop")
    assert Webhook.objects.get().registration == Webhook.Registration.PENDING
    monkeypatch.undo()

    assert remote.register(nateq, "shop").result is RegistrationResult.ADOPTED
    both_sides_agree(sandbox)


def test_a_short_secret_of_a_rotation_is_not_used(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote.register(nateq, "shop")
    former = Webhook.objects.get().secret
    answers_with("whsec_short", nateq, monkeypatch)
    with pytest.raises(RemoteError, match="can verify nothing"):
        remote.rotate(nateq, Webhook.objects.get())
    webhook = Webhook.objects.get()
    assert (webhook.secret, webhook.registration) == (former, Webhook.Registration.ROTATING)
    assert not Secret.objects.exists()
    monkeypatch.undo()

    remote.rotate(nateq, webhook)
    both_sides_agree(sandbox)
    assert Secret.objects.get().secret == former


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("do", ["register", "rotate"])
def test_no_report_of_a_refused_secret_shows_it(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, do: str
) -> None:
    """The database really refuses it, with a message that has the row in it where it can."""
    if do == "rotate":
        remote.register(nateq, "shop", EVENT)
    name = "rotate_secret" if do == "rotate" else "create"
    call: Callable[..., Any] = getattr(nateq.webhooks, name)
    broken = contextlib.ExitStack()

    def then_break(*arguments: Any, **options: Any) -> Any:
        answer = call(*arguments, **options)
        broken.enter_context(refused_by_a_trigger())
        return answer

    monkeypatch.setattr(nateq.webhooks, name, then_break)
    with broken, pytest.raises((Error, RemoteError)) as failed:
        remote.rotate(nateq, Webhook.objects.get()) if do == "rotate" else remote.register(nateq, "shop", EVENT)

    has_no_secret(report(failed.value), sandbox)


def test_a_stored_short_secret_does_not_prevent_a_registration(nateq: NateqClient, sandbox: Sandbox) -> None:
    Webhook.objects.create(name="shop", secret=BY_HAND, events=EVENT)
    with connection.cursor() as cursor:  # behind Django's back, as an older version may have
        cursor.execute("UPDATE nateq_webhooks_webhook SET secret = 'whsec_'")

    remote.register(nateq, "shop")

    both_sides_agree(sandbox)
    assert not Secret.objects.exists()


def test_a_delivery_during_a_registration_does_not_end_the_former_secret(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that has not seen the registration yet stores it; its secret says nothing about the new one."""
    before = Webhook.objects.create(name="shop", secret=BY_HAND, rotation_scanned_to=0)
    Secret.objects.create(webhook=before, secret="whsec_oldest_0123456789abcdef", is_retiring=True)
    create: Callable[..., Any] = nateq.webhooks.create

    def with_a_delivery(**options: Any) -> Any:
        mine = Webhook.objects.filter(pk=before.pk)
        mine.update(registration=Webhook.Registration.MANUAL)
        assert Sender(before).post(envelope(), secret=BY_HAND).status_code == 200
        mine.update(registration=Webhook.Registration.PENDING)
        assert remote.retire_secrets() == 0
        return create(**options)

    monkeypatch.setattr(nateq.webhooks, "create", with_a_delivery)

    assert remote.register(nateq, "shop").result is RegistrationResult.CREATED
    assert Secret.objects.filter(is_retiring=True, expires_at=None).count() == 2
    assert Webhook.objects.get().rotation_scanned_to is not None
