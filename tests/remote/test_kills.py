"""Killed with SIGKILL at each step, run again: one webhook on each side, and its deliveries verify. Real processes."""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import override_settings
from django.utils import timezone

from nateq_webhooks.models import Delivery, Secret, Webhook
from nateq_webhooks.sandbox import Sandbox
from tests.conftest import wait_until
from tests.remote.conftest import both_sides_agree
from tests.remote.site import KillAt, Site, port, receiver

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]

CREATE = ("nateq_webhook", "create", "--name", "shop", "--events", "ticket.created")
CALLS = "nateq_webhooks.client.webhooks.Webhooks"
CLAIM = "nateq_webhooks.remote.claim.Claim"
RUN = "nateq_webhooks.remote.registration._Registration"

STEPS_OF_CREATE: dict[str, KillAt] = {
    "the pending row is there": ("before", f"{RUN}.run", 1),
    "before Nateq is asked": ("before", f"{CALLS}.create", 1),
    "created at Nateq, the answer unread": ("after", f"{CALLS}.create", 1),
    "secret and id not committed": ("after", f"{CLAIM}.update_in_step", 2),
    "secret and id saved": ("after", f"{RUN}._save_created", 1),
    "all but the last word": ("after", f"{RUN}.run", 1),
}

STEPS_OF_ADOPTION: dict[str, KillAt] = {
    "before the list": ("before", f"{CALLS}.list", 1),
    "after the list": ("after", f"{CALLS}.list", 1),
    "before the rotation": ("before", f"{CALLS}.rotate_secret", 1),
    "rotated at Nateq, the answer unread": ("after", f"{CALLS}.rotate_secret", 1),
    "the new secret saved": ("after", f"{RUN}._save_rotated", 1),
}


@pytest.fixture
def site(sandbox: Sandbox, tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path, sandbox.base_url, port())
    with override_settings(NATEQ_WEBHOOKS={"PUBLIC_URL": f"http://127.0.0.1:{site.port}"}):
        yield site


def kill(site: Site, at: KillAt, *arguments: str) -> None:
    site.kill_at = at
    site.run(*arguments, code=-signal.SIGKILL)
    site.kill_at = None
    Webhook.objects.exclude(claim="").update(claimed_until=timezone.now() - timedelta(seconds=1))  # the claim expires


def deliveries_verify(site: Site, sandbox: Sandbox) -> None:
    with receiver(site.port):
        (delivery_id,) = sandbox.send("ticket.created")
        sandbox.wait_until_delivered(timeout=120)
    assert Delivery.objects.get().delivery_id == delivery_id


@pytest.mark.parametrize("at", STEPS_OF_CREATE.values(), ids=STEPS_OF_CREATE)
def test_create_killed_and_run_again(site: Site, sandbox: Sandbox, at: KillAt) -> None:
    kill(site, at, *CREATE)
    assert Webhook.objects.count() == 1

    site.run(*CREATE)

    both_sides_agree(sandbox)
    deliveries_verify(site, sandbox)


@pytest.mark.parametrize("at", STEPS_OF_ADOPTION.values(), ids=STEPS_OF_ADOPTION)
def test_the_run_after_a_kill_is_killed_and_run_again(site: Site, sandbox: Sandbox, at: KillAt) -> None:
    kill(site, STEPS_OF_CREATE["created at Nateq, the answer unread"], *CREATE)
    kill(site, at, *CREATE)

    site.run(*CREATE)

    both_sides_agree(sandbox)


def test_create_killed_between_deleting_and_creating_again(tmp_path: Path) -> None:
    with Sandbox(key="tg_test_0123456789abcdef", withhold=["rotate_secret"], retry_base=0.05) as sandbox:
        site = Site(tmp_path, sandbox.base_url, port())
        kill(site, STEPS_OF_CREATE["created at Nateq, the answer unread"], *CREATE)
        kill(site, ("after", f"{CALLS}.delete", 1), *CREATE)
        assert sandbox.webhooks.all() == []

        site.run(*CREATE)

        both_sides_agree(sandbox)


def test_a_delivery_to_a_pending_webhook_is_answered_503_and_not_lost(site: Site, sandbox: Sandbox) -> None:
    kill(site, STEPS_OF_CREATE["created at Nateq, the answer unread"], *CREATE)
    with receiver(site.port):
        (delivery_id,) = sandbox.send("ticket.created")
        wait_until(lambda: any(attempt.response_status == 503 for attempt in sandbox.log))

        site.run(*CREATE)
        sandbox.wait_until_delivered(timeout=120)

    assert Delivery.objects.get().delivery_id == delivery_id


@pytest.mark.parametrize("count", [2, 4])
def test_concurrent_runs_create_one_webhook(site: Site, sandbox: Sandbox, count: int) -> None:
    runs = [site.start(*CREATE) for _ in range(count)]
    told = [run.communicate(timeout=300) for run in runs]

    assert [run.returncode for run in runs] == [0] * count, told
    assert sum("was created" in out for out, _err in told) == 1
    both_sides_agree(sandbox)


@pytest.mark.parametrize(
    "at",
    [
        ("before", f"{CALLS}.rotate_secret", 1),
        ("after", f"{CALLS}.rotate_secret", 1),
        ("after", f"{CLAIM}.update_in_step", 2),
    ],
    ids=["before the call", "after the call", "not committed"],
)
@pytest.mark.parametrize("again", [("rotate", "--no-input"), ("sync",)], ids=["rotate", "sync"])
def test_rotate_killed_and_run_again(site: Site, sandbox: Sandbox, at: KillAt, again: tuple[str, ...]) -> None:
    site.run(*CREATE)
    before = Webhook.objects.get().secret
    kill(site, at, "nateq_webhook", "rotate", "--no-input")
    assert Webhook.objects.get().registration == Webhook.Registration.ROTATING
    assert Webhook.objects.get().secret == before

    site.run("nateq_webhook", *again)

    both_sides_agree(sandbox)
    assert [secret.secret for secret in Secret.objects.all()] == [before]
    deliveries_verify(site, sandbox)


def test_delete_killed_and_run_again(site: Site, sandbox: Sandbox) -> None:
    site.run(*CREATE)
    kill(site, ("after", f"{CALLS}.delete", 1), "nateq_webhook", "delete", "--no-input")
    assert (len(sandbox.webhooks.all()), Webhook.objects.count()) == (0, 1)

    site.run("nateq_webhook", "delete", "--no-input")

    assert not Webhook.objects.exists()


def test_500_events_sent_while_the_receiver_is_down_are_stored_exactly_once(site: Site, sandbox: Sandbox) -> None:
    site.run(*CREATE)
    sent = sandbox.send("ticket.created", count=500)
    wait_until(lambda: len({attempt.delivery_id for attempt in sandbox.log}) == 500, seconds=120)
    assert not Delivery.objects.exists()

    with receiver(site.port):
        sandbox.wait_until_delivered(timeout=90)

    assert sorted(Delivery.objects.values_list("delivery_id", flat=True)) == sorted(sent)
    assert Delivery.objects.count() == 500
