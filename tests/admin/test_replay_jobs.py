"""Replaying many from the list: an action, a page that asks, a page that shows how far it got."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin import replays
from nateq_webhooks.admin.deliveries import replay_many
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.replays import request_replay
from nateq_webhooks.dispatch.selection import Selection
from nateq_webhooks.models import Delivery, Replay, Run, Webhook
from nateq_webhooks.models.hold import Heartbeat
from tests.admin.pages import shown
from tests.builders import store_deliveries
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db(transaction=True)

LIST = reverse("admin:nateq_webhooks_delivery_changelist")
CONFIRM = "/admin/nateq_webhooks/delivery/replay-many/"


def steer_url(replay: Replay) -> str:
    return reverse("admin:nateq_webhooks_replay_steer", args=[replay.pk])


@pytest.fixture
def stored(sender: Sender, connect: Connect) -> list[Delivery]:
    """Three deliveries that two receivers have run."""
    connect(signals.event_received, lambda **kwargs: None, "shop.crm")
    connect(signals.event_received, lambda **kwargs: None, "shop.mail")
    for number, event in enumerate(["ticket.created", "ticket.created", "message.sent"]):
        sender.post(envelope(event, delivery_id=f"dlv_{number}"))
    return list(Delivery.objects.order_by("pk"))


def tick(client: Client, deliveries: list[Delivery], action: str = "replay_selected", **extra: Any) -> Any:
    """Press the list's "Go" with some rows ticked."""
    return client.post(
        LIST + extra.pop("query", ""),
        {"action": action, "_selected_action": [str(one.pk) for one in deliveries], "index": "0", **extra},
    )


def hidden(page: str) -> dict[str, str]:
    """The hidden fields of the page that asks, without Django's token."""
    fields = dict(re.findall(r'<input type="hidden" name="([a-z_]+)" value="([^"]*)">', page))
    fields.pop("csrfmiddlewaretoken", None)
    return fields


def test_the_selected_deliveries_are_replayed_after_a_confirmation(boss: Client, stored: list[Delivery]) -> None:
    page = tick(boss, stored[:2]).content.decode()
    assert "2 deliveries" in page
    assert Run.objects.exclude(round=0).count() == 0

    answer = boss.post(CONFIRM, {**hidden(page), "receivers": ["shop.crm"], "reason": "CRM was down"})

    replay = Replay.objects.get()
    assert answer["Location"] == reverse("admin:nateq_webhooks_replay_change", args=[replay.pk])
    assert (replay.by, replay.reason, replay.receivers) == ("boss", "CRM was down", ["shop.crm"])
    made = Run.objects.filter(round=replay.pk).order_by("delivery_id")
    assert (
        [(run.delivery_id, run.receiver, run.status) for run in made]
        == [
            (one.pk, "shop.crm", "succeeded")  # inline: the request has run them
            for one in stored[:2]
        ]
    )
    assert "CRM was down" in boss.get(answer["Location"]).content.decode()


def test_every_receiver_of_the_event_runs_if_that_is_chosen(boss: Client, stored: list[Delivery]) -> None:
    boss.post(CONFIRM, {**hidden(tick(boss, stored[:1]).content.decode()), "which": "all"})

    assert set(Run.objects.exclude(round=0).values_list("receiver", flat=True)) == {"shop.crm", "shop.mail"}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({}, "Choose which receivers run again."),
        ({"which": "some"}, "Choose which receivers run again."),
        ({"which": "all", "receivers": ["shop.crm"]}, "Choose one or the other."),
    ],
)
def test_nothing_chosen_does_not_mean_every_receiver(
    boss: Client, stored: list[Delivery], chosen: dict[str, Any], said: str
) -> None:
    answer = boss.post(CONFIRM, {"event": "ticket.created", **chosen})

    assert answer.status_code == 400
    assert said in answer.content.decode()
    assert Replay.objects.count() == 0


def test_only_those_that_failed_run_if_that_is_chosen(boss: Client, stored: list[Delivery]) -> None:
    Run.objects.filter(delivery=stored[0], receiver="shop.mail").update(status="dead")

    boss.post(CONFIRM, {"event": "ticket.created", "which": "failed"})

    assert list(Run.objects.exclude(round=0).values_list("delivery_id", "receiver")) == [(stored[0].pk, "shop.mail")]


def test_the_page_that_asks_repeats_the_filter(boss: Client, stored: list[Delivery]) -> None:
    page = boss.get(CONFIRM, {"event": "ticket.created", "status": "processed", "since": "2020-01-01T12:00"})

    text = page.content.decode()
    assert "<dt>Event</dt>" in text
    assert "<dt>Status</dt><dd>Processed</dd>" in text
    assert "<dt>Received at or after</dt>" in text


def test_select_all_means_all_rows_of_the_filter(boss: Client, stored: list[Delivery]) -> None:
    page = tick(boss, stored[:1], query="?event=ticket.created", select_across="1").content.decode()
    assert "2 deliveries" in page
    assert hidden(page) == {"event": "ticket.created"}

    boss.post(CONFIRM, {**hidden(page), "which": "all"})

    assert set(Run.objects.exclude(round=0).values_list("delivery_id", flat=True)) == {one.pk for one in stored[:2]}


def test_many_deliveries_become_a_job_that_is_continued_on_request(
    boss: Client, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_many, "MAX_IN_REQUEST", 1)

    answer = boss.post(CONFIRM, {"event": "ticket.created", "which": "all"})

    replay = Replay.objects.get()
    assert replay.finished_at is None
    assert Run.objects.exclude(round=0).count() == 0
    page = boss.get(answer["Location"]).content.decode()
    assert "this does not continue by itself" in page
    assert 'http-equiv="refresh"' not in page

    boss.post(steer_url(replay), {"do": "go on"})

    replay.refresh_from_db()
    assert (replay.deliveries, replay.runs) == (2, 4)
    assert replay.finished_at is not None
    assert Run.objects.filter(round=replay.pk).count() == 4


def test_the_page_reloads_itself_while_a_worker_runs(
    boss: Client, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_many, "MAX_IN_REQUEST", 1)
    Heartbeat.objects.create(name="here:1", seen_at=timezone.now())

    page = boss.get(boss.post(CONFIRM, {"event": "ticket.created", "which": "all"})["Location"]).content.decode()

    assert 'http-equiv="refresh"' in page


def test_a_cancelled_job_makes_no_more_runs(
    boss: Client, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay_many, "MAX_IN_REQUEST", 1)
    boss.post(CONFIRM, {"event": "ticket.created", "which": "all"})
    replay = Replay.objects.get()

    boss.post(steer_url(replay), {"do": "cancel"})
    call_command("nateq_worker", "--once", verbosity=0)

    replay.refresh_from_db()
    assert replay.is_cancelled
    assert Run.objects.exclude(round=0).count() == 0


def test_the_history_of_each_delivery_and_of_the_replay_has_an_entry(boss: Client, stored: list[Delivery]) -> None:
    boss.post(CONFIRM, {**hidden(tick(boss, stored[:2]).content.decode()), "which": "all"})

    entries = LogEntry.objects.values_list("content_type__model", "object_id")
    expected = [("delivery", str(one.pk)) for one in stored[:2]] + [("replay", str(Replay.objects.get().pk))]
    assert sorted(entries) == sorted(expected)


def test_a_receiver_that_is_not_connected_is_named(boss: Client, stored: list[Delivery]) -> None:
    answer = boss.post(CONFIRM, {"event": "ticket.created", "receivers": ["shop.gone"]})

    assert answer.status_code == 400
    assert "No receiver called &quot;shop.gone&quot; is connected" in answer.content.decode()


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"deliveries": "x"},
        {"deliveries": "1,,2"},
        {"deliveries": "9" * 30},
        {"deliveries": "-1"},
        {"event": "a\0"},
        {"webhook": "x"},
        {"since": "yesterday"},
        {"since": "2026-99-99T00:00"},
    ],
)
def test_a_request_without_a_valid_selection_is_refused_and_never_means_all(
    boss: Client, stored: list[Delivery], data: dict[str, str]
) -> None:
    assert boss.get(CONFIRM, data).status_code == 400
    assert boss.post(CONFIRM, data).status_code == 400
    assert Replay.objects.count() == 0


def test_a_search_that_finds_nothing_is_no_selection(boss: Client, stored: list[Delivery]) -> None:
    assert tick(boss, stored[:1], query="?q=tkt_unknown", select_across="1").status_code == 400


def test_all_without_a_filter_is_an_explicit_selection(boss: Client, stored: list[Delivery]) -> None:
    page = tick(boss, stored[:1], select_across="1").content.decode()

    assert hidden(page) == {"everything": "yes"}
    boss.post(CONFIRM, {**hidden(page), "which": "all"})

    assert Replay.objects.get().deliveries == 3


def test_select_all_means_all_rows_of_a_filter_of_several_values(boss: Client, stored: list[Delivery]) -> None:
    Delivery.objects.filter(pk=stored[0].pk).update(status="dead")
    Delivery.objects.filter(pk=stored[1].pk).update(status="failed")

    page = tick(boss, stored[:1], query="?status__exact=dead&status__exact=failed", select_across="1").content.decode()

    assert hidden(page) == {"deliveries": f"{stored[1].pk},{stored[0].pk}"}


def test_a_day_begins_at_midnight_of_the_users_time_zone(boss: Client, stored: list[Delivery]) -> None:
    with timezone.override("Asia/Riyadh"):
        page = tick(boss, stored[:1], query="?received_at__gte=2026-01-01", select_across="1").content.decode()

    assert hidden(page) == {"since": "2026-01-01T00:00:00+03:00"}


def test_a_user_who_may_not_see_replays_comes_back_to_the_list(
    staff: Callable[..., Client], stored: list[Delivery]
) -> None:
    answer = staff("view_delivery", "replay_delivery").post(
        CONFIRM, {"event": "ticket.created", "which": "all"}, follow=True
    )

    assert answer.redirect_chain == [(LIST, 302)]
    assert "Requested a replay of 2 deliveries." in answer.content.decode()


def test_a_reason_may_be_long_and_hold_anything(boss: Client, stored: list[Delivery]) -> None:
    boss.post(CONFIRM, {"event": "ticket.created", "which": "all", "reason": "\0 x" * 900})

    assert len(Replay.objects.get().reason) == 500


def test_the_history_of_an_invalid_delivery_does_not_say_that_it_ran(boss: Client, sender: Sender) -> None:
    sender.post(b"no JSON")

    boss.post(CONFIRM, {"status": "invalid", "which": "all"})

    assert list(LogEntry.objects.values_list("content_type__model", flat=True)) == ["replay"]


def test_the_page_of_a_replay_shows_its_selection(boss: Client, stored: list[Delivery]) -> None:
    fields: dict[str, Any] = {
        "event": "ticket.created",
        "status": "processed",
        "webhook": str(Webhook.objects.get().pk),
    }
    asked = shown(boss, CONFIRM, fields)
    replay = request_replay(api.Selection(**fields, since=datetime(2026, 6, 1, tzinfo=UTC)))

    page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))

    words = [("Webhook", "shop"), ("Event", "ticket.created")]
    for label, value in words:
        assert f'<dt>{label}</dt><dd><bdi class="nateq-text">{value}</bdi></dd>' in asked
        assert f'<div>{label}: <bdi class="nateq-text">{value}</bdi></div>' in page
    assert "<dt>Status</dt><dd>Processed</dd>" in asked
    assert "<div>Status: Processed</div>" in page
    assert "<div>Received at or after: <time " in page


def test_each_condition_of_a_replay_has_words(boss: Client, stored: list[Delivery]) -> None:
    moment = datetime(2026, 6, 1, tzinfo=UTC)
    given = api.Selection(
        organization="org_1",
        resource="tkt_1",
        receiver="shop.crm",
        run_status="dead",
        error="KeyError",
        deliveries=(1, 2),
        runs=(3,),
        until=moment,
        runs_since=moment,
        runs_until=moment,
    )
    replay = request_replay(given)

    page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))

    for text in ("Chosen one by one: 2", "Status of the run: Failed for good", "Received before: ", "Organization: "):
        assert f"<div>{text}" in page
    for text in ("Resource id: ", "Receiver that failed: ", "The error contains: ", "Run created at or after: "):
        assert f"<div>{text}" in page
    assert "Run created before: " in page
    assert "run_status" not in page


def test_a_replay_without_a_condition_says_so(boss: Client, stored: list[Delivery]) -> None:
    for replay, text in (
        (dispatch.replay(stored[:1]), "the deliveries that were named"),
        (request_replay(Selection()), "none: every delivery, or those that were named"),
    ):
        page = shown(boss, reverse("admin:nateq_webhooks_replay_change", args=[replay.pk]))
        assert f'<div class="readonly">{text}</div>' in page


def test_a_finished_replay_is_not_cancelled_and_none_continues_without_being_asked(
    boss: Client, stored: list[Delivery]
) -> None:
    over = dispatch.replay(stored[:1])
    waiting = request_replay(api.Selection(event="message.sent"))

    boss.post(steer_url(over), {"do": "cancel"})
    boss.post(steer_url(waiting), {})

    over.refresh_from_db()
    waiting.refresh_from_db()
    assert not over.is_cancelled
    assert waiting.runs == 0
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("receivers", "said"),
    [(None, "those whose last run failed"), (["shop.crm"], "shop.crm, if the last run failed")],
)
def test_the_page_of_a_replay_of_failed_receivers_says_so(
    boss: Client, stored: list[Delivery], receivers: list[str] | None, said: str
) -> None:
    replay = request_replay(api.Selection(organization="org_1"), receivers, only_failed=True)

    page = boss.get(reverse("admin:nateq_webhooks_replay_change", args=[replay.pk])).text

    assert said in page
    assert '<div>Organization: <bdi class="nateq-text">org_1</bdi></div>' in page


@pytest.mark.parametrize(("counting", "seconds"), [(0.0, 3), (0.3, 3), (1.25, 13)])
def test_what_takes_long_to_count_is_counted_a_tenth_of_the_time_at_most(counting: float, seconds: int) -> None:
    assert replays.seconds_to_reload(counting) == seconds


def test_a_page_whose_count_takes_long_is_loaded_less_often_and_says_so(
    boss: Client, stored: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    Heartbeat.objects.create(name="host-1")
    url = reverse("admin:nateq_webhooks_replay_change", args=[request_replay(api.Selection(event="ticket.created")).pk])
    quick = shown(boss, url)
    monkeypatch.setattr(replays, "seconds_to_reload", lambda counting: 13)
    slow = shown(boss, url)

    for page, seconds in ((quick, 3), (slow, 13)):
        assert f'data-nateq-under-way="{seconds}"' in page
        assert f'http-equiv="refresh" content="{seconds}"' in page
    assert "counted again every" not in quick
    assert "counted again every 13 seconds" in slow


def test_large_numbers_are_grouped(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 1_234, status="dead")

    page = shown(boss, "/admin/nateq_webhooks/delivery/replay-many/?status=dead")

    assert "Replay 1,234 deliveries" in page
