"""The pages of receivers: what each gets, how its runs go, what holds it back; pause, resume, drop."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.dispatch.pauses import pause_hold
from nateq_webhooks.dispatch.status import status
from nateq_webhooks.models import Run, Webhook
from nateq_webhooks.models.hold import HELD_BY_ORDER, Hold, breaker_scope
from nateq_webhooks.models.run import PARKED_UNTIL
from tests.admin.pages import HOSTILE, shown
from tests.builders import ago, store_dead_runs, store_deliveries, store_run
from tests.conftest import Connect
from tests.dispatch.scene import ALIAS

pytestmark = pytest.mark.django_db

LIST = "/admin/nateq_webhooks/run/receivers/"
RESUME = "/admin/nateq_webhooks/run/resume/"
DASHBOARD = "/admin/nateq_webhooks/"


def page(name: str) -> str:
    return reverse("admin:nateq_webhooks_run_receiver", query={"name": name})


@pytest.fixture
def crm(connect: Connect) -> str:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.crm")
    return "shop.crm"


def waiting(webhook: Webhook, receiver: str, **over: Any) -> Run:
    columns = {"status": Run.Status.WAITING, "next_try_at": ago(minutes=5)} | over
    return store_run(store_deliveries(webhook)[0], receiver, **columns)


def test_the_list_has_connected_receivers_and_those_with_unfinished_runs(
    boss: Client, webhook: Webhook, crm: str
) -> None:
    waiting(webhook, "shop.gone", next_try_at=PARKED_UNTIL)
    store_run(store_deliveries(webhook)[0], "shop.finished_long_ago")

    text = shown(boss, LIST)

    assert "shop.crm" in text
    assert "shop.gone" in text
    assert "not connected here" in text
    assert "shop.finished_long_ago" not in text


def test_the_page_says_what_the_receiver_gets(boss: Client, crm: str, settings: Settings) -> None:
    control = {"RATE_LIMITS": {crm: 5.0}, "BREAKER_AFTER": 20, "ORDERED_BY": "data.ticket_id"}
    settings.NATEQ_WEBHOOKS = {**settings.NATEQ_WEBHOOKS, **control}

    text = shown(boss, page(crm))

    for expected in ("ticket.created", "5 runs a second", "after 20 failures in a row", "data.ticket_id", "committed"):
        assert expected in text


def test_the_page_counts_runs_by_result_and_times_the_newest(boss: Client, webhook: Webhook, crm: str) -> None:
    for milliseconds in range(1, 101):
        delivery = store_deliveries(webhook)[0]
        store_run(delivery, crm, duration=timedelta(milliseconds=milliseconds))
        store_run(delivery, "shop.other", duration=timedelta(seconds=9))
    store_dead_runs(webhook, 3, receiver=crm)
    waiting(webhook, crm)
    waiting(webhook, crm, next_try_at=timezone.now() + timedelta(hours=1))

    context = boss.get(page(crm)).context

    assert [(line.label, line.number) for line in context["counts"]] == [
        (str(Run.Status.WAITING.label), "2"),
        (str(Run.Status.SUCCEEDED.label), "100"),
        (str(Run.Status.DEAD.label), "3"),
    ]
    figures = {figure.label: figure.value for figure in context["figures"]}
    assert figures == {"Due": "1", "To be tried later": "1", "Duration, p50": "50 ms", "Duration, p95": "95 ms"}
    assert [(line.receiver, line.number) for line in context["failure_lines"]] == [(crm, "3")]


def test_a_receiver_without_runs_and_connection_is_not_found(boss: Client) -> None:
    for name in ("shop.never", "", "x" * 300, "a\0b"):
        assert boss.get("/admin/nateq_webhooks/run/receiver/", {"name": name}).status_code == 404


def test_a_receiver_is_paused_with_a_reason_and_resumed(boss: Client, webhook: Webhook, crm: str) -> None:
    run = waiting(webhook, crm)

    text = boss.post(page(crm), {"action": "pause", "reason": "CRM is moved"}, follow=True).content.decode()

    hold = Hold.objects.get()
    assert (hold.scope, hold.paused_by, hold.reason) == (f"receiver:{crm}", "boss", "CRM is moved")
    assert "CRM is moved" in text
    assert Run.objects.get(pk=run.pk).held_by == hold.pk

    boss.post(RESUME, {"hold": hold.pk, "next": page(crm)}, follow=True)

    assert not api.paused()
    assert Run.objects.get(pk=run.pk).held_by == 0
    assert list(LogEntry.objects.values_list("object_repr", flat=True)) == [f"receiver:{crm}", crm]


def test_without_a_reason_nothing_is_paused(boss: Client, crm: str) -> None:
    response = boss.post(page(crm), {"action": "pause", "reason": " "})

    assert "Give a reason" in response.content.decode()
    assert not api.paused()


def test_the_dashboard_links_to_the_receiver_and_resumes_with_one_click(boss: Client, crm: str) -> None:
    [hold] = dispatch.pause(receiver=crm, reason="CRM is moved", by="sara")

    text = shown(boss, DASHBOARD)
    assert f'href="{page(crm)}"' in text
    assert f'name="hold" value="{hold.pk}"' in text

    response = boss.post(RESUME, {"hold": hold.pk, "next": DASHBOARD})

    assert response.headers["Location"] == DASHBOARD
    assert not api.paused()


def test_the_dashboard_resumes_everything_and_what_the_breaker_paused(boss: Client, webhook: Webhook, crm: str) -> None:
    [hold] = dispatch.pause()
    boss.post(RESUME, {"hold": hold.pk, "next": DASHBOARD})
    assert not api.paused()

    hold = pause_hold(ALIAS, breaker_scope(webhook.pk, crm), probe_at=timezone.now() + timedelta(hours=1))
    boss.post(RESUME, {"hold": hold.pk})
    assert not api.paused()


@pytest.mark.parametrize("address", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_resuming_leads_to_this_site_only(boss: Client, crm: str, address: str) -> None:
    [hold] = dispatch.pause(receiver=crm)
    assert boss.post(RESUME, {"hold": hold.pk, "next": address}).headers["Location"] == LIST


@pytest.mark.parametrize("form", [{}, {"hold": ""}, {"hold": "x"}, {"hold": "999999"}, {"hold": "9" * 40}])
def test_a_form_without_a_hold_resumes_nothing(boss: Client, form: dict[str, str]) -> None:
    dispatch.pause()
    boss.post(RESUME, form)
    assert len(api.paused()) == 1


def test_what_waits_for_an_unknown_receiver_is_dropped_after_a_question(boss: Client, webhook: Webhook) -> None:
    gone = [waiting(webhook, "shop.gone", next_try_at=PARKED_UNTIL) for _ in range(3)]
    other = waiting(webhook, "shop.else", next_try_at=PARKED_UNTIL)

    asked = boss.post(page("shop.gone"), {"action": "drop"}).content.decode()
    assert "Are you sure?" in asked
    assert Run.objects.filter(status=Run.Status.WAITING).count() == 4

    text = boss.post(page("shop.gone"), {"action": "drop", "confirmed": "yes"}, follow=True).content.decode()

    assert "3 runs were dropped." in text
    assert set(Run.objects.filter(pk__in=[run.pk for run in gone]).values_list("status", flat=True)) == {"dropped"}
    other.refresh_from_db()
    assert other.status == Run.Status.WAITING


def test_who_may_see_runs_only_can_change_nothing(staff: Callable[..., Client], webhook: Webhook, crm: str) -> None:
    client = staff("view_run")
    waiting(webhook, crm, next_try_at=PARKED_UNTIL)
    [hold] = dispatch.pause(receiver=crm)

    for address in (LIST, page(crm), DASHBOARD):
        text = shown(client, address)
        assert 'name="hold"' not in text
        assert 'name="reason"' not in text
        assert "drop=1" not in text
    assert client.post(RESUME, {"hold": hold.pk}).status_code == 403
    assert client.post(page(crm), {"action": "pause", "reason": "x"}).status_code == 403
    assert client.post(page(crm), {"action": "drop", "confirmed": "yes"}).status_code == 403
    assert len(api.paused()) == 1


def test_who_may_not_see_runs_sees_no_receiver(staff: Callable[..., Client], crm: str) -> None:
    client = staff("view_delivery", "change_webhook")
    [hold] = dispatch.pause(receiver=crm)

    assert client.get(LIST).status_code == 403
    assert client.get(page(crm)).status_code == 403
    assert client.post(RESUME, {"hold": hold.pk}).status_code == 403


def test_getting_changes_nothing(boss: Client, crm: str) -> None:
    boss.get(page(crm), {"action": "pause", "reason": "x", "name": crm})
    assert boss.get(RESUME).status_code == 405
    assert not api.paused()


def test_hostile_text_is_text(boss: Client, webhook: Webhook) -> None:
    waiting(webhook, HOSTILE)
    dispatch.pause(receiver=HOSTILE, reason=HOSTILE, by=HOSTILE)

    for address in (LIST, page(HOSTILE), DASHBOARD):
        text = shown(boss, address)
        assert "<script>alert(1)" not in text
        assert "\u202e" not in text


def test_the_page_of_a_held_run_says_which_hold_by_whom_and_why(boss: Client, webhook: Webhook, crm: str) -> None:
    run = waiting(webhook, crm)
    address = reverse("admin:nateq_webhooks_run_change", args=[run.pk])
    assert "The receiver is paused" not in shown(boss, address)

    dispatch.pause(receiver=crm, reason="CRM is moved", by="sara")
    text = shown(boss, address)
    assert "The receiver is paused" in text
    assert "sara" in text
    assert "CRM is moved" in text
    assert f'href="{page(crm)}"' in text

    dispatch.resume(receiver=crm)
    Run.objects.filter(pk=run.pk).update(held_by=HELD_BY_ORDER)
    assert "Waits for an earlier delivery" in shown(boss, address)


def test_the_number_of_statements_does_not_grow_with_the_runs(boss: Client, webhook: Webhook, crm: str) -> None:
    def statements() -> int:
        with CaptureQueriesContext(
            connection,
        ) as captured:
            shown(boss, page(crm))
        return len(captured)

    store_dead_runs(webhook, 1, receiver=crm)
    waiting(webhook, crm)
    few = statements()
    store_dead_runs(webhook, 30, receiver=crm)
    for number in range(30):
        waiting(webhook, f"shop.other_{number}")
    assert statements() == few
    assert few <= 30


def test_the_delivery_page_leads_to_the_receivers_of_its_runs(
    boss: Client, staff: Callable[..., Client], webhook: Webhook, crm: str
) -> None:
    run = waiting(webhook, crm)
    address = reverse("admin:nateq_webhooks_delivery_change", args=[run.delivery_id])

    assert page(crm) in shown(boss, address)
    assert page(crm) not in shown(staff("view_delivery"), address)


def figure(text: str, label: str) -> str:
    """Return a number of a receiver's page; empty if it is not there."""
    return text.partition(f"<dt>{label}</dt><dd><bdi>")[2].partition("<")[0]


@pytest.mark.parametrize("what", ["receiver", "everything", "nothing"])
def test_what_is_held_back_is_not_due_as_in_the_status(boss: Client, webhook: Webhook, crm: str, what: str) -> None:
    waiting(webhook, crm)
    waiting(webhook, crm, status=Run.Status.FAILED, next_try_at=timezone.now() + timedelta(hours=1))
    if what != "nothing":
        dispatch.pause(receiver=crm if what == "receiver" else None)

    text = shown(boss, page(crm))

    held = status(ALIAS).receivers[crm].held
    assert held == (0 if what == "nothing" else 2)
    assert figure(text, "Held back") == (str(held) if held else "")
    assert (figure(text, "Due"), figure(text, "To be tried later")) == (("0", "0") if held else ("1", "1"))
    assert ("The oldest for" in text) is not bool(held)


def test_pausing_says_that_this_receiver_is_not_started(boss: Client, crm: str) -> None:
    answer = boss.post(page(crm), {"action": "pause", "reason": "CRM is down"}, follow=True)

    assert "this receiver is not started for them until it is resumed." in answer.content.decode()


def test_the_list_says_that_replayed_failures_are_among_its_numbers(boss: Client, webhook: Webhook, crm: str) -> None:
    note = "include those that were replayed since"
    assert note not in shown(boss, LIST)
    store_dead_runs(webhook, 1, receiver=crm)

    assert note in shown(boss, LIST)
