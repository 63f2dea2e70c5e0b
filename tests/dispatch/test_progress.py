"""How far a replay is: 100 % only when its runs have finished; and who is there to run them."""

import importlib
import re
from datetime import timedelta
from html import unescape
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
from nateq_webhooks.dispatch.replay_steps import needs_worker
from nateq_webhooks.dispatch.replays import advance, request_replay
from nateq_webhooks.dispatch.run_hold import holds_of
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.dispatch.status import status
from nateq_webhooks.dispatch.status_document import document
from nateq_webhooks.models import Delivery, Replay, Run
from nateq_webhooks.models.hold import Heartbeat, Hold
from nateq_webhooks.models.replay import ReplayedRun
from nateq_webhooks.models.run import HELD_BY_ORDER, PARKED_UNTIL
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
    assert "0 %: 0 succeeded, 0 failed for good, 4 left (4 waiting)" in page
    assert ">0 %</td>" in listed(admin_client)

    api.run_due()
    assert numbers(replay) == (75, 3, 0, 1)  # the fourth is to be tried again

    run_until_finished()
    assert numbers(replay) == (100, 3, 1, 0)
    assert "100 %: 3 succeeded, 1 failed for good, 0 left" in page_of(admin_client, replay)
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

    assert f"Replay {replay.pk}: 0 % done (0 succeeded, 0 failed for good, 4 left (4 waiting))" in output(
        "nateq_status"
    )

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
        answer = admin_client.post(reverse("admin:nateq_webhooks_delivery_try_now", args=[four[0].pk]), follow=True)
        runs = Run.objects.filter(delivery=four[0])
        if mode == "inline":  # who presses the button waits until they have run
            assert advice not in answer.content.decode()
            assert set(runs.values_list("status", flat=True)) == {"succeeded"}
        else:
            assert advice in answer.content.decode()
            assert "waiting" in runs.values_list("status", flat=True)

    def test_not_when_a_worker_was_seen(self, four: list[Delivery], configure: Configure, admin_client: Client) -> None:
        configure(DISPATCH="inline")
        Heartbeat.objects.create(name="here:1", seen_at=timezone.now())
        replay = dispatch.replay(four)

        assert missing_worker_advice(ALIAS, progress(ALIAS, replay)) == ""
        assert "No worker" not in page_of(admin_client, replay)

    def test_not_where_other_processes_are_woken(self, four: list[Delivery], configure: Configure) -> None:
        configure(DISPATCH="tests.dispatch.test_replays.WakesElsewhere")

        assert missing_worker_advice(ALIAS, progress(ALIAS, dispatch.replay(four))) == ""

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


def paused() -> Hold:
    """Pause a receiver, and return its hold."""
    [hold] = dispatch.pause(receiver="test.paused")
    return hold


def test_what_is_left_is_counted_by_its_state(four: list[Delivery]) -> None:
    replay = dispatch.replay(four)
    runs = list(Run.objects.filter(round=replay.pk).order_by("pk"))
    Run.objects.filter(pk=runs[0].pk).update(status="failed")
    Run.objects.filter(pk=runs[1].pk).update(status="running")
    Run.objects.filter(pk=runs[2].pk).update(held_by=paused().pk)

    found = progress(ALIAS, replay)

    assert (found.retrying, found.running, found.held, found.waiting, found.left) == (1, 1, 1, 1, 4)
    assert found.in_words == ("0 succeeded, 0 failed for good, 4 left (1 retrying, 1 waiting, 1 running, 1 held)")
    [shown] = document(status(ALIAS), [])["replays"]
    assert shown["left"] == sum(shown[name] for name in ("retrying", "waiting", "running", "held", "parked"))
    assert (shown["retrying"], shown["running"], shown["held"], shown["waiting"]) == (1, 1, 1, 1)


def test_what_waits_for_an_unknown_receiver_is_told_apart_whatever_is_paused(
    four: list[Delivery], admin_client: Client
) -> None:
    replay = dispatch.replay(four)
    runs = list(Run.objects.filter(round=replay.pk).order_by("pk"))
    Run.objects.filter(pk__in=[runs[0].pk, runs[1].pk]).update(next_try_at=PARKED_UNTIL)
    Run.objects.filter(pk=runs[1].pk).update(held_by=paused().pk)

    for _state in ("a receiver is paused", "everything is paused"):
        found = progress(ALIAS, replay)
        assert (found.parked, found.waiting + found.held, found.left) == (2, 2, 4)
        page = unescape(page_of(admin_client, replay))
        assert "2 waiting for an unknown receiver" in page
        [url] = re.findall(r'<a href="([^"]*held=parked[^"]*)">2', page)
        rows = admin_client.get(url).context["cl"].result_list
        assert {row.pk for row in rows} == {runs[0].pk, runs[1].pk}
        dispatch.pause()


def test_what_waits_for_an_earlier_delivery_that_is_paused_is_held_as_its_row_says(
    four: list[Delivery], admin_client: Client, configure: Configure
) -> None:
    configure(ORDERED_BY="organization_id", DISPATCH="worker")
    replay = dispatch.replay(four)
    assert Run.objects.filter(round=replay.pk, held_by=HELD_BY_ORDER).count() == 3
    assert progress(ALIAS, replay).waiting == 4
    scopes: list[dict[str, Any]] = [{"webhook": four[0].webhook}, {"receiver": "test.one"}]
    for scope in scopes:
        dispatch.pause(**scope)

        found = progress(ALIAS, replay)

        assert (found.held, found.waiting) == (4, 0)
        assert not needs_worker(ALIAS, found)
        url = reverse("admin:nateq_webhooks_run_changelist")
        rows = admin_client.get(f"{url}?replay={replay.pk}&held=yes").context["cl"].result_list
        assert len(rows) == len(holds_of(ALIAS, rows)) == 4
        assert not admin_client.get(f"{url}?replay={replay.pk}&held=no").context["cl"].result_list
        dispatch.resume(**scope)


class TestWhetherAWorkerIsMissing:
    """A worker is asked for only if it would run something: in a page, the command and the API alike."""

    @pytest.fixture(autouse=True)
    def _left_to_workers(self, four: list[Delivery], configure: Configure) -> None:
        configure(DISPATCH="worker", RATE_LIMITS={"test.one": 0.001})

    def is_asked_for(self, replay: Replay) -> bool:
        found = progress(ALIAS, replay)
        said = bool(missing_worker_advice(ALIAS, found))
        assert needs_worker(ALIAS, found) is said
        return said

    def test_what_a_rate_limit_holds_back_needs_one(self, four: list[Delivery]) -> None:
        replay = dispatch.replay(four)

        assert progress(ALIAS, replay).held == 4
        assert self.is_asked_for(replay)

    def test_what_is_paused_does_not(self, four: list[Delivery], admin_client: Client) -> None:
        for paused_of in ({}, {"receiver": "test.one"}):
            dispatch.pause(**paused_of)
            replay = dispatch.replay(four)
            assert progress(ALIAS, replay).held == 4
            assert not self.is_asked_for(replay)
            page = page_of(admin_client, replay)
            assert "No worker" not in page
            assert "Runs that it holds back start when it is resumed." in page
            dispatch.resume(**paused_of)

    def test_what_waits_for_an_unknown_receiver_does_not(self, four: list[Delivery]) -> None:
        replay = dispatch.replay(four)
        Run.objects.filter(round=replay.pk).update(next_try_at=PARKED_UNTIL)

        assert not self.is_asked_for(replay)

    def test_a_replay_that_looks_for_its_deliveries_needs_one_unless_everything_is_paused(
        self, four: list[Delivery], admin_client: Client
    ) -> None:
        job = request_replay(Selection())

        assert needs_worker(ALIAS, progress(ALIAS, job))
        assert "this does not continue by itself" in page_of(admin_client, job)
        dispatch.pause()
        assert not needs_worker(ALIAS, progress(ALIAS, job))
        page = page_of(admin_client, job)
        assert "this does not continue by itself" not in page
        assert "Runs that it holds back start when it is resumed." in page


def test_each_number_of_the_page_leads_to_those_runs(four: list[Delivery], admin_client: Client) -> None:
    replay = dispatch.replay(four)
    run_until_finished()
    runs = {run.delivery_id: run for run in Run.objects.filter(round=replay.pk)}
    for delivery, run_status, held_by in ((four[2], "failed", 0), (four[3], "waiting", paused().pk)):
        Run.objects.filter(pk=runs[delivery.pk].pk).update(
            status=run_status, held_by=held_by, next_try_at=timezone.now() + timedelta(hours=1)
        )

    page = unescape(page_of(admin_client, replay))
    found = re.findall(r'<a href="([^"]*/run/[^"]*replay=[^"]*)">(\d+)', page)

    listed_runs = {}
    for url, number in found:
        rows = admin_client.get(url).context["cl"].result_list
        assert len(rows) == int(number) == 1
        listed_runs[url.partition("?")[2]] = rows[0].delivery_id
    assert listed_runs == {
        f"replay={replay.pk}&status__exact=succeeded": four[0].pk,
        f"replay={replay.pk}&status__exact=dead": four[1].pk,
        f"replay={replay.pk}&status__exact=failed&held=no": four[2].pk,
        f"replay={replay.pk}&held=yes": four[3].pk,
    }


def test_looking_for_the_first_delivery_is_no_progress_of_runs(
    four: list[Delivery], admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = request_replay(Selection())
    Replay.objects.filter(pk=job.pk).update(after=job.first + 3)
    job.refresh_from_db()

    found = progress(ALIAS, job)

    assert (found.percent, found.looked_through) == (0, 75)
    page = page_of(admin_client, job)
    assert "Looking through the deliveries:" in page
    assert 'id="nateq-progress" max="100" value="0"' in page
    assert "looking through the deliveries: 75 %" in listed(admin_client)


def test_a_period_is_looked_through_from_its_first_delivery_on(
    four: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.database.keyset.date_ranges.MAX_SMALL", 1)
    now = timezone.now()
    for number, delivery in enumerate(four):
        Delivery.objects.filter(pk=delivery.pk).update(received_at=now - timedelta(hours=4 - number))

    job = request_replay(
        Selection(since=now - timedelta(hours=2, minutes=30), until=now - timedelta(hours=1, minutes=30))
    )

    assert (job.first, job.after, job.until) == (four[1].pk, four[1].pk, four[2].pk)
    while advance(ALIAS, job):
        pass
    assert list(Run.objects.filter(round=job.pk).values_list("delivery_id", flat=True)) == [four[2].pk]
