"""`manage.py nateq_pause` and `nateq_resume`."""

import pytest
from django.core.management import CommandError
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api, pauses
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import Heartbeat, Hold, breaker_scope
from nateq_webhooks.runners.worker import drain
from tests.builders import store_deliveries, store_run
from tests.commands import output
from tests.dispatch.scene import Connect, Deliver

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _receiver(connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "test.one")


def test_everything() -> None:
    assert output("nateq_pause", "--all", "--reason", "Deployment") == "Paused: everything.\n"

    (hold,) = api.paused()
    assert (hold.scope, hold.reason) == ("", "Deployment")
    assert hold.paused_by
    assert output("nateq_resume", "--all") == "Resumed: everything.\n"
    assert api.paused() == []


@pytest.mark.parametrize(
    ("option", "name", "scope"),
    [
        ("--receiver", "test.one", "receiver:test.one"),
        ("--webhook", "shop", "webhook:shop"),
        ("--webhook", "{pk}", "webhook:shop"),
    ],
)
def test_a_receiver_or_a_webhook_is_paused_and_resumed(webhook: Webhook, option: str, name: str, scope: str) -> None:
    name = name.format(pk=webhook.pk)

    assert output("nateq_pause", option, name) == f"Paused: {scope}.\n"
    assert output("nateq_resume", option, name) == f"Resumed: {scope}.\n"


def test_resume_shows_what_is_still_paused(webhook: Webhook) -> None:
    output("nateq_pause", "--all")
    output("nateq_pause", "--receiver", "test.one")

    assert output("nateq_resume", "--all") == "Resumed: everything.\nStill paused: receiver:test.one.\n"
    assert output("nateq_resume", "--webhook", "shop") == "It was not paused.\nStill paused: receiver:test.one.\n"


def test_nothing_is_written_with_verbosity_0() -> None:
    assert output("nateq_pause", "--all", verbosity=0) == ""
    assert output("nateq_resume", "--all", verbosity=0) == ""


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--webhook", "shp"], "There is no webhook 'shp'. There are: shop"),
        (["--webhook", "7e7e7e7e-0000-4000-8000-000000000000"], "There is no webhook '7e7e7e7e-"),
        (["--receiver", "test.oen"], 'No receiver called "test.oen" is connected. Connected: test.one.'),
    ],
)
def test_an_unknown_name_is_refused(webhook: Webhook, options: list[str], complaint: str) -> None:
    """Whoever mistypes it must not believe that it is paused."""
    with pytest.raises(CommandError, match=complaint):
        output("nateq_pause", *options)

    assert api.paused() == []


def test_all_waiting_runs_are_moved_in_batches(deliver: Deliver, monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = deliver()
    drain()
    Run.objects.bulk_create(Run(delivery=delivery, receiver="test.one", round=number) for number in range(1, 26))
    monkeypatch.setattr(pauses, "BATCH_SIZE", 2)
    monkeypatch.setattr(pauses, "BATCHES_AT_ONCE", 3)

    output("nateq_pause", "--receiver", "test.one")
    hold = api.paused()[0]
    assert Run.objects.filter(held_by=hold.pk).count() == 25
    output("nateq_resume", "--receiver", "test.one")
    assert Run.objects.filter(held_by=hold.pk).count() == 0


@pytest.mark.parametrize("command", ["nateq_pause", "nateq_resume"])
def test_everything_must_be_named_explicitly(command: str) -> None:
    dispatch.pause(receiver="test.one")
    wrong: list[tuple[list[str], str]] = [
        ([], "This would apply to everything. Add --all"),
        (["--all", "--receiver", "test.one"], "--all can't be combined with --receiver"),
    ]
    for options, complaint in wrong:
        with pytest.raises(CommandError, match=complaint):
            output(command, *options)

    assert [hold.scope for hold in api.paused()] == ["receiver:test.one"]


def test_resuming_an_unknown_receiver_is_refused() -> None:
    dispatch.pause(receiver="test.gone")
    for name, suggestion in (("test.oen", "test.one"), ("test.gon", "test.gone")):
        with pytest.raises(CommandError, match=f"is paused or connected. Did you mean '{suggestion}'"):
            output("nateq_resume", "--receiver", name)

    assert output("nateq_resume", "--receiver", "test.gone") == "Resumed: receiver:test.gone.\n"


def test_a_receiver_that_only_the_circuit_breaker_has_paused_can_be_resumed(webhook: Webhook) -> None:
    """It need not be connected in the process of the command."""
    Hold.objects.create(
        scope=breaker_scope(webhook.pk, "test.gone"), paused_at=timezone.now(), is_automatic=True, is_empty=False
    )

    assert output("nateq_resume", "--receiver", "test.gone").startswith("Resumed: ")
    assert api.paused() == []


def test_resume_says_that_no_worker_runs_what_waits(webhook: Webhook) -> None:
    dispatch.pause(receiver="test.one")
    waiting = {"status": Run.Status.WAITING, "next_try_at": timezone.now()}
    store_run(store_deliveries(webhook)[0], "test.one", **waiting)

    said = output("nateq_resume", "--receiver", "test.one")

    assert "No worker was seen in the last minute" in said
    Heartbeat.objects.create(name="worker")
    dispatch.pause(receiver="test.one")
    assert "No worker" not in output("nateq_resume", "--receiver", "test.one")
