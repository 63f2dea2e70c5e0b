"""`manage.py nateq_webhook sync`: what differs, and settling it."""

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from nateq_webhooks.models import Webhook
from nateq_webhooks.sandbox import Sandbox
from tests.remote.conftest import both_sides_agree

pytestmark = pytest.mark.django_db

Run = Callable[..., Any]


def drifted(sandbox: Sandbox, webhook: Webhook) -> None:
    sandbox.webhooks.update(webhook.nateq_id, {"events": ["ticket.closed"], "is_active": False})


def test_sync_shows_drift_and_ends_with_3(run: Run, registered: Webhook, sandbox: Sandbox) -> None:
    drifted(sandbox, registered)
    out = StringIO()
    with pytest.raises(CommandError, match="--push") as told:
        call_command("nateq_webhook", "sync", stdout=out)

    assert told.value.returncode == 3
    assert "events: here ticket.created, at Nateq ticket.closed" in out.getvalue()
    assert "is_active: here true, at Nateq false" in out.getvalue()


def test_sync_settles_drift_either_way(run: Run, registered: Webhook, sandbox: Sandbox) -> None:
    drifted(sandbox, registered)
    assert [each["state"] for each in run("sync", "--push", "--yes")] == ["in step"]
    both_sides_agree(sandbox)
    assert sandbox.webhooks.all()[0].events == ("ticket.created",)

    drifted(sandbox, registered)
    run("sync", "--pull", "--yes")
    here = Webhook.objects.get()
    assert (here.events, here.is_active) == (["ticket.closed"], False)


def test_another_url_is_drift_that_only_this_side_settles(run: Run, registered: Webhook, sandbox: Sandbox) -> None:
    sandbox.webhooks.update(registered.nateq_id, {"url": "http://127.0.0.1:1/old/"})
    with pytest.raises(CommandError):
        run("sync", "--pull", "--yes")

    run("sync", "--push", "--yes")
    both_sides_agree(sandbox)


def test_a_dry_run_of_sync_settles_nothing(run: Run, registered: Webhook, sandbox: Sandbox) -> None:
    drifted(sandbox, registered)
    with pytest.raises(CommandError):
        run("sync", "--push", "--dry-run")
    assert sandbox.webhooks.all()[0].events == ("ticket.closed",)


def test_a_webhook_gone_at_nateq_is_registered_again_or_deactivated(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    sandbox.webhooks.delete(registered.nateq_id)
    with pytest.raises(CommandError, match="shop"):
        run("sync")
    run("sync", "--push", "--yes", "--gone", "--name", "shop")
    both_sides_agree(sandbox)

    sandbox.webhooks.delete(Webhook.objects.get().nateq_id)
    with pytest.raises(CommandError, match="name it with --name"):
        run("sync", "--pull", "--yes", "--gone")
    run("sync", "--pull", "--yes", "--gone", "--name", "shop")
    assert (Webhook.objects.get().is_active, Webhook.objects.get().registration) == (False, "manual")


def test_a_second_webhook_at_the_same_url_is_drift_and_push_deletes_it(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    sandbox.webhooks.create(registered.public_url, ["ticket.created"])
    with pytest.raises(CommandError):
        run("sync")

    run("sync", "--push", "--yes")
    both_sides_agree(sandbox)


def test_sync_finishes_a_registration_that_died(run: Run, sandbox: Sandbox) -> None:
    Webhook.objects.create(name="shop", registration=Webhook.Registration.PENDING, events=["ticket.created"])
    run("sync")
    both_sides_agree(sandbox)


def test_a_url_without_its_last_slash_is_drift_that_push_settles(
    run: Run, registered: Webhook, sandbox: Sandbox
) -> None:
    sandbox.webhooks.update(registered.nateq_id, {"url": registered.public_url.rstrip("/")})
    out = StringIO()
    with pytest.raises(CommandError, match="--push"):
        call_command("nateq_webhook", "sync", stdout=out)
    assert f"url: here {registered.public_url}, at Nateq {registered.public_url.rstrip('/')}" in out.getvalue()

    run("sync", "--push")
    both_sides_agree(sandbox)
