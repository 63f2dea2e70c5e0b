"""How far a replay is: 100 % only when its runs have finished; and who is there to run them."""

import importlib
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.maintenance import Maintenance
from nateq_webhooks.dispatch.progress import missing_worker_advice, progress, under_way
from nateq_webhooks.dispatch.replays import advance, request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.hold import Heartbeat
from nateq_webhooks.models.replay import ReplayedRun
from tests.commands import output
from tests.dispatch.scene import ALIAS, Configure, Connect, Deliver, run_until_finished

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def four(deliver: Deliver, connect: Connect) -> list[Delivery]:
    """Four deliveries that have been processed, by a receiver that fails for the second one when it is replayed."""

    def receiver(*, delivery: Delivery, run: Run, **kwargs: Any) -> None:
        if run.is_replay and delivery.delivery_id == "dlv_2":
            raise ValueError("broken")

    connect(signals.ticket_created, receiver, "test.one")
    four = [deliver() for _ in range(4)]
    run_until_finished()
    return four


def numbers(replay: Replay) -> tuple[int, int, int, int]:
    found = progress(ALIAS, replay)
    return found.percent, found.succeeded, found.failed, found.left


def page_of(admin_client: Client, replay: Replay) -> str:
    return admin_client.get(reverse("admin:nateq_webhooks_replay_change", args=[replay.pk])).content.decode()


def listed(admin_client: Client) -> str:
    return admin_client.get(reverse("admin:nateq_webhooks_replay_changelist")).content.decode()


def test_made_is_not_done(four: list[Delivery], admin_client: Client) -> None:
    replay = dispatch.replay(four)

    assert numbers(replay) == (0, 0, 0, 4)
    page = page_of(admin_client, replay)
    assert "0 %: 0 succeeded, 0 failed, 4 left" in page
    assert ">0 %</td>" in listed(admin_client)

    api.run_due()
    assert numbers(replay) == (75, 3, 0, 1)  # the fourth is to be tried again

    run_until_finished()
    assert numbers(replay) == (100, 3, 1, 0)
    assert "100 %: 3 succeeded, 1 failed, 0 left" in page_of(admin_client, replay)
    assert ">100 %</td>" in listed(admin_client)


def test_a_run_that_was_brought_forward_counts_too(four: list[Delivery]) -> None:
    Run.objects.filter(delivery=four[0]).update(status="failed", next_try_at=timezone.now() + timedelta(hours=1))

    replay = dispatch.replay(four)

    assert (replay.runs, replay.brought_forward) == (3, 1)
    assert numbers(replay) == (0, 0, 0, 4)
    run_until_finished()
    assert numbers(replay) == (100, 3, 1, 0)


def test_while_runs_are_made_what_was_not_looked_at_is_left(
    four: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.dispatch.replay_batches.BATCH_SIZE", 1)
    job = request_replay(Selection())
    advance(ALIAS, job)
    run_until_finished()

    assert progress(ALIAS, job).percent < 100
    assert progress(ALIAS, job).left == 0
    while advance(ALIAS, job):
        pass
    assert progress(ALIAS, job).left == 3


def test_nothing_to_do_is_done(four: list[Delivery]) -> None:
    assert numbers(dispatch.replay(Delivery.objects.none())) == (100, 0, 0, 0)


def test_one_of_many_runs_left_is_not_100_percent(four: list[Delivery]) -> None:
    replay = dispatch.replay(four[:1])
    Replay.objects.filter(pk=replay.pk).update(runs=1000)
    replay.refresh_from_db()

    assert numbers(replay) == (99, 0, 0, 1)


def test_a_worker_notes_that_it_is_done_and_the_numbers_outlive_the_runs(four: list[Delivery]) -> None:
    replay = dispatch.replay(four)
    Maintenance(ALIAS).run_once()
    replay.refresh_from_db()
    assert replay.done_at is None

    run_until_finished()
    Maintenance(ALIAS).run_once()

    replay.refresh_from_db()
    assert replay.done_at is not None
    Run.objects.all().delete()
    assert numbers(replay) == (100, 3, 1, 0)


def test_what_was_cancelled_ends_when_the_runs_it_made_have(
    four: list[Delivery], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.dispatch.replay_batches.BATCH_SIZE", 1)
    job = request_replay(Selection())
    advance(ALIAS, job)
    Replay.objects.update(is_cancelled=True)
    job.refresh_from_db()

    assert numbers(job) == (0, 0, 0, 1)
    run_until_finished()
    assert numbers(job) == (100, 1, 0, 0)
    assert "cancelled" in page_of(admin_client, job)
    assert "cancelled" in listed(admin_client)


def test_status_lists_it_until_it_is_done(four: list[Delivery]) -> None:
    replay = dispatch.replay(four)

    assert f"Replay {replay.pk}: 0 % done (0 succeeded, 0 failed, 4 left)" in output("nateq_status")

    run_until_finished()
    assert under_way(ALIAS, 20) == []


class TestNobody:
    """Inline, or with no worker at all, a replay waits for somebody to run it."""

    @pytest.mark.parametrize("mode", ["inline", "worker"])
    def test_it_is_said_with_what_to_do(
        self, four: list[Delivery], configure: Configure, admin_client: Client, mode: str
    ) -> None:
        configure(DISPATCH=mode)
        said = output("nateq_replay", "--event", "ticket.created")
        replay = Replay.objects.get()

        advice = "No worker was seen in the last minute, so nobody runs them now. Start manage.py nateq_worker"
        assert advice in said
        assert advice in page_of(admin_client, replay)
        answer = admin_client.post(
            reverse("admin:nateq_webhooks_delivery_replay", args=[four[0].pk]), {"which": "all"}, follow=True
        )
        assert advice in answer.content.decode()

    def test_not_when_a_worker_was_seen(self, four: list[Delivery], configure: Configure, admin_client: Client) -> None:
        configure(DISPATCH="inline")
        Heartbeat.objects.create(name="here:1", seen_at=timezone.now())
        replay = dispatch.replay(four)

        assert missing_worker_advice(ALIAS, [replay]) == ""
        assert "No worker" not in page_of(admin_client, replay)

    def test_not_where_other_processes_are_woken(self, four: list[Delivery], configure: Configure) -> None:
        configure(DISPATCH="tests.dispatch.test_replays.WakesElsewhere")

        assert missing_worker_advice(ALIAS, [dispatch.replay(four)]) == ""

    def test_not_when_nothing_is_left(self, four: list[Delivery], admin_client: Client) -> None:
        replay = dispatch.replay(four)
        run_until_finished()

        assert "No worker" not in page_of(admin_client, replay)


def test_replays_of_the_former_version_have_a_progress_after_the_migration(four: list[Delivery]) -> None:
    replay = dispatch.replay(four)
    ReplayedRun.objects.all().delete()
    migration = importlib.import_module("nateq_webhooks.migrations.0006_replay")

    with connection.schema_editor() as editor:
        migration.record_runs(apps, editor)

    assert set(ReplayedRun.objects.values_list("replay", "is_brought_forward")) == {(replay.pk, False)}
    assert numbers(replay) == (0, 0, 0, 4)


def test_a_process_of_the_former_version_can_still_ask_for_a_replay(four: list[Delivery]) -> None:
    """Its INSERT names none of the new columns."""
    table = connection.ops.quote_name(Replay._meta.db_table)
    columns = ("created_at", "by", "reason", "receivers", "filters", "after", "until", "deliveries", "runs")
    names = ", ".join(connection.ops.quote_name(name) for name in (*columns, "is_cancelled"))
    values: list[Any] = [timezone.now(), "", "", None, "{}", 0, 5, 0, 0, False]
    with connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join(['%s'] * len(values))})", values)

    assert numbers(Replay.objects.get()) == (0, 0, 0, 0)
