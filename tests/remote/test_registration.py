"""Registering: one webhook on each side, whatever was there before and whatever went wrong."""

from dataclasses import replace
from unittest.mock import Mock

import pytest
from django.test import override_settings

from nateq_webhooks import remote
from nateq_webhooks.client import NateqClient
from nateq_webhooks.errors import ApiError, NateqConnectionError, NateqPermissionError, NateqValidationError
from nateq_webhooks.models import Secret, Webhook
from nateq_webhooks.protocol.events import EVENTS
from nateq_webhooks.remote import RegistrationResult
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import KEY, both_sides_agree, connected

pytestmark = pytest.mark.django_db

EVENT = ["ticket.created"]


def test_a_new_webhook_is_created_on_both_sides(nateq: NateqClient, sandbox: Sandbox) -> None:
    done = remote.register(nateq, "shop", EVENT)

    assert done.result is RegistrationResult.CREATED
    both_sides_agree(sandbox)
    assert sandbox.webhooks.all()[0].events == ("ticket.created",)


def test_without_events_it_subscribes_to_every_live_one(nateq: NateqClient, sandbox: Sandbox) -> None:
    remote.register(nateq, "shop")

    assert sandbox.webhooks.all()[0].events == tuple(EVENTS)
    assert Webhook.objects.get().events == []


def test_registering_again_changes_nothing(nateq: NateqClient, sandbox: Sandbox) -> None:
    remote.register(nateq, "shop", EVENT)
    secret = Webhook.objects.get().secret

    assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.UNCHANGED
    assert Webhook.objects.get().secret == secret
    both_sides_agree(sandbox)


def test_other_events_for_a_registered_webhook_are_refused_with_the_command_to_use(nateq: NateqClient) -> None:
    remote.register(nateq, "shop", EVENT)

    with pytest.raises(remote.RemoteError, match="nateq_webhook update --name shop --events"):
        remote.register(nateq, "shop", ["ticket.closed"])


def test_after_a_lost_answer_the_webhook_is_adopted_with_a_new_secret(nateq: NateqClient, sandbox: Sandbox) -> None:
    sandbox.faults.set("lose_create_answer", count=1)

    assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.ADOPTED
    both_sides_agree(sandbox)


def test_after_a_lost_answer_and_an_unreachable_api_the_next_run_adopts(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.faults.set("lose_create_answer", count=1)
    monkeypatch.setattr(nateq.webhooks, "list", Mock(side_effect=NateqConnectionError("down")))
    with pytest.raises(ApiError):
        remote.register(nateq, "shop", EVENT)
    assert Webhook.objects.get().registration == Webhook.Registration.PENDING
    monkeypatch.undo()

    assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.ADOPTED
    both_sides_agree(sandbox)


def test_without_rotation_an_unknown_secret_is_replaced_by_deleting_and_creating() -> None:
    with Sandbox(key=KEY, rate_limit=10_000, withhold=["rotate_secret"]) as sandbox:
        sandbox.faults.set("lose_create_answer", count=1)
        with connected(sandbox) as nateq:
            assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.CREATED
            both_sides_agree(sandbox)


def test_without_updates_the_webhook_of_an_earlier_run_is_deleted_and_created_again() -> None:
    with Sandbox(key=KEY, rate_limit=10_000, withhold=["update"]) as sandbox, connected(sandbox) as nateq:
        webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING)
        left = nateq.webhooks.create(url=webhook.public_url, events=["ticket.closed"])

        assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.CREATED
        both_sides_agree(sandbox)
        assert sandbox.webhooks.all()[0].events == tuple(EVENT)
        assert sandbox.webhooks.get(left.id) is None


def test_a_server_that_only_creates_is_enough() -> None:
    withheld = ["list", "get", "events", "update", "delete", "rotate_secret"]
    with Sandbox(key=KEY, rate_limit=10_000, withhold=withheld) as sandbox, connected(sandbox) as nateq:
        remote.register(nateq, "shop")
        both_sides_agree(sandbox)


def test_several_webhooks_at_the_url_of_a_pending_row_become_one(nateq: NateqClient, sandbox: Sandbox) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=EVENT)
    for _ in range(3):
        nateq.webhooks.create(url=webhook.public_url, events=["ticket.closed"])

    assert remote.register(nateq, "shop").result is RegistrationResult.ADOPTED
    both_sides_agree(sandbox)
    assert sandbox.webhooks.all()[0].events == ("ticket.created",)


def test_webhooks_with_other_urls_are_not_touched(nateq: NateqClient, sandbox: Sandbox) -> None:
    other = nateq.webhooks.create(url="http://127.0.0.1:9/other/", events=EVENT)
    Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=EVENT)

    remote.register(nateq, "shop")

    assert sandbox.webhooks.get(other.id) is not None
    assert len(sandbox.webhooks.all()) == 2


@pytest.mark.parametrize(
    ("fault", "error"), [("api_403", NateqPermissionError), ("api_429", ApiError)], ids=["403", "429"]
)
def test_a_refused_creation_leaves_no_row(
    nateq: NateqClient, sandbox: Sandbox, fault: str, error: type[ApiError]
) -> None:
    sandbox.faults.set(fault, rate=1.0, **({"seconds": 0} if fault == "api_429" else {}))

    with pytest.raises(error):
        remote.register(nateq, "shop", EVENT)

    assert not Webhook.objects.exists()
    assert sandbox.webhooks.all() == []


def test_an_unreadable_catalogue_leaves_no_row(nateq: NateqClient, sandbox: Sandbox) -> None:
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

    assert remote.register(nateq, "shop").result is RegistrationResult.LINKED
    both_sides_agree(sandbox)


def test_a_row_set_up_by_hand_is_unchanged_if_nateq_refuses(nateq: NateqClient, sandbox: Sandbox) -> None:
    Webhook.objects.create(
        name="shop", secret="whsec_by_hand_0123456789abcdef", events=["ticket.nope"], rotation_scanned_to=7
    )

    with pytest.raises(NateqValidationError):
        remote.register(nateq, "shop")

    webhook = Webhook.objects.get()
    assert (webhook.registration, webhook.secret) == (Webhook.Registration.MANUAL, "whsec_by_hand_0123456789abcdef")
    assert webhook.rotation_scanned_to == 7
    assert not Secret.objects.exists()


def test_without_a_public_url_no_row_is_created(nateq: NateqClient) -> None:
    with override_settings(NATEQ_WEBHOOKS={}), pytest.raises(remote.RemoteError, match="PUBLIC_URL"):
        remote.register(nateq, "shop")
    assert not Webhook.objects.exists()


def test_a_name_that_is_too_long_is_refused(nateq: NateqClient) -> None:
    with pytest.raises(remote.RemoteError, match="100"):
        remote.register(nateq, "x" * 101)


# Claims


def test_several_webhooks_at_the_url_of_a_row_set_up_by_hand_are_an_error(nateq: NateqClient, sandbox: Sandbox) -> None:
    """One of them has the secret that is here, and nothing says which."""
    webhook = Webhook.objects.create(name="shop", events=EVENT)
    for _ in range(2):
        nateq.webhooks.create(url=webhook.public_url, events=EVENT)

    with pytest.raises(remote.RemoteError, match='2 webhooks with the URL of "shop"'):
        remote.register(nateq, "shop")

    assert len(sandbox.webhooks.all()) == 2
    assert Webhook.objects.get().registration == Webhook.Registration.MANUAL


def test_a_secret_missing_from_the_answer_is_obtained_by_rotating(
    nateq: NateqClient, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = nateq.webhooks.create
    monkeypatch.setattr(nateq.webhooks, "create", lambda **options: replace(create(**options), secret=None))

    assert remote.register(nateq, "shop", EVENT).result is RegistrationResult.CREATED
    both_sides_agree(sandbox)


def test_a_site_without_the_urls_gets_the_line_to_add(nateq: NateqClient) -> None:
    with (
        override_settings(ROOT_URLCONF="django.contrib.auth.urls"),
        pytest.raises(remote.RemoteError, match=r'path\("nateq/", include\("nateq_webhooks.urls"\)\)'),
    ):
        remote.register(nateq, "shop")

    assert not Webhook.objects.exists()


def test_an_unregistered_webhook_is_not_changed(nateq: NateqClient) -> None:
    webhook = Webhook.objects.create(name="shop", events=EVENT)

    with pytest.raises(remote.RemoteError, match="create --name shop"):
        remote.change(nateq, webhook, is_active=False)

    assert Webhook.objects.get().is_active


def test_an_interrupted_registration_is_deleted_on_both_sides(nateq: NateqClient, sandbox: Sandbox) -> None:
    webhook = Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=EVENT)
    nateq.webhooks.create(url=webhook.public_url, events=EVENT)
    other = nateq.webhooks.create(url="http://127.0.0.1:9/other/", events=EVENT)

    assert remote.remove(nateq, webhook) is remote.RemovalResult.DELETED

    assert not Webhook.objects.exists()
    assert [each.id for each in sandbox.webhooks.all()] == [other.id]
