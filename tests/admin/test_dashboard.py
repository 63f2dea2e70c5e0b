"""The dashboard on the app's index: how all webhooks are, what needs somebody, and who may see which part of it."""

import re
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from nateq_webhooks import dispatch, signals
from nateq_webhooks.admin.dashboard import failures as failures_module
from nateq_webhooks.admin.dashboard import page as page_module
from nateq_webhooks.admin.dashboard import webhook_table
from nateq_webhooks.admin.dashboard.failures import failures
from nateq_webhooks.admin.dashboard.silent_webhooks import find_silent
from nateq_webhooks.admin.dashboard.statistics import read_statistics
from nateq_webhooks.dispatch import api
from nateq_webhooks.inbox.diagnosis import Cause, Finding, hint
from nateq_webhooks.inbox.recorder import recorder
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import Heartbeat, Hold, receiver_scope
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.admin.pages import shown
from tests.builders import (
    ago,
    build_delivery,
    build_run,
    insert,
    store_dead_runs,
    store_deliveries,
    store_rejection,
    store_run,
)
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db

INDEX = "/admin/nateq_webhooks/"
SECRETIVE = "sara@example.com"


def dashboard(client: Client, url: str = INDEX) -> str:
    return shown(client, url)


def received(webhook: Webhook, **over: Any) -> Delivery:
    """Store a delivery whose receivers have not finished."""
    return store_deliveries(webhook, received_at=ago(hours=1), status="received", **over)[0]


def lines() -> list[tuple[str, str, int]]:
    return [(group.receiver, group.exception, group.number) for group in failures(with_text=True).groups]


def test_hundreds_of_equal_failures_are_one_line_with_their_number_and_a_way_to_replay_them(
    boss: Client, webhook: Webhook, connect: Connect
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
    for made in store_dead_runs(webhook, 400):
        Run.objects.filter(pk=made.pk).update(error=f"IntegrityError: order {made.pk} of 'cus_{made.pk}' is missing")

    shown = dashboard(boss)

    assert lines() == [("shop.open_ticket", "IntegrityError", 400)]
    assert shown.count("IntegrityError:") == 1
    assert ">400<" in shown
    found = re.findall(r'href="([^"]*(?:shop\.open_ticket|failure=)[^"]*)"', shown)
    links = [link.replace("&amp;", "&") for link in found]
    group = {"failure": [failures(with_text=True).groups[0].key], "receiver": ["shop.open_ticket"]}
    asked = {urlsplit(link).path: parse_qs(urlsplit(link).query) for link in links}
    assert asked == {
        "/admin/nateq_webhooks/run/receiver/": {"name": ["shop.open_ticket"]},
        "/admin/nateq_webhooks/run/": {"status__exact": ["dead"], **group},
        "/admin/nateq_webhooks/run/retry/": group,
    }
    assert [boss.get(link).status_code for link in links] == [200, 200, 200]
    assert any("400 failed runs" in boss.get(link).content.decode() for link in links)


def test_receivers_and_exceptions_are_lines_of_their_own_the_most_frequent_first(webhook: Webhook) -> None:
    store_dead_runs(webhook, 2)
    store_dead_runs(webhook, 3, error="KeyError: 'id'")
    store_dead_runs(webhook, 1, receiver="shop.audit")
    store_dead_runs(webhook, 4, error="ValueError: not a number")

    assert lines() == [
        ("shop.open_ticket", "ValueError", 4),
        ("shop.open_ticket", "KeyError", 3),
        ("shop.open_ticket", "ValueError", 2),
        ("shop.audit", "ValueError", 1),
    ]


def test_a_run_with_a_later_replay_does_not_count(webhook: Webhook) -> None:
    mended, again, untouched = store_dead_runs(webhook, 3)
    Run.objects.bulk_create(
        [
            build_run(mended.delivery, "succeeded", round=3),
            build_run(again.delivery, "dead", round=3, error="KeyError: 'id'"),
            build_run(untouched.delivery, "succeeded", round=3, receiver="shop.audit"),
        ]
    )

    assert sorted(lines()) == [("shop.open_ticket", "KeyError", 1), ("shop.open_ticket", "ValueError", 1)]


@pytest.mark.django_db(transaction=True)
def test_a_replay_that_succeeds_removes_its_run_from_the_dashboard(
    boss: Client, webhook: Webhook, connect: Connect
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
    [made] = store_dead_runs(webhook, 1)
    Delivery.objects.update(body=b'{"event": "ticket.created", "data": {}}')
    assert "ValueError" in dashboard(boss)

    dispatch.replay([made.delivery_id], by="boss")
    api.run_due()

    assert "ValueError" not in dashboard(boss)


def test_failing_runs_count_while_they_are_to_be_tried_again(webhook: Webhook) -> None:
    [failing, waiting, parked] = insert([build_delivery(webhook, ago(minutes=9), "failed") for _ in range(3)])
    Run.objects.bulk_create(
        [
            build_run(failing, "failed", error="ConnectionError: timed out"),
            build_run(failing, "failed", receiver="shop.late", error="KeyError: 1", next_try_at=ago(minutes=9)),
            build_run(waiting, "waiting"),
            build_run(parked, "failed", next_try_at=PARKED_UNTIL),
        ]
    )

    found = failures(with_text=False).groups

    assert {(group.receiver, group.status, group.exception) for group in found} == {
        ("shop.open_ticket", "failed", "ConnectionError"),
        ("shop.late", "failed", "KeyError"),
    }


def numbers_of_runs(page: str) -> list[str]:
    """Return the numbers in the lines of the failures."""
    return re.findall(r'<td data-label="Runs">([^<]*)</td>', page)


def test_no_more_runs_are_grouped_than_the_limit_and_the_page_says_so(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures_module, "MAX_RUNS_READ", 10)
    store_dead_runs(webhook, 12)
    store_dead_runs(webhook, 2, receiver="shop.audit")

    found = failures(with_text=True)

    assert {group.receiver: group.number for group in found.groups} == {"shop.open_ticket": 8, "shop.audit": 2}
    assert found.is_capped
    assert {group.receiver: group.is_capped for group in found.groups} == {
        "shop.open_ticket": True,
        "shop.audit": False,
    }
    monkeypatch.setattr(page_module, "MAX_FAILED_RUNS", 5)
    page = dashboard(boss)
    assert "There are more failures" in page
    assert numbers_of_runs(page) == ["3 or more", "2"]


@pytest.mark.parametrize("limit", [2, 3])
def test_a_number_of_runs_that_are_retrying_says_so_if_there_may_be_more(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(page_module, "MAX_FAILED_RUNS", limit)
    deliveries = insert([build_delivery(webhook, ago(minutes=9), "failed") for _ in range(3)])
    Run.objects.bulk_create(build_run(each, "failed", error="ConnectionError: timed out") for each in deliveries)

    assert numbers_of_runs(dashboard(boss)) == [f"{limit} or more"]

    monkeypatch.setattr(page_module, "MAX_FAILED_RUNS", 4)
    assert numbers_of_runs(dashboard(boss)) == ["3"]


def test_as_many_as_the_limit_are_all_counted(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failures_module, "MAX_RUNS_READ", 10)
    store_dead_runs(webhook, 8)
    store_dead_runs(webhook, 2, receiver="shop.audit")

    found = failures(with_text=True)

    assert [group.number for group in found.groups] == [8, 2]
    assert not found.is_capped


def test_the_newest_failures_are_grouped_if_there_are_more_than_the_limit(
    webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures_module, "MAX_RUNS_READ", 3)
    store_dead_runs(webhook, 5, error="KeyError: old")
    store_dead_runs(webhook, 3, error="KeyError: new")

    assert [group.error for group in failures(with_text=True).groups] == ["KeyError: new"]


def test_texts_of_customers_are_hidden_without_view_payload(staff: Callable[..., Client], webhook: Webhook) -> None:
    store_dead_runs(webhook, 1, error=f"ValueError: {SECRETIVE}")
    store_dead_runs(webhook, 1, error="ValueError: something else")
    store_dead_runs(webhook, 1, error="The worker died, or the receiver hung, on the last try.")
    may = ("view_run", "view_delivery", "view_webhook")

    without, with_it = dashboard(staff(*may)), dashboard(staff(*may, "view_payload"))

    assert SECRETIVE in with_it
    assert "something else" in with_it
    assert SECRETIVE not in without
    assert "something else" not in without
    assert "ValueError" in without
    assert "none: its worker died" in without
    assert all(not group.error for group in failures(with_text=False).groups)
    assert "Replay these" not in without


def test_hostile_text_is_text(boss: Client, webhook: Webhook) -> None:
    store_dead_runs(webhook, 1, error="ValueError: <script>alert(1)</script>\u202eevil", receiver="<b>x</b>\u202e")
    Hold.objects.create(scope=receiver_scope("<i>y</i>\u202e"), paused_at=timezone.now(), reason="<u>z</u>\u202e")
    Webhook.objects.create(name="Shop \u202epohs")

    shown = dashboard(boss)

    for hostile in ("<script>alert(1)", "\u202e", "<b>x</b>", "<i>y</i>", "<u>z</u>"):
        assert hostile not in shown


def test_the_dashboard_shows_since_when_work_is_due(boss: Client, webhook: Webhook) -> None:
    first, second = insert(
        [
            build_delivery(webhook, ago(hours=3), "received", dispatch_at=ago(hours=3)),
            build_delivery(webhook, ago(minutes=2), "received", dispatch_at=ago(minutes=2)),
        ]
    )
    Run.objects.bulk_create([build_run(first, "waiting", next_try_at=ago(hours=5)), build_run(second, "waiting")])

    shown = dashboard(boss).replace("\xa0", " ")

    assert "2 deliveries wait to be dispatched" in shown
    assert "due for 3 hours" in shown
    assert "1 run waits to be started" in shown
    assert "due for 5 hours" in shown
    assert "No worker was ever seen" in shown


def test_work_that_has_just_become_due_is_not_a_backlog(boss: Client, webhook: Webhook) -> None:
    store_run(received(webhook, dispatch_at=ago(seconds=5)), status="waiting", next_try_at=ago(seconds=5))

    assert "Nothing: no failure" in dashboard(boss)


def test_running_workers_are_counted_and_missing_ones_reported(boss: Client, webhook: Webhook) -> None:
    Heartbeat.objects.create(name="one:1", seen_at=timezone.now())
    Heartbeat.objects.create(name="two:2", seen_at=timezone.now() - timedelta(hours=2))
    assert "1 worker is running" in dashboard(boss)
    assert 'href="/admin/nateq_webhooks/run/receivers/"' in dashboard(boss)

    Heartbeat.objects.filter(name="one:1").delete()
    shown = dashboard(boss).replace("\xa0", " ")
    assert "No worker is running" in shown
    assert "seen 2 hours ago" in shown


def test_runs_of_unknown_receivers_are_shown(boss: Client, webhook: Webhook) -> None:
    store_run(received(webhook), status="waiting", next_try_at=PARKED_UNTIL)

    assert "1 run waits for an unknown receiver" in dashboard(boss)


@pytest.mark.django_db(transaction=True)
def test_a_pause_is_shown_with_its_author_reason_and_held_runs(boss: Client, webhook: Webhook) -> None:
    delivery = received(webhook)
    store_run(delivery, status="waiting")
    store_run(delivery, "crm.sync", status="waiting")
    dispatch.pause(receiver="crm.sync", reason="moving", by="layla")
    dispatch.pause(webhook=webhook, reason="inventory", by="omar")

    shown = dashboard(boss)

    assert "Paused: crm.sync" in shown
    assert "1 run is held back. layla: moving" in shown
    assert "Paused: shop" in shown
    assert "2 runs are held back. omar: inventory" in shown  # one of them by both

    dispatch.resume(webhook=webhook)
    assert "Paused: shop" not in dashboard(boss)


class TestNothingNeedsAttention:
    """The dashboard denies only what it has looked at."""

    EVERYTHING = "Nothing: no failures, no backlog, no refused requests, no silent webhooks."

    def test_for_a_superuser(self, boss: Client, webhook: Webhook) -> None:
        assert self.EVERYTHING in dashboard(boss)

    @pytest.mark.parametrize(
        ("permissions", "left_out"),
        [
            (["view_delivery"], ["failed runs, waiting runs and pauses", "refused requests", "silent webhooks"]),
            (["view_rejection", "view_webhook"], ["failed runs, waiting runs and pauses", "silent webhooks"]),
            (["view_run", "view_delivery", "view_webhook"], ["refused requests"]),
        ],
    )
    def test_for_who_sees_a_part(
        self, staff: Callable[..., Client], webhook: Webhook, permissions: list[str], left_out: list[str]
    ) -> None:
        if "view_run" not in permissions:
            store_dead_runs(webhook, 1)
        if "view_rejection" not in permissions:
            store_rejection(webhook)

        shown = dashboard(staff(*permissions))

        assert self.EVERYTHING not in shown
        assert f"<p>Nothing. Not looked at: {', '.join(left_out)}.</p>" in shown

    def test_with_webhooks_that_the_table_does_not_show(self, boss: Client, webhook: Webhook) -> None:
        shown = dashboard(boss, f"{INDEX}?find_webhook=shop")

        assert "Nothing. Not looked at: silence of webhooks that the table does not show." in shown

    def test_with_failures_that_are_acknowledged(self, boss: Client, webhook: Webhook, connect: Connect) -> None:
        connect(signals.ticket_created, lambda **kwargs: None, "shop.open_ticket")
        store_dead_runs(webhook, 3)
        [group] = failures(with_text=True).groups
        boss.post(f"{INDEX}run/acknowledge/?failure={group.key}&receiver={group.receiver}")

        for page in (dashboard(boss), dashboard(boss, f"{INDEX}run/receiver/?name=shop.open_ticket")):
            assert "One kind of failure is acknowledged, and hidden until it grows." in page
            assert "3 runs, acknowledged by boss" in page
            assert self.EVERYTHING not in page
        assert "<p>Nothing but what is acknowledged.</p>" in dashboard(boss)


def test_refused_requests_of_the_last_day_are_counted_by_webhook_and_reason(boss: Client, webhook: Webhook) -> None:
    for hours in (1, 2, 30):
        store_rejection(webhook, received_at=ago(hours=hours))
    store_rejection(webhook, "missing", received_at=ago(minutes=3))

    shown = dashboard(boss)

    assert "shop: 2 refused: Signed with a secret we don&#x27;t know; 1 refused: No signature" in shown
    link = f"/admin/nateq_webhooks/rejection/?webhook__id__exact={webhook.pk}&received_at__gte=-24h"
    assert f'href="{escape(link)}"' in shown
    assert boss.get(link).status_code == 200


def test_one_line_joins_a_silence_and_its_cause(boss: Client, webhook: Webhook) -> None:
    insert(build_delivery(webhook, ago(days=1, hours=number)) for number in range(20))
    certain = hint(Finding(Cause.RENAMED_HEADER, {"header": "X-Sig"}))
    store_rejection(webhook, "missing", received_at=ago(minutes=9), hint=certain)
    store_rejection(webhook, "missing", received_at=ago(minutes=3))

    shown = dashboard(boss)

    line = r"<b><bdi [^>]*>shop: silent since [-\d: ]+; 2 refused: No signature \(signature in another header\)"
    assert len(re.findall(line, shown)) == 1
    assert f"/admin/nateq_webhooks/rejection/?webhook__id__exact={webhook.pk}&amp;reason=missing" in shown


def test_a_silence_without_refusals_leads_to_the_comparison_with_nateq(
    boss: Client, staff: Callable[..., Client], webhook: Webhook
) -> None:
    insert(build_delivery(webhook, ago(days=1, hours=number)) for number in range(20))
    address = f"/admin/nateq_webhooks/webhook/{webhook.pk}/remote/"

    shown = dashboard(boss)
    assert "gone, switched off or set to another URL at Nateq" in shown
    assert address in shown
    assert address not in dashboard(staff("view_delivery", "view_webhook"))


def test_requests_to_unknown_urls_and_to_a_webhook_that_is_off_are_told(
    boss: Client, staff: Callable[..., Client], sender: Sender
) -> None:
    unknown = uuid.uuid4()
    Webhook.objects.update(is_active=False)
    sender.post(envelope())
    for _ in range(2):
        boss.post(f"/nateq/{unknown}/", b"", content_type="text/plain")
    recorder.flush()

    shown = dashboard(boss)
    assert "shop: 1 refused: Webhook switched off" in shown
    assert "Unknown webhook: 2 refused: Unknown URL" in shown
    for link in re.findall(r'href="([^"]*/rejection/\?[^"]+)"', shown):
        assert boss.get(link.replace("&amp;", "&")).status_code == 200
    listed = boss.get("/admin/nateq_webhooks/rejection/?reason=unknown_url").content.decode()
    page = re.findall(r"/admin/nateq_webhooks/rejection/\d+/change/", listed)[0]
    assert str(unknown) in boss.get(page).content.decode()
    assert " refused: " not in dashboard(staff("view_delivery", "view_webhook"))


def silent() -> list[str]:
    return [each.name for each in find_silent(read_statistics(), Webhook.objects.all())]


def test_a_webhook_that_used_to_get_deliveries_and_gets_none_is_silent(boss: Client, webhook: Webhook) -> None:
    insert([build_delivery(webhook, ago(minutes=600 + number * 10)) for number in range(100)])

    assert silent() == ["shop"]
    shown = dashboard(boss).replace("\xa0", " ")
    assert "shop: silent since" in shown
    assert "came 10 hours ago; before that, one came every 10 minutes" in shown


def test_a_usual_or_short_pause_is_not_silence(webhook: Webhook) -> None:
    insert(
        [build_delivery(webhook, ago(hours=hours, minutes=-number)) for hours in (7, 8, 20, 21) for number in range(30)]
    )
    assert silent() == []  # it has been as quiet as this before: every night

    store_deliveries(webhook, received_at=ago(minutes=50))
    assert silent() == []


def test_a_burst_an_inactive_webhook_and_an_unused_one_are_not_silent(webhook: Webhook) -> None:
    off = Webhook.objects.create(name="off", is_active=False)
    Webhook.objects.create(name="unused")
    insert(
        [build_delivery(webhook, ago(hours=30, seconds=-number)) for number in range(200)]
        + [build_delivery(off, ago(minutes=600 + number * 10)) for number in range(100)]
    )

    assert silent() == []


def test_a_webhook_whose_last_delivery_came_long_ago_is_silent(webhook: Webhook) -> None:
    busy = Webhook.objects.create(name="busy")
    insert(
        [build_delivery(webhook, ago(days=90))]
        + [build_delivery(busy, ago(minutes=number * 300)) for number in range(80)]
    )

    assert silent() == ["shop"]


def test_a_webhook_stays_silent_when_its_deliveries_are_older_than_the_chart(boss: Client, webhook: Webhook) -> None:
    insert([build_delivery(webhook, ago(days=3, minutes=number * 10)) for number in range(100)])

    assert silent() == ["shop"]
    shown = dashboard(boss).replace("\xa0", " ")
    assert "came 3 days ago; before that, one came every 10 minutes" in shown


def test_each_webhook_has_its_line_and_all_have_a_chart(boss: Client, webhook: Webhook) -> None:
    off = Webhook.objects.create(name="off", is_active=False)
    insert([build_delivery(webhook, ago(hours=1)), build_delivery(off, ago(hours=2), "dead")])

    shown = dashboard(boss)

    assert shown.count('<svg class="nateq-chart') == 3
    assert f'href="/admin/nateq_webhooks/webhook/{webhook.pk}/change/"' in shown
    assert "100 %" in shown
    assert 'aria-labelledby="nateq-all-title nateq-all-desc"' in shown
    identities = re.findall(r' id="([^"]+)"', shown)
    assert len(identities) == len(set(identities))


def test_the_page_says_that_it_shows_only_the_first_webhooks(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_table, "MAX_WEBHOOKS", 2)
    Webhook.objects.create(name="another")
    store_deliveries(webhook, received_at=ago(hours=1))
    assert "first 2 by name" not in dashboard(boss)

    Webhook.objects.create(name="zebra")
    shown = dashboard(boss)
    assert "first 2 by name" in shown
    assert "zebra" not in shown


def test_the_worst_comes_first(boss: Client, webhook: Webhook) -> None:
    store_run(received(webhook), status="waiting", next_try_at=ago(hours=5))
    Heartbeat.objects.create(name="one:1")
    Hold.objects.create(scope=receiver_scope("crm"), paused_at=timezone.now())

    shown = dashboard(boss)

    places = [shown.index(text) for text in ("1 run waits to be started", "Paused: crm", "1 worker is running")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("may", "sees", "sees_not"),
    [
        (["view_webhook"], [], ["Needs attention", "nateq-chart", "ValueError", " refused: "]),
        (["view_delivery"], ["Needs attention", "nateq-chart"], ["ValueError", " refused: ", "Paused", "worker"]),
        (["view_run"], ["ValueError", "Paused", "worker"], ["nateq-chart", " refused: "]),
        (["view_rejection", "view_webhook"], [" refused: "], ["ValueError", "nateq-chart", "Paused"]),
    ],
)
def test_each_part_is_shown_with_its_permission_only(
    staff: Callable[..., Client], webhook: Webhook, may: list[str], sees: list[str], sees_not: list[str]
) -> None:
    store_dead_runs(webhook, 1)
    store_rejection(webhook, received_at=ago(minutes=3))
    Hold.objects.create(scope=receiver_scope("crm"), paused_at=timezone.now())
    Heartbeat.objects.create(name="one:1")

    shown = dashboard(staff(*may))

    assert [part for part in sees if part not in shown] == []
    assert [part for part in sees_not if part in shown] == []


def test_staff_without_any_permission_have_no_dashboard(staff: Callable[..., Client]) -> None:
    assert staff().get(INDEX).status_code == 404


@pytest.mark.usefixtures("time_stands_still")
def test_the_number_of_statements_does_not_grow_with_the_rows(boss: Client, webhook: Webhook) -> None:
    Webhook.objects.create(name="unused")
    store_dead_runs(webhook, 1)
    dashboard(boss)
    with CaptureQueriesContext(connection) as few:
        dashboard(boss)
    for number in range(10):
        Webhook.objects.create(name=f"more {number}")
    store_dead_runs(webhook, 100)
    with CaptureQueriesContext(connection) as many:
        dashboard(boss)

    if connection.vendor == "mysql":  # the search for the keys of the hours divides a range again and again
        assert len(few) <= len(many) <= 38
    else:
        assert len(few) == len(many) <= 34


@pytest.mark.urls("tests.admin.single_model_sites")
def test_the_dashboard_links_only_to_models_of_its_site(boss: Client, webhook: Webhook) -> None:
    store_dead_runs(webhook, 1)

    shown = dashboard(boss, "/deliveries/nateq_webhooks/")

    assert "ValueError" in shown
    assert "/nateq_webhooks/run/" not in shown
    assert "/nateq_webhooks/webhook/" not in shown
    assert "Replay these" not in shown  # the page that retries runs is the runs' admin's


def test_a_webhook_beyond_the_limit_is_found_by_its_name(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_table, "MAX_WEBHOOKS", 1)
    other = Webhook.objects.create(name="zebra <b>")
    store_deliveries(webhook, received_at=ago(hours=1))
    store_deliveries(other, 2, received_at=ago(hours=2))
    store_rejection(other, received_at=ago(minutes=3))

    first, found = dashboard(boss), dashboard(boss, f"{INDEX}?find_webhook=ZEBRA+%3C")
    none = dashboard(boss, f"{INDEX}?find_webhook=nothing")

    assert 'name="find_webhook"' in first
    assert "zebra &lt;b&gt;</bdi></a>" not in first
    assert "zebra &lt;b&gt;: 1 refused" in first
    assert "zebra &lt;b&gt;</bdi></a>" in found
    assert re.findall(r"<dt>Deliveries</dt><dd><bdi>(.*?)</bdi>", found) == ["3"]
    assert "No webhook has such a name." in none


def test_few_webhooks_have_no_search(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, received_at=ago(hours=1))

    assert "find_webhook" not in dashboard(boss)
