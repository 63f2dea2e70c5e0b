"""A test event is verified, stored and dispatched like a delivery, without HTTP."""

import json
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from nateq_webhooks import signals
from nateq_webhooks.admin.webhooks.test_event import example, send
from nateq_webhooks.inbox.configuration import cache
from nateq_webhooks.models import Delivery, Run, Secret, Webhook
from nateq_webhooks.protocol.events import EVENTS
from tests.conftest import SECRET, Connect

pytestmark = [pytest.mark.django_db, pytest.mark.pages]


def page_of(webhook: Webhook) -> str:
    return reverse("admin:nateq_webhooks_webhook_test", args=[webhook.pk])


def sent(client: Client, webhook: Webhook, payload: str | dict[str, Any]) -> Any:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return client.post(page_of(webhook), {"payload": text}, follow=True)


def refused(client: Client, webhook: Webhook, payload: str | dict[str, Any]) -> str:
    """Send a test event that is refused; return the page that says why."""
    response = sent(client, webhook, payload)
    assert response.redirect_chain == []
    assert not Delivery.objects.exists()
    assert not LogEntry.objects.exists()
    return str(response.content.decode())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("atomic_requests", [False, True])
def test_it_is_verified_stored_and_dispatched_like_a_delivery(
    boss: Client, webhook: Webhook, connect: Connect, monkeypatch: pytest.MonkeyPatch, *, atomic_requests: bool
) -> None:
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", atomic_requests)
    seen: list[tuple[str, Any]] = []
    connect(signals.ticket_created, lambda *, event, **kwargs: seen.append((event.name, event.data)), "shop.seen")

    response = sent(boss, webhook, {"event": "ticket.created", "data": {"id": "tkt_9"}, "metadata": {"attempt": 3}})

    delivery = Delivery.objects.get()
    assert seen == [("ticket.created", {"id": "tkt_9"})]
    assert (delivery.status, delivery.webhook_id, delivery.attempt) == ("processed", webhook.pk, 3)
    assert delivery.delivery_id.startswith("test_")
    assert delivery.secret_id == str(Secret(secret=SECRET))
    assert json.loads(delivery.body)["metadata"]["delivery_id"] == delivery.delivery_id
    assert delivery.headers["User-Agent"] == "nateq_webhooks test event"
    assert Run.objects.get().receiver == "shop.seen"
    shown = response.content.decode()
    assert f'href="/admin/nateq_webhooks/delivery/{delivery.pk}/change/"' in shown
    assert "Processed" in shown
    assert "shop.<wbr>seen" in shown


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_is_a_failed_run_and_no_error_page(
    boss: Client, webhook: Webhook, connect: Connect
) -> None:
    connect(signals.ticket_created, Mock(side_effect=ValueError("no")), "shop.fails")

    response = sent(boss, webhook, example(webhook, "ticket.created"))

    assert response.status_code == 200
    assert Run.objects.get().status == "failed"
    assert "Retrying" in response.content.decode()


@pytest.mark.parametrize("event", EVENTS)
def test_the_example_of_every_event_can_be_sent_as_it_is(boss: Client, webhook: Webhook, event: str) -> None:
    form = boss.get(page_of(webhook), {"event": event}).context["form"]

    response = sent(boss, webhook, form["payload"].value())

    assert response.redirect_chain
    assert (Delivery.objects.get().event, Delivery.objects.get().notes) == (event, [])


def test_the_same_payload_twice_is_two_deliveries(boss: Client, webhook: Webhook) -> None:
    payload = example(webhook, "ticket.created")

    sent(boss, webhook, payload)
    sent(boss, webhook, payload)

    assert Delivery.objects.count() == 2
    assert set(Delivery.objects.values_list("attempts_seen", flat=True)) == {1}


def test_the_example_is_of_the_webhooks_organization_and_of_its_events(boss: Client) -> None:
    webhook = Webhook.objects.create(name="leads", events=["lead.created", "invoice.paid"], organization_id="org_7")

    shown = boss.get(page_of(webhook), {"event": "invoice.paid"})
    other = boss.get(page_of(webhook), {"event": "ticket.created"})

    assert json.loads(shown.context["form"]["payload"].value())["event"] == "invoice.paid"
    assert json.loads(shown.context["form"]["payload"].value())["organization_id"] == "org_7"
    assert list(shown.context["names"]) == ["lead.created", "invoice.paid"]
    assert json.loads(other.context["form"]["payload"].value())["event"] == "lead.created"
    assert sent(boss, webhook, shown.context["form"]["payload"].value()).redirect_chain


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        ('{"event": ', "This is no JSON object: Expecting value: line 1 column 11"),
        ("[1]", "A JSON object was expected, not a list."),
        ("", "This field is required."),
        ('{"data": {}}', "It names no event."),
        ('{"event": 5}', "It names no event."),
        ("[" * 100_000, "nested too deep"),
    ],
)
def test_an_invalid_payload_is_refused_with_a_message_and_stays_in_the_form(
    boss: Client, webhook: Webhook, payload: str, reason: str
) -> None:
    shown = refused(boss, webhook, payload)

    assert reason in shown
    assert "nothing was stored" in shown
    assert payload.replace('"', "&quot;") in shown


def test_an_event_that_the_webhook_does_not_receive_is_refused(boss: Client) -> None:
    webhook = Webhook.objects.create(name="leads", events=["lead.created"])

    shown = refused(boss, webhook, {"event": "ticket.created"})

    assert "does not receive ticket.created, so no receiver would run. It receives: lead.created." in shown


def test_a_request_that_the_receiver_view_would_refuse_is_refused(
    boss: Client, webhook: Webhook, settings: Any
) -> None:
    settings.NATEQ_WEBHOOKS = {"MAX_BODY_BYTES": 1024}
    payload = {"event": "ticket.created", "organization_id": "org_2"}
    assert "MAX_BODY_BYTES allows 1024" in refused(boss, webhook, payload | {"data": {"id": "x" * 2000}})

    for changes, reason in (
        ({"organization_id": "org_1"}, "of another organization than this webhook&#x27;s, org_1"),
        ({"organization_id": "", "secret": ""}, "secret is empty"),
        ({"secret": SECRET, "registration": Webhook.Registration.PENDING}, "being registered"),
        ({"registration": Webhook.Registration.MANUAL, "is_active": False}, "is not active"),
    ):
        Webhook.objects.filter(pk=webhook.pk).update(**changes)
        cache.invalidate()
        assert reason in refused(boss, webhook, payload)


@pytest.mark.parametrize(
    "payload",
    [
        r'{"event": "ticket.created", "data": {"text": "half \ud800 a pair"}}',
        r'{"event": "ticket.created", "data": {"text": "a \u0000 nul"}}',
        '{"event": "ticket.created", "data": NaN, "metadata": "odd"}',
        '{"event": "ticket.created", "data": ' + "[" * 60 + "]" * 60 + "}",
    ],
)
def test_unusual_payloads_are_stored(boss: Client, webhook: Webhook, payload: str) -> None:
    assert sent(boss, webhook, payload).redirect_chain

    assert Delivery.objects.get().delivery_id.startswith("test_")


def test_the_history_says_that_one_was_sent_and_shows_no_payload(boss: Client, webhook: Webhook) -> None:
    sent(boss, webhook, {"event": "ticket.created", "data": {"email": "sara@example.com"}})

    entry = LogEntry.objects.get()
    assert entry.get_change_message() == "Added test event “ticket.created”."


def test_a_user_who_may_not_see_deliveries_sees_only_that_it_was_received(
    staff: Callable[..., Client], webhook: Webhook
) -> None:
    shown = sent(
        staff("change_webhook", "replay_delivery"), webhook, example(webhook, "ticket.created")
    ).content.decode()

    assert "was received like a delivery" in shown
    assert ">Result<" not in shown


def test_the_result_of_another_delivery_is_not_shown(boss: Client, webhook: Webhook, sender: Any) -> None:
    sender.post({"event": "ticket.created", "metadata": {"delivery_id": "real"}})
    [delivery] = Delivery.objects.all()

    for asked in (str(delivery.pk), "9" * 30, "x", "-1"):
        assert ">Result<" not in boss.get(page_of(webhook), {"sent": asked}).content.decode()


@pytest.mark.django_db(transaction=True)
def test_send_stores_outside_of_any_transaction_only(webhook: Webhook) -> None:
    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        send(webhook, {"event": "ticket.created"})


@pytest.mark.urls("tests.admin.single_model_sites")
def test_on_a_site_without_deliveries_there_is_no_link_to_one(boss: Client, webhook: Webhook) -> None:
    url = f"/webhooks/nateq_webhooks/webhook/{webhook.pk}/test/"

    response = boss.post(url, {"payload": example(webhook, "ticket.created")}, follow=True)

    assert response.redirect_chain[0][0].startswith(url)
    assert ">Result<" in response.content.decode()
    assert "Open the delivery" not in response.content.decode()
