"""Registering: one webhook on each side, whatever was there before and whatever went wrong."""

import os
import socket
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone
from django.views.debug import ExceptionReporter

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import ApiError, NateqConnectionError, NateqPermissionError, NateqValidationError
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.models.webhook import WebhookQuerySet
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.remote import How
from nateq_webhooks.remote.claim import claimed
from nateq_webhooks.remote.errors import ClaimLostError
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import KEY, SITE, both_sides_agree

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]


def test_a_new_webhook_is_created_on_both_sides(nateq: NateqClient, sandbox: Sandbox) -> None:
    done = remote.register(nateq, "shop", EVENT)

    assert done.how is How.CREATED
    both_sides_agree(sandbox)
    assert sandbox.webhooks.all()[0].events == ("ticket.created",)


def test_without_events_it_subscribes_to_every_live_one(nateq: NateqClient, sandbox: Sandbox) -> None:
    remote.register(nateq, "shop")

    assert sandbox.webhooks.all()[0].events == tuple(EVENTS)
    assert Webhook.objects.get().events == []


def test_registering_again_changes_nothing(nateq: NateqClient, sandbox: Sandbox) -> None:
    remote.register(nateq, "shop", EVENT)
    secret = Webhook.objects.get().secret

    assert remote.register(nateq, "shop", EVENT).how is How.UNCHANGED
    assert Webhook.objects.get().secret == secret
    both_sides_agree(sandbox)


def test_other_events_for_a_registered_webhook_are_refused_with_the_command_to_use(nateq: NateqClient) -> None:
    remote.register(nateq, "shop", EVENT)

    with pytest.raises(remote.RemoteError, match="nateq_webhook update --name shop --events"):
        remote.register(nateq, "shop", ["ticket.closed"])


def test_a_lost_answer_is_found_out_and_the_webhook_adopted_with_a_new_secret(
    nateq: NateqClient, sandbox: Sandbox
) -> None:
    sandbox.faults.set("lose_create_answer", count=1)

    assert remote.register(nateq, "shop", EVENT).how is How.ADOPTED
    both_sides_agree(sandbox)


def test_a_lost_answer_and_an_api_that_is_down_then_leave_it_to_the_next_run(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> Any:
        raise NateqConnectionError("down")

    sandbox.faults.set("lose_create_answer", count=1)
    monkeypatch.setattr(nateq.webhooks, "list", down)
    with pytest.raises(ApiError):
        remote.register(nateq, "shop", EVENT)
    assert Webhook.objects.get().registration == Webhook.Registration.PENDING
    monkeypatch.undo()

    assert remote.register(nateq, "shop", EVENT).how is How.ADOPTED
    both_sides_agree(sandbox)


def test_where_rotation_is_not_offered_an_unseen_secret_is_replaced_by_deleting_and_creating() -> None:
    with Sandbox(key=KEY, rate_limit=10_000, withhold=["rotate_secret"]) as sandbox:
        sandbox.faults.set("lose_create_answer", count=1)
        with (
            override_settings(NATEQ_WEBHOOKS={"API_KEY": KEY, "BASE_URL": sandbox.base_url, "PUBLIC_URL": SITE}),
            remote.connect() as nateq,
        ):
            assert remote.register(nateq, "shop", EVENT).how is How.CREATED
            both_sides_agree(sandbox)


def test_where_changing_is_not_offered_what_an_earlier_run_left_is_deleted_and_created_anew() -> None:
    with (
        Sandbox(key=KEY, rate_limit=10_000, withhold=["update"]) as sandbox,
        override_settings(NATEQ_WEBHOOKS={"API_KEY": KEY, "BASE_URL": sandbox.base_url, "PUBLIC_URL": SITE}),
        remote.connect() as nateq,
    ):
        webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING)
        left = nateq.webhooks.create(url=webhook.public_url, events=["ticket.closed"])

        assert remote.register(nateq, "shop", EVENT).how is How.CREATED
        both_sides_agree(sandbox)
        assert sandbox.webhooks.all()[0].events == tuple(EVENT)
        assert sandbox.webhooks.get(left.id) is None


def test_a_server_that_only_creates_is_enough() -> None:
    with (
        Sandbox(
            key=KEY, rate_limit=10_000, withhold=["list", "get", "events", "update", "delete", "rotate_secret"]
        ) as sandbox,
        override_settings(NATEQ_WEBHOOKS={"API_KEY": KEY, "BASE_URL": sandbox.base_url, "PUBLIC_URL": SITE}),
        remote.connect() as nateq,
    ):
        remote.register(nateq, "shop")
        both_sides_agree(sandbox)


def test_several_at_the_url_of_a_pending_row_become_one(nateq: NateqClient, sandbox: Sandbox) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=EVENT)
    for _ in range(3):
        nateq.webhooks.create(url=webhook.public_url, events=["ticket.closed"])

    assert remote.register(nateq, "shop").how is How.ADOPTED
    both_sides_agree(sandbox)
    assert sandbox.webhooks.all()[0].events == ("ticket.created",)


def test_webhooks_of_others_are_left_alone(nateq: NateqClient, sandbox: Sandbox) -> None:
    other = nateq.webhooks.create(url="http://127.0.0.1:9/other/", events=EVENT)
    Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=EVENT)

    remote.register(nateq, "shop")

    assert sandbox.webhooks.get(other.id) is not None
    assert len(sandbox.webhooks.all()) == 2


@pytest.mark.parametrize(
    ("fault", "error"), [("api_403", NateqPermissionError), ("api_429", ApiError)], ids=["403", "429"]
)
def test_what_surely_was_not_created_leaves_nothing_behind(
    nateq: NateqClient, sandbox: Sandbox, fault: str, error: type[ApiError]
) -> None:
    sandbox.faults.set(fault, rate=1.0, **({"seconds": 0} if fault == "api_429" else {}))

    with pytest.raises(error):
        remote.register(nateq, "shop", EVENT)

    assert not Webhook.objects.exists()
    assert sandbox.webhooks.all() == []


def test_a_catalogue_that_can_not_be_read_leaves_nothing_behind_either(nateq: NateqClient, sandbox: Sandbox) -> None:
    sandbox.faults.set("api_500", rate=1.0)

    with pytest.raises(ApiError):
        remote.register(nateq, "shop")

    assert not Webhook.objects.exists()


def test_an_unknown_event_is_refused_and_the_next_run_may_name_others(nateq: NateqClient, sandbox: Sandbox) -> None:
    with pytest.raises(NateqValidationError, match=r"ticket\.nope"):
        remote.register(nateq, "shop", ["ticket.nope"])

    remote.register(nateq, "shop", EVENT)
    both_sides_agree(sandbox)


def test_an_active_row_set_up_by_hand_is_linked_with_the_secret_it_has(nateq: NateqClient, sandbox: Sandbox) -> None:
    webhook = Webhook.objects.create(name="shop", events=EVENT)
    created = nateq.webhooks.create(url=webhook.public_url, events=EVENT)
    assert created.secret is not None
    Webhook.objects.update(secret=created.secret)

    assert remote.register(nateq, "shop").how is How.LINKED
    both_sides_agree(sandbox)


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

    remote.settle(nateq, Webhook.objects.get(), remote.Side.HERE)

    both_sides_agree(sandbox)
    assert [(secret.secret, secret.is_retiring) for secret in Secret.objects.all()] == [(former, True)]


def test_a_row_set_up_by_hand_goes_on_as_it_was_when_nateq_refuses(nateq: NateqClient, sandbox: Sandbox) -> None:
    Webhook.objects.create(name="shop", secret="whsec_by_hand", events=["ticket.nope"])

    with pytest.raises(NateqValidationError):
        remote.register(nateq, "shop")

    webhook = Webhook.objects.get()
    assert (webhook.registration, webhook.secret) == (Webhook.Registration.MANUAL, "whsec_by_hand")
    assert not Secret.objects.exists()


def test_without_a_public_url_nothing_is_begun(nateq: NateqClient) -> None:
    with override_settings(NATEQ_WEBHOOKS={}), pytest.raises(remote.RemoteError, match="PUBLIC_URL"):
        remote.register(nateq, "shop")
    assert not Webhook.objects.exists()


def test_a_name_that_is_too_long_is_refused(nateq: NateqClient) -> None:
    with pytest.raises(remote.RemoteError, match="100"):
        remote.register(nateq, "x" * 101)


# Claims


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
