"""Retrying what failed: from the dashboard's line and from the list of runs; acknowledging a group of failures."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.dashboard.failures import failures
from nateq_webhooks.admin.retry import page as retry_page
from nateq_webhooks.admin.retry import selection as run_selection
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.failure_acknowledgement import FailureAcknowledgement
from nateq_webhooks.models.hold import Heartbeat
from tests.admin.listing import RUNS, pks
from tests.admin.pages import shown
from tests.builders import ago, store_dead_runs, store_run
from tests.commands import output
from tests.conftest import Connect
from tests.dispatch.scene import at_once

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin/nateq_webhooks/"
RETRY = "/admin/nateq_webhooks/run/retry/"
ACKNOWLEDGE = "/admin/nateq_webhooks/run/acknowledge/"
CRM = "shop.crm"


@pytest.fixture(autouse=True)
def _receivers(connect: Connect) -> None:
    for name in (CRM, "shop.mail"):
        connect(signals.ticket_created, lambda **kwargs: None, name)


@pytest.fixture
def failed(webhook: Webhook) -> list[Run]:
    """Runs that failed for good: three of the CRM alike, one with another error, one of the mail."""
    alike = store_dead_runs(webhook, 3, receiver=CRM, error="LookupError: no customer 7", finished_at=ago(minutes=4))
    other = store_dead_runs(webhook, 1, receiver=CRM, error="Timeout: slow", finished_at=ago(minutes=4))
    mail = store_dead_runs(webhook, 1, receiver="shop.mail", error="LookupError: no customer 7")
    return [*alike, *other, *mail]


def links(page: str, label: str) -> list[str]:
    """The addresses of the links of this label."""
    found = re.findall(rf'<a[^>]*href="([^"]*)"[^>]*>{label}', page)
    return [unescape(url) for url in found]


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page that asks, without Django's token."""
    fields = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page))
    fields.pop("csrfmiddlewaretoken", None)
    return {name: unescape(value) for name, value in fields.items()}


def tick(client: Client, runs: list[Run], query: str = "", **extra: Any) -> Any:
    """Press the list's "Go" with some rows ticked."""
    ticked = [str(run.pk) for run in runs]
    return client.post(
        f"{RUNS}?{query}", {"action": "retry_selected", "_selected_action": ticked, "index": "0", **extra}
    )


def retried() -> list[tuple[int, str]]:
    runs = Run.objects.exclude(round=0).order_by("delivery_id", "receiver")
    return [(run.delivery_id, run.receiver) for run in runs]


def pairs(runs: list[Run]) -> list[tuple[int, str]]:
    return sorted((run.delivery_id, run.receiver) for run in runs)


class TestFromTheDashboard:
    def test_the_lines_runs_are_shown_and_no_more(self, boss: Client, failed: list[Run]) -> None:
        page = shown(boss, DASHBOARD)
        by_line = [pks(boss, url.partition("?")[2], RUNS) for url in links(page, "Show these")]

        assert sorted(map(sorted, by_line)) == sorted([[run.pk for run in failed[:3]], [failed[3].pk], [failed[4].pk]])

    def test_the_lines_runs_are_retried_and_no_more_after_a_confirmation(self, boss: Client, failed: list[Run]) -> None:
        url = next(url for url in links(shown(boss, DASHBOARD), "Replay these") if "crm" in url)

        page = shown(boss, url)

        assert "Retry 3 failed runs?" in page
        assert "again, as new runs: 3" in page
        assert retried() == []
        answer = boss.post(RETRY, {**hidden(page), "reason": "CRM is back"})
        replay = Replay.objects.get()
        assert answer["Location"] == reverse("admin:nateq_webhooks_replay_change", args=[replay.pk])
        assert (replay.by, replay.reason, replay.only_failed) == ("boss", "CRM is back", True)
        assert retried() == pairs(failed[:3])
        assert f"Replay {replay.pk}: 3 runs made." in shown(boss, answer["Location"])
        assert LogEntry.objects.get().get_change_message() == "Requested a retry of 3 failed runs."

    def test_the_page_names_the_lines_receiver_and_error(self, boss: Client, failed: list[Run]) -> None:
        url = next(url for url in links(shown(boss, DASHBOARD), "Replay these") if "crm" in url)

        page = shown(boss, url)

        for label, value in (("Receiver that failed", CRM), ("Failed like this", "LookupError: no customer 7")):
            assert re.search(rf"<dt>{label}</dt><dd>(<[^>]*>)*{value}<", page), label
        assert "Chosen one by one" not in page

    def test_what_can_not_run_again_is_counted_apart(self, boss: Client, webhook: Webhook) -> None:
        kept, removed, other_event = store_dead_runs(webhook, 3, receiver=CRM, error="LookupError: no customer 7")
        gone = store_dead_runs(webhook, 1, receiver="shop.gone", error="LookupError: no customer 7")
        Delivery.objects.filter(pk=removed.delivery_id).update(content_change="retention")
        Delivery.objects.filter(pk=other_event.delivery_id).update(event="lead.created")

        page = shown(boss, f"{RETRY}?runs={','.join(str(run.pk) for run in [kept, removed, other_event, *gone])}")

        assert "Retry 1 failed run?" in page
        assert "again, as new runs: 1<" in page
        assert "left out, because the delivery&#x27;s content was removed: 1<" in page
        assert "left alone, because their receiver is not connected to the event any more: 2<" in page
        boss.post(RETRY, hidden(page))
        replay = Replay.objects.get()
        assert (replay.runs, replay.without_content, replay.disconnected) == (1, 1, 2)
        page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))
        assert "2 runs left alone, as their receivers are not connected" in page
        assert re.search(r"Receiver not connected:</label>\s*<div class=\"readonly\">2<", page)

    def test_what_has_succeeded_since_the_page_was_shown_is_left_alone(self, boss: Client, failed: list[Run]) -> None:
        url = next(url for url in links(shown(boss, DASHBOARD), "Replay these") if "crm" in url)
        fields = hidden(shown(boss, url))
        Run.objects.create(
            delivery_id=failed[0].delivery_id, receiver=CRM, round=900, status="succeeded", next_try_at=None
        )

        boss.post(RETRY, fields)

        replay = Replay.objects.get()
        assert (replay.runs, replay.skipped) == (2, 1)

    def test_runs_that_will_be_tried_again_are_tried_now_and_not_doubled(self, boss: Client, failed: list[Run]) -> None:
        Heartbeat.objects.create(name="host-1")
        Run.objects.filter(pk__in=[run.pk for run in failed[:3]]).update(
            status="failed", next_try_at=timezone.now() + timedelta(hours=1)
        )
        [url] = links(shown(boss, DASHBOARD), "Try these now")

        boss.post(RETRY, hidden(shown(boss, url)))

        assert retried() == []
        assert Replay.objects.get().brought_forward == 3
        assert Run.objects.filter(status="failed", next_try_at__lte=timezone.now()).count() == 3

    def test_inline_and_without_a_worker_they_run_in_the_request(self, boss: Client, failed: list[Run]) -> None:
        [url, *_others] = links(shown(boss, DASHBOARD), "Replay these")

        boss.post(RETRY, hidden(shown(boss, url)))

        made = Run.objects.exclude(round=0)
        assert made.exists()
        assert set(made.values_list("tries", flat=True)) == {1}

    def test_nothing_is_asked_for_if_the_receiver_is_not_connected(self, boss: Client, webhook: Webhook) -> None:
        store_dead_runs(webhook, 1, receiver="shop.gone")
        assert links(shown(boss, DASHBOARD), "Replay these") == []

        page = shown(boss, f"{RETRY}?receiver=shop.gone")
        answer = boss.post(RETRY, hidden(page))

        assert "There is nothing to retry" in page
        assert answer.status_code == 400
        assert Replay.objects.count() == 0

    def test_a_group_that_is_gone_is_named(self, boss: Client, failed: list[Run]) -> None:
        url = links(shown(boss, DASHBOARD), "Replay these")[0]
        Run.objects.update(status="succeeded")

        answer = boss.get(url)

        assert answer.status_code == 400
        assert "No runs have failed like this" in answer.content.decode()


class TestWhatWasReplayedSince:
    """The page, the command and what is done count the same."""

    @pytest.mark.parametrize(
        ("latest", "done"),
        [("waiting", (0, 1, 0)), ("running", (0, 0, 1)), ("succeeded", (0, 0, 1)), ("failed", (0, 1, 0))],
    )
    def test_by_the_status_of_its_latest_run(
        self, boss: Client, webhook: Webhook, latest: str, done: tuple[int, int, int]
    ) -> None:
        [run] = store_dead_runs(webhook, 1, receiver=CRM)
        for number in (1, 2):  # a later round that failed, and the latest one
            lease = uuid.uuid4() if (number, latest) == (2, "running") else None
            store_run(run.delivery, CRM, status="dead" if number == 1 else latest, round=number, lease=lease)
        again, forward, alone = done

        page = " ".join(unescape(re.sub(r"<[^>]+>", " ", shown(boss, f"{RETRY}?receiver={CRM}"))).split())
        said = output("nateq_replay", "--failed", "--receiver", CRM, "--dry-run")
        replay = dispatch.replay([run.delivery], only_failed=True)

        assert (replay.runs, replay.brought_forward, replay.skipped + replay.already_running) == done
        assert f"as new runs: {again} brought forward, because they wait for a try: {forward}" in page
        assert f"left alone, because they were replayed since: {alone}" in page
        assert f"{forward} brought forward. Left alone, because they were replayed since: {alone}." in said


class TestFromTheList:
    def test_the_runs_that_were_ticked(self, boss: Client, failed: list[Run]) -> None:
        page = tick(boss, [failed[0], failed[4]]).content.decode()
        assert "Retry 2 failed runs?" in page

        boss.post(RETRY, hidden(page))

        assert retried() == pairs([failed[0], failed[4]])

    @pytest.mark.parametrize(
        ("query", "which", "words"),
        [
            (f"receiver={CRM}", slice(0, 4), "shop.crm"),
            (f"receiver={CRM}&status__exact=dead", slice(0, 4), "Failed for good"),
            (f"receiver={CRM}&error=lookup", slice(0, 3), "The error contains"),
            ("", slice(0, 5), "none: everything that has failed"),
        ],
    )
    def test_all_that_the_filters_find(
        self, boss: Client, failed: list[Run], query: str, which: slice, words: str
    ) -> None:
        page = tick(boss, failed[:1], query, select_across="1").content.decode()
        assert f"Retry {len(failed[which])} failed runs?" in page
        assert words in page

        boss.post(RETRY, hidden(page))

        assert retried() == pairs(failed[which])

    def test_a_period_with_hours(self, boss: Client, failed: list[Run]) -> None:
        noon = timezone.now().replace(microsecond=0) - timedelta(days=1)
        for number, run in enumerate(failed):
            Run.objects.filter(pk=run.pk).update(created_at=noon + timedelta(minutes=number))
        since, until = (noon + timedelta(minutes=minutes) for minutes in (1, 3))
        query = f"created_at__gte={since:%Y-%m-%dT%H:%M:%SZ}&created_at__lt={until:%Y-%m-%dT%H:%M:%SZ}"
        assert sorted(pks(boss, query, RUNS)) == [failed[1].pk, failed[2].pk]

        page = tick(boss, failed[:1], query, select_across="1").content.decode()
        boss.post(RETRY, hidden(page))

        assert "Run created before" in page
        assert retried() == pairs(failed[1:3])

    def test_nothing_ticked_is_not_everything(self, boss: Client, failed: list[Run]) -> None:
        tick(boss, [])
        answer = boss.post(RETRY, {})

        assert answer.status_code == 400
        assert "No run is named." in answer.content.decode()
        assert Replay.objects.count() == 0

    def test_runs_that_have_not_failed_are_not_retried(self, boss: Client, failed: list[Run]) -> None:
        Run.objects.filter(pk=failed[0].pk).update(status="succeeded")

        page = tick(boss, failed[:2]).content.decode()
        assert "Retry 1 failed run?" in page
        answer = tick(boss, failed[:1], "status__exact=succeeded", select_across="1")

        assert answer.status_code == 400
        assert "have not failed" in answer.content.decode()

    def test_a_search_is_taken_by_the_keys_of_its_runs(self, boss: Client, failed: list[Run]) -> None:
        delivery = Delivery.objects.get(pk=failed[0].delivery_id)

        page = tick(boss, failed[:1], f"q={delivery.delivery_id}", select_across="1").content.decode()

        assert hidden(page) == {"runs": str(failed[0].pk)}

    def test_many_are_more_than_a_number_and_become_a_job(
        self, boss: Client, failed: list[Run], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_selection, "MAX_COUNTED", 2)
        monkeypatch.setattr(retry_page, "MAX_IN_REQUEST", 2)

        page = tick(boss, failed[:1], f"receiver={CRM}", select_across="1").content.decode()
        assert "Retry more than 2 failed runs?" in page
        assert "workers retry them" in page
        boss.post(RETRY, hidden(page))

        assert retried() == []
        assert Replay.objects.get().finished_at is None

    def test_the_filter_by_error_is_for_those_who_see_errors(
        self, staff: Callable[..., Client], failed: list[Run]
    ) -> None:
        reader = staff("view_run", "view_delivery")

        assert "The error contains" not in shown(reader, RUNS)
        assert pks(reader, "error=lookup", RUNS) == []
        assert len(pks(staff("view_run", "view_payload"), "error=LOOKUP", RUNS)) == 4

    def test_it_needs_the_permission_to_replay(self, staff: Callable[..., Client], failed: list[Run]) -> None:
        reader = staff("view_run", "view_delivery")

        assert "retry_selected" not in shown(reader, RUNS)
        assert reader.post(RETRY, {"runs": str(failed[0].pk)}).status_code == 403
        assert reader.get(f"{RETRY}?receiver={CRM}").status_code == 403
        assert links(shown(reader, DASHBOARD), "Replay these") == []
        assert Replay.objects.count() == 0


@pytest.mark.django_db(transaction=True)
class TestTwoPressesAtOnce:
    """Two people press the same button at the same moment."""

    @staticmethod
    def at_once(boss: Client, url: str, fields: dict[str, str]) -> None:
        def press() -> int:
            client = Client()
            client.cookies = boss.cookies
            return client.post(url, fields).status_code

        answers = at_once([press] * 2)

        assert 302 in answers
        assert set(answers) <= {302, 400}  # 400: the other one came when nothing was left to be retried

    def test_of_retry_make_one_run_each(self, boss: Client, failed: list[Run]) -> None:
        self.at_once(boss, RETRY, {"runs": ",".join(str(run.pk) for run in failed)})

        assert retried() == pairs(failed)

    def test_of_try_now_make_none(self, boss: Client, failed: list[Run]) -> None:
        run = failed[0]
        Heartbeat.objects.create(name="host-1")
        Run.objects.filter(pk=run.pk).update(status="failed", next_try_at=timezone.now() + timedelta(hours=1))

        self.at_once(boss, reverse("admin:nateq_webhooks_delivery_try_now", args=[run.delivery_id]), {})

        assert retried() == []
        assert Run.objects.get(pk=run.pk).next_try_at <= timezone.now()  # type: ignore[operator]

    def test_of_run_the_failed_ones_again_make_one_run(self, boss: Client, failed: list[Run]) -> None:
        url = reverse("admin:nateq_webhooks_delivery_replay", args=[failed[0].delivery_id])

        def press() -> int:
            client = Client()
            client.cookies = boss.cookies
            return client.post(url, {"which": "failed"}).status_code

        answers = at_once([press] * 2)

        assert set(answers) <= {200, 302}  # 200: the other one was first, and nothing is left to run
        assert retried() == pairs(failed[:1])


class TestAcknowledging:
    def press(self, client: Client, receiver: str = CRM) -> Any:
        groups = failures(with_text=True).groups
        key = next(group.key for group in groups if group.receiver == receiver)
        return client.post(f"{ACKNOWLEDGE}?failure={key}&receiver={receiver}", {"next": DASHBOARD})

    def test_the_group_disappears_with_who_and_when(self, boss: Client, failed: list[Run]) -> None:
        assert shown(boss, DASHBOARD).count("LookupError: no customer 7</bdi>") == 2

        answer = self.press(boss)

        assert answer["Location"] == DASHBOARD
        page = shown(boss, DASHBOARD)
        assert page.count("LookupError: no customer 7</bdi>") == 1
        assert "One kind of failure is acknowledged" in page
        assert "3 runs, acknowledged by boss" in page
        seen = FailureAcknowledgement.objects.get()
        assert (seen.by, seen.number, seen.receiver) == ("boss", 3, CRM)

    def test_it_comes_back_when_another_run_fails_alike(
        self, boss: Client, failed: list[Run], webhook: Webhook
    ) -> None:
        self.press(boss)

        store_dead_runs(webhook, 1, receiver=CRM, error="LookupError: no customer 9", finished_at=timezone.now())

        assert "LookupError: no customer 9</bdi>" in shown(boss, DASHBOARD)

    def test_it_does_not_come_back_for_another_kind_or_when_it_shrinks(
        self, boss: Client, failed: list[Run], webhook: Webhook
    ) -> None:
        self.press(boss)

        store_dead_runs(webhook, 1, receiver=CRM, error="KeyError: 'id'", finished_at=timezone.now())
        Run.objects.filter(pk=failed[0].pk).update(status="succeeded")

        assert [group.exception for group in failures(with_text=True).groups].count("LookupError") == 1

    def test_runs_that_are_retried_alike_do_not_bring_it_back_but_further_ones_do(
        self, boss: Client, failed: list[Run], webhook: Webhook
    ) -> None:
        alike = Run.objects.filter(pk__in=[run.pk for run in failed[:3]])
        alike.update(status="failed", next_try_at=timezone.now() + timedelta(hours=1))
        retrying = next(group for group in failures(with_text=True).groups if group.status == "failed")
        boss.post(f"{ACKNOWLEDGE}?failure={retrying.key}&receiver={CRM}")

        alike.update(finished_at=timezone.now())  # they failed again
        assert "failed" not in [group.status for group in failures(with_text=True).groups]

        [further] = store_dead_runs(webhook, 1, receiver=CRM, error="LookupError: no customer 8")
        Run.objects.filter(pk=further.pk).update(status="failed", next_try_at=timezone.now())
        assert "failed" in [group.status for group in failures(with_text=True).groups]

    def test_it_counts_for_users_who_do_not_see_the_errors(
        self, boss: Client, staff: Callable[..., Client], failed: list[Run]
    ) -> None:
        self.press(boss)

        assert sorted((group.receiver, group.number) for group in failures(with_text=False).groups) == [
            (CRM, 1),
            ("shop.mail", 1),
        ]

    def test_it_needs_the_permission_to_replay(self, staff: Callable[..., Client], failed: list[Run]) -> None:
        reader = staff("view_run", "view_delivery", "view_payload")

        assert self.press(reader).status_code == 403
        assert "Acknowledge" not in shown(reader, DASHBOARD)
        assert not FailureAcknowledgement.objects.exists()

    def test_it_leads_to_no_other_site(self, boss: Client, failed: list[Run]) -> None:
        key = failures(with_text=True).groups[0].key

        answer = boss.post(f"{ACKNOWLEDGE}?failure={key}", {"next": "https://evil.example/"})

        assert answer["Location"] == RUNS


def test_a_replay_of_the_deliveries_api_still_takes_failed_ones(failed: list[Run]) -> None:
    made = dispatch.replay(Delivery.objects.all(), only_failed=True)

    assert made.runs == len(failed)
