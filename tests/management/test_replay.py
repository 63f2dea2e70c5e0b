"""`manage.py nateq_replay`: many deliveries at a time, and resumed after an interruption."""

import re
import signal
import sys
from collections import Counter
from datetime import timedelta
from io import StringIO
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError
from django.db import OperationalError
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.dispatch import replay_batches, replays
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.runners.worker import drain
from tests.builders import build_delivery, insert
from tests.commands import Terminal, output
from tests.conftest import wait_until
from tests.dispatch.scene import ALIAS, BOUND_SECONDS, Connect, Deliver
from tests.runners.processes import process, run

pytestmark = pytest.mark.django_db(transaction=True)

ONE = "tests.runners.site.receivers.write_once"


@pytest.fixture
def stored(deliver: Deliver, connect: Connect) -> list[Delivery]:
    """Ten deliveries that have been processed; two receivers."""
    connect(signals.ticket_created, lambda **kwargs: None, ONE)
    connect(signals.ticket_created, lambda **kwargs: None, "test.two")
    stored = [deliver() for _ in range(10)]
    drain()
    return stored


def replay(*arguments: str, **options: Any) -> str:
    return output("nateq_replay", *arguments, **options)


def replayed() -> Counter[tuple[str, str]]:
    runs = Run.objects.exclude(round=0)
    return Counter(runs.values_list("delivery__delivery_id", "receiver"))


class TestWhich:
    def test_everything_by_every_receiver(self, stored: list[Delivery]) -> None:
        said = replay("--all")

        assert said == (
            f"Replay {Replay.objects.get().pk} of 10 deliveries: 20 runs made.\n"
            "0 succeeded, 0 failed for good, 20 left (20 waiting)\n"
        )
        assert set(replayed().values()) == {1}
        assert len(replayed()) == 20

    def test_a_receiver(self, stored: list[Delivery]) -> None:
        replay("--all", "--receiver", "test.two")

        assert replayed() == {(one.delivery_id, "test.two"): 1 for one in stored}

    def test_deliveries_by_the_id_that_nateq_gave_them(self, stored: list[Delivery]) -> None:
        replay("--delivery", "dlv_3", "--delivery", "dlv_7", "--receiver", "test.two")

        assert set(replayed()) == {("dlv_3", "test.two"), ("dlv_7", "test.two")}

    def test_by_webhook_event_status_and_time(self, stored: list[Delivery], deliver: Deliver) -> None:
        deliver("ticket.updated")
        Delivery.objects.filter(pk=stored[2].pk).update(status="dead", received_at="2020-05-05T10:00:00Z")

        for options, found in (
            (["--event", "ticket.created"], 10),
            (["--event", "ticket.closed"], 0),
            (["--status", "dead"], 1),
            (["--since", "2021-01-01"], 10),
            (["--until", "2020-05-05T10:00"], 0),
            (["--until", "2020-05-05T12:00:00+01:00"], 1),
            (["--webhook", "shop"], 11),
        ):
            said = replay("--dry-run", *options)
            what = "delivery" if found == 1 else "deliveries"
            assert said == f"{found} {what} would be replayed.\n", options

    def test_call_command_takes_options_of_other_types(self, stored: list[Delivery]) -> None:
        long_ago = timezone.now() - timedelta(days=365)
        for options in ({"receiver": "test.two"}, {"receiver": ["test.two"]}, {"receiver": ("test.two",)}):
            replay(delivery="dlv_3", webhook=stored[0].webhook_id, since=long_ago, **options)
            drain()
        assert replay(dry_run=True, until=long_ago.date()) == "0 deliveries would be replayed.\n"

        assert replayed() == {("dlv_3", "test.two"): 3}

    def test_what_can_not_be_replayed_is_counted_as_left_out(
        self, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        Delivery.objects.filter(pk__in=[stored[0].pk, stored[3].pk]).update(content_change="retention")
        Delivery.objects.filter(pk=stored[5].pk).update(content_change="redaction")
        asked: list[str] = []

        def answer(wanted: str) -> None:
            asked.append(wanted)

        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("nateq_webhooks.management.commands.nateq_replay.require_yes", answer)

        said = replay("--all", "--dry-run")
        done = replay("--all")

        left_out = "Left out, because the delivery's content was removed: 2."
        assert said == f"8 deliveries would be replayed. {left_out}\n"
        assert asked == [f"{left_out} Replay 8 deliveries? [y/N] "]
        assert "of 8 deliveries: 16 runs made, 2 deliveries left out, as their content was removed." in done

    def test_a_dry_run_changes_nothing(self, stored: list[Delivery]) -> None:
        replay("--dry-run")

        assert (Replay.objects.count(), len(replayed())) == (0, 0)

    def test_reason_and_author_are_stored(self, stored: list[Delivery]) -> None:
        replay("--reason", "CRM was down", "--event", "ticket.created")

        kept = Replay.objects.get()
        assert (kept.reason, kept.filters, kept.receivers) == ("CRM was down", {"event": "ticket.created"}, None)
        assert kept.by


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--all", "--receiver", "test.tow"], 'No receiver called "test.tow" is connected. Connected: '),
        (["--all", "--receiver", "test.tow"], "Did you mean 'test.two'?"),
        (["--webhook", "shp"], "There is no webhook 'shp'. There are: shop. Did you mean 'shop'?"),
        (["--event", "ticket.creatd"], "There is no event 'ticket.creatd', and no delivery of it."),
        (["--event", "ticket.creatd"], "Did you mean 'ticket.created'?"),
        (["--event", "TICKET.CREATED"], "Did you mean 'ticket.created'?"),
        (["--event", "quite other"], "There is no event 'quite other', and no delivery of it."),
        (["--status", "daed"], "There is no status 'daed'. There are: received, processed, failed, dead, "),
        (["--status", "daed"], "Did you mean 'dead'?"),
        (["--delivery", "dlv_99"], "There is no delivery with the id 'dlv_99'."),
        (["--since", "yesterday"], "--since is 'yesterday', which is not a time. Write it like 2026-06-30T12:00."),
        (["--since", "2026-06-30", "--until", "2026-06-29"], "--since is not before --until"),
        (["--since", "2026-06-30", "--until", "2026-06-30"], "--since is not before --until"),
        (["--until", "2026-13-01"], "--until is '2026-13-01', which is not a time"),
        (["--status", "lost"], "There is no status 'lost'"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_an_invalid_option_is_refused_with_a_suggestion(
    stored: list[Delivery], options: list[str], complaint: str
) -> None:
    with pytest.raises(CommandError) as raised:
        replay(*options)

    assert complaint in str(raised.value)
    assert not Replay.objects.exists()


@pytest.mark.parametrize("options", [[], ["--receiver", "test.two"], ["--reason", "all of it"], ["--no-input"]])
@pytest.mark.parametrize("is_terminal", [True, False], ids=["terminal", "script"])
def test_everything_must_be_named_explicitly(
    stored: list[Delivery], monkeypatch: pytest.MonkeyPatch, options: list[str], *, is_terminal: bool
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("y\n") if is_terminal else StringIO())

    with pytest.raises(CommandError, match=r"This would apply to everything\. Add --all"):
        replay(*options)

    assert not Replay.objects.exists()


def test_a_person_who_gives_all_is_asked_too(stored: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))

    with pytest.raises(CommandError, match=r"Nothing was changed\."):
        replay("--all")

    assert not Replay.objects.exists()


def test_all_can_not_be_combined_with_a_selection(stored: list[Delivery]) -> None:
    with pytest.raises(CommandError, match="--all can't be combined with --event, --status"):
        replay("--all", "--event", "ticket.created", "--status", "dead")


@pytest.mark.parametrize("event", ["ticket.closed", "shop.own", "once.sent"])
def test_a_known_event_may_match_no_delivery(stored: list[Delivery], connect: Connect, event: str) -> None:
    """Published, connected to, or stored once."""
    connect(signals.signal_for("shop.own"), lambda **kwargs: None, "test.own")
    Delivery.objects.filter(pk=stored[0].pk).update(event="once.sent")

    assert replay("--event", event, "--until", "2020-01-01").startswith("Replay ")


class TestInterrupted:
    @pytest.fixture(autouse=True)
    def _small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(replay_batches, "BATCH_SIZE", 3)

    @pytest.fixture
    def interrupted(self, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> Replay:
        """A replay whose command died after two batches."""
        batches = iter(range(2))
        advance = replays.advance

        def dies(alias: str, replay_: Replay) -> bool:
            if next(batches, None) is None:
                raise KeyboardInterrupt
            return advance(alias, replay_)

        with monkeypatch.context() as patch:
            patch.setattr("nateq_webhooks.management.commands.nateq_replay.advance", dies)
            with pytest.raises(KeyboardInterrupt):
                replay("--all", "--receiver", "test.two")
        assert len(replayed()) == 6
        return Replay.objects.get()

    def test_the_same_command_continues(self, interrupted: Replay) -> None:
        said = replay("--all", "--receiver", "test.two")

        assert said.startswith(f"Continuing replay {interrupted.pk}, ")
        assert f"Replay {interrupted.pk} of 10 deliveries: 10 runs made.\n" in said
        assert (len(replayed()), set(replayed().values())) == (10, {1})

    def test_it_continues_also_if_a_worker_has_finished_it_meanwhile(self, interrupted: Replay) -> None:
        """It must not begin a second one: everything would run twice."""
        rounds = Maintenance(ALIAS)
        while rounds.run_once():
            pass
        interrupted.refresh_from_db()
        assert interrupted.finished_at is not None

        said = replay("--all", "--receiver", "test.two")

        assert f"Continuing replay {interrupted.pk}, which has looked through 100 % of the deliveries." in said
        assert (Replay.objects.count(), set(replayed().values())) == (1, {1})

    def test_after_its_end_was_seen_the_same_command_is_another_replay(self, interrupted: Replay) -> None:
        replay("--all", "--receiver", "test.two")
        drain()
        replay("--all", "--receiver", "test.two")

        assert (Replay.objects.count(), set(replayed().values())) == (2, {2})

    def test_it_is_resumed_by_its_id(self, interrupted: Replay) -> None:
        said = replay("--resume", str(interrupted.pk))

        assert said.startswith(f"Continuing replay {interrupted.pk}, ")
        assert f"Replay {interrupted.pk} of 10 deliveries: 10 runs made.\n" in said
        assert (Replay.objects.count(), set(replayed().values())) == (1, {1})
        replay("--resume", str(interrupted.pk))  # again: nothing is left to do
        assert set(replayed().values()) == {1}

    @pytest.mark.parametrize(
        "options",
        [["--all"], ["--event", "ticket.created"], ["--receiver", "test.two"], ["--dry-run"]],
        ids=lambda value: value[0],
    )
    def test_resuming_goes_with_no_option_that_selects(self, interrupted: Replay, options: list[str]) -> None:
        with pytest.raises(CommandError, match=f"--resume can't be combined with {options[0]}"):
            replay("--resume", str(interrupted.pk), *options)

    def test_a_cancelled_or_unknown_one_is_not_resumed(self, interrupted: Replay) -> None:
        with pytest.raises(CommandError, match=f"There is no replay {interrupted.pk + 1}"):
            replay("--resume", str(interrupted.pk + 1))
        Replay.objects.update(is_cancelled=True)
        with pytest.raises(CommandError, match="was cancelled"):
            replay("--resume", str(interrupted.pk))
        assert len(replayed()) == 6

    @pytest.mark.parametrize(
        ("options", "is_cancelled"),
        [
            (["--event", "ticket.created", "--receiver", "test.two"], False),
            (["--all", "--receiver", "test.two", "--new"], False),
            (["--all", "--receiver", "test.two"], True),
        ],
        ids=["other options", "asked for", "the former one cancelled"],
    )
    def test_another_replay_is_created(self, interrupted: Replay, options: list[str], is_cancelled: bool) -> None:
        Replay.objects.update(is_cancelled=is_cancelled)

        replay(*options)

        assert Replay.objects.count() == 2

    def test_an_error_of_the_database_names_the_command_to_continue_with(
        self, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = Mock(side_effect=OperationalError("gone"))
        monkeypatch.setattr("nateq_webhooks.management.commands.nateq_replay.advance", broken)
        with pytest.raises(
            CommandError, match=r"\(OperationalError\)\. Continue with: manage\.py nateq_replay --resume \d+"
        ):
            replay("--all")

    def test_progress_is_printed(self, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("nateq_webhooks.management.commands.nateq_replay.PROGRESS_SECONDS", 0.0)

        lines = replay("--all", "--receiver", "test.two").splitlines()

        assert len(lines) >= 4
        assert re.fullmatch(r"Looking through the deliveries: \d+ %, 3 runs made", lines[0])
        assert replay("--all", "--receiver", "test.two", verbosity=0) == ""


@pytest.mark.slow
def test_each_delivery_is_replayed_once_if_the_command_is_killed_and_started_again(
    webhook: Webhook, connect: Connect
) -> None:
    """SIGKILL in the middle, twice."""
    connect(signals.ticket_created, lambda **kwargs: None, ONE)
    insert(build_delivery(webhook, payload={}) for _ in range(8_001))
    command = ("-m", "django", "nateq_replay", "--all", "--receiver", ONE)
    made = 0
    for _ in range(2):
        with process(*command) as running:
            before = made
            wait_until(lambda before=before: Run.objects.count() > before + 1_000, seconds=BOUND_SECONDS)  # type: ignore[misc]
            running.popen.send_signal(signal.SIGKILL)
            running.popen.wait(BOUND_SECONDS)
        made = Run.objects.count()
        assert made < 8_001

    said = run(*command)

    assert "Continuing replay" in said
    assert "of 8001 deliveries: 8001 runs made." in said
    assert Replay.objects.count() == 1
    assert Run.objects.values("delivery_id").distinct().count() == Run.objects.count() == 8_001


class TestFailed:
    """`--failed` retries what failed of a receiver, and nothing else."""

    @pytest.fixture
    def failing(self, deliver: Deliver, connect: Connect) -> list[Delivery]:
        """Deliveries of two receivers: of one the runs were given up, retried with success, or wait for a next try."""
        connect(signals.ticket_created, lambda **kwargs: None, "test.fine")
        connect(signals.ticket_created, lambda **kwargs: None, "test.two")
        stored = [deliver() for _ in range(6)]
        drain()
        runs = {run.delivery_id: run for run in Run.objects.filter(receiver="test.two")}
        hour = timezone.now() + timedelta(hours=1)
        for number, delivery in enumerate(stored):
            run = runs[delivery.pk]
            if number < 4:
                run.status, run.error = Run.Status.DEAD, "LookupError: no customer 7"
            elif number == 4:
                run.status, run.next_try_at, run.error = Run.Status.FAILED, hour, "Timeout: slow"
            run.save()
        Run.objects.create(delivery=stored[3], receiver="test.two", round=900, status="succeeded", next_try_at=None)
        return stored

    def test_a_dry_run_counts_what_would_be_retried(self, failing: list[Delivery]) -> None:
        said = replay("--failed", "--receiver", "test.two", "--dry-run")

        assert said == (
            "4 failed runs would be retried: 3 again as new runs, 1 brought forward. "
            "Left alone, because they were replayed since: 1.\n"
        )
        assert Replay.objects.count() == 0

    def test_it_retries_them_and_says_what_it_did(self, failing: list[Delivery]) -> None:
        said = replay("--failed", "--receiver", "test.two")

        made = Replay.objects.get()
        assert said.startswith(
            f"Replay {made.pk} of 4 deliveries: 3 runs made, 1 brought forward, 1 succeeded since.\n"
        )
        assert made.only_failed
        runs = Run.objects.filter(round=made.pk)
        assert sorted(runs.values_list("delivery_id", "receiver")) == [(one.pk, "test.two") for one in failing[:3]]
        brought = Run.objects.get(delivery=failing[4], receiver="test.two")
        assert brought.next_try_at is not None
        assert brought.next_try_at <= timezone.now()

    def test_a_part_of_the_error_narrows_it(self, failing: list[Delivery]) -> None:
        assert replay("--failed", "--error", "timeout", "--dry-run").startswith("1 failed run would be retried: 0 ")

        replay("--failed", "--error", "timeout")

        made = Replay.objects.get()
        assert (made.runs, made.brought_forward, made.skipped) == (0, 1, 0)

    def test_a_period_narrows_it(self, failing: list[Delivery]) -> None:
        noon = timezone.now() - timedelta(hours=3)
        for number, delivery in enumerate(failing):
            Delivery.objects.filter(pk=delivery.pk).update(received_at=noon + timedelta(minutes=30 * number))
        period = (
            "--since",
            (noon + timedelta(minutes=10)).isoformat(),
            "--until",
            (noon + timedelta(hours=1)).isoformat(),
        )

        assert replay("--failed", "--receiver", "test.two", *period, "--dry-run").startswith("1 failed run ")
        replay("--failed", "--receiver", "test.two", *period)

        assert list(Run.objects.filter(round=Replay.objects.get().pk).values_list("delivery_id", flat=True)) == [
            failing[1].pk
        ]

    def test_alone_it_is_not_taken_for_everything(self, failing: list[Delivery]) -> None:
        with pytest.raises(CommandError, match="Add --all"):
            replay("--failed")

        assert Replay.objects.count() == 0
        replay("--failed", "--all")
        assert Replay.objects.get().runs == 3

    def test_failed_runs_of_a_receiver_that_is_not_connected_are_named(self, failing: list[Delivery]) -> None:
        Run.objects.create(delivery=failing[0], receiver="test.gone", status="dead", next_try_at=None)

        said = replay("--failed", "--all", "--dry-run")

        warning, counted = said.splitlines()
        assert warning == "Failed runs of receivers that are not connected are left alone: test.gone."
        assert counted.startswith("4 failed runs would be retried")

    def test_what_can_not_run_again_is_counted_apart(self, failing: list[Delivery]) -> None:
        Delivery.objects.filter(pk=failing[0].pk).update(content_change="retention")
        Delivery.objects.filter(pk=failing[1].pk).update(event="lead.created")

        said = replay("--failed", "--all", "--dry-run")

        assert said.startswith("2 failed runs would be retried")
        assert "Left out, because the delivery's content was removed: 1." in said
        assert "Left alone, because their receiver is not connected to the event: 1." in said
        said = replay("--failed", "--all")
        done = Replay.objects.get()
        assert (done.runs + done.brought_forward, done.without_content, done.disconnected) == (2, 1, 1)
        assert "1 run left alone, as its receiver is not connected" in said

    def test_the_error_goes_with_what_failed_only(self, failing: list[Delivery]) -> None:
        with pytest.raises(CommandError, match="--error needs --failed"):
            replay("--all", "--error", "timeout")
