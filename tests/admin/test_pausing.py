"""Pausing a webhook from its page, with a reason, and letting it go on."""

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client, override_settings
from django.urls import reverse

from nateq_webhooks import dispatch, signals
from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.models.hold import Hold
from tests.conftest import Connect, Sender, envelope

pytestmark = pytest.mark.django_db


def page_of(webhook: Webhook, page: str = "pause") -> str:
    return reverse(f"admin:nateq_webhooks_webhook_{page}", args=[webhook.pk])


@pytest.mark.django_db(transaction=True)
def test_a_paused_webhook_stores_deliveries_and_runs_them_when_it_is_resumed(
    boss: Client, webhook: Webhook, sender: Sender, connect: Connect
) -> None:
    seen: list[str] = []
    connect(signals.ticket_created, lambda *, event, **kwargs: seen.append(event.delivery_id))

    answer = boss.post(page_of(webhook), {"action": "pause", "reason": "inventory"}, follow=True).content.decode()
    assert sender.post(envelope()).status_code == 200
    api.run_due()

    assert seen == []
    hold = Hold.objects.get()
    assert (hold.paused_by, hold.reason) == ("boss", "inventory")
    assert "Paused" in answer
    assert "inventory" in answer
    held = boss.get(page_of(webhook, "change")).content.decode()
    assert "held back" in held
    assert "Resume" in held

    answer = boss.post(page_of(webhook), {"action": "resume"}, follow=True).content.decode()
    api.run_due()

    assert seen == ["dlv_1"]
    assert Delivery.objects.get().status == "processed"
    assert "inventory" not in answer.replace("pause “inventory”", "")
    messages = [entry.get_change_message() for entry in LogEntry.objects.order_by("pk")]
    assert messages == ["Added pause “inventory”.", "Deleted pause “shop”."]


@pytest.mark.parametrize("form", [{}, {"action": "pause"}, {"action": "pause", "reason": "  "}, {"action": "nonsense"}])
def test_without_a_reason_nothing_is_paused(boss: Client, webhook: Webhook, form: dict[str, str]) -> None:
    response = boss.post(page_of(webhook), form)

    assert response.status_code == 200
    assert not api.paused()
    assert ("Give a reason" in response.content.decode()) is ("action" in form and form["action"] == "pause")


def test_getting_the_page_changes_nothing(boss: Client, webhook: Webhook) -> None:
    shown = boss.get(page_of(webhook), {"action": "pause", "reason": "x"}).content.decode()

    assert 'name="reason"' in shown
    assert not api.paused()


def test_a_pause_of_everything_is_shown_and_can_not_be_ended_here(boss: Client, webhook: Webhook) -> None:
    dispatch.pause(reason="flood", by="layla")

    shown = boss.get(page_of(webhook)).content.decode()

    assert "Everything is paused" in shown
    assert "flood" in shown
    assert 'value="resume"' not in shown


def test_hostile_reasons_are_text(boss: Client, webhook: Webhook) -> None:
    dispatch.pause(webhook=webhook, reason="<script>alert(1)</script>\u202etxt", by="<b>\u2066")

    shown = boss.get(page_of(webhook, "change")).content.decode()

    assert "<script>alert(1)" not in shown
    assert "&lt;script&gt;alert(1)" in shown
    assert not {"\u202e", "\u2066"} & set(shown)


def test_resuming_what_was_not_paused_says_so(boss: Client, webhook: Webhook) -> None:
    dispatch.pause(reason="night")  # everything, which this page does not resume

    page = boss.post(page_of(webhook), {"action": "resume"}, follow=True).content.decode()

    assert "It was not paused." in page
    assert [hold.reason for hold in api.paused()] == ["night"]
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("dispatch_by", ["inline", "worker"])
@pytest.mark.parametrize("what", ["webhook", "receiver"])
@pytest.mark.django_db(transaction=True)
def test_resuming_starts_what_waits_or_says_that_nobody_does(
    boss: Client, webhook: Webhook, sender: Sender, connect: Connect, what: str, dispatch_by: str
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.crm")
    with override_settings(NATEQ_WEBHOOKS={"DISPATCH": dispatch_by}):
        dispatch.pause(webhook=webhook) if what == "webhook" else dispatch.pause(receiver="shop.crm")
        sender.post(envelope())
        api.run_due()
        assert Run.objects.get().status == "waiting"

        if what == "webhook":
            answer = boss.post(page_of(webhook), {"action": "resume"}, follow=True)
        else:
            hold = Hold.objects.get(scope="receiver:shop.crm")
            answer = boss.post("/admin/nateq_webhooks/run/resume/", {"hold": hold.pk}, follow=True)

    is_started = dispatch_by == "inline"
    assert Run.objects.get().status == ("succeeded" if is_started else "waiting")
    assert ("No worker was seen" in answer.content.decode()) is not is_started
