"""What no page of ours links to is a clear answer, never an error of the database: NUL characters, huge keys."""

import pytest
from django.test import Client

from nateq_webhooks.dispatch import api
from nateq_webhooks.models import Webhook
from tests.conftest import Sender, envelope

pytestmark = [pytest.mark.django_db, pytest.mark.pages]

ROOT = "/admin/nateq_webhooks/"
COMPLETION = {"app_label": "nateq_webhooks", "model_name": "run", "field_name": "delivery"}
HUGE = "9" * 30


@pytest.mark.parametrize(
    ("address", "query", "status"),
    [
        ("webhook/", {"registration__exact": "a\0"}, 400),
        ("webhook/", {"q": "\0"}, 200),
        ("delivery/", {"event": "\0"}, 302),
        ("delivery/", {"q": "data.x=\0"}, 302),
        ("run/", {"receiver": "\0", "delivery__id__exact": HUGE}, 302),
        ("rejection/", {"reason": "\0"}, 302),
        ("replay/", {"cursor": HUGE}, 302),
        ("delivery/export/", {"event": "\0"}, 400),
        ("delivery/replay-many/", {"deliveries": HUGE}, 400),
        (f"delivery/{HUGE}/change/", {}, 302),
        (f"delivery/{HUGE}/replay/", {}, 404),
        (f"delivery/{HUGE}/body/", {}, 404),
        ("webhook/no-uuid/pause/", {}, 404),
        ("webhook/no-uuid/remote/", {}, 404),
        ("webhook/no-uuid/secret/", {}, 404),
        ("webhook/no-uuid/test/", {}, 404),
        ("delivery/", {"q": "data.-1=x"}, 200),
        ("delivery/", {"q": "2147483648=1"}, 200),
        ("delivery/", {"q": "2147483647=1"}, 200),
        ("delivery/", {"q": "data.1_0=x"}, 200),
        ("delivery/", {"q": "data.\u0661=x"}, 200),
        ("delivery/replay-many/", {"since": "0001-01-01T00:00:00+14:00"}, 400),
        ("delivery/export/", {"until": "9999-12-31T23:59:59-14:00"}, 400),
        ("delivery/export/", {"since": "0001-01-01"}, 400),
    ],
)
def test_an_unusual_address_has_the_expected_status(
    boss: Client, sender: Sender, address: str, query: dict[str, str], status: int
) -> None:
    sender.post(envelope())

    assert boss.get(ROOT + address, query).status_code == status


@pytest.mark.parametrize("term", ["\0", "dlv\0", "data.x=1", HUGE])
def test_the_completion_of_a_delivery_takes_any_term(boss: Client, sender: Sender, term: str) -> None:
    sender.post(envelope())

    answer = boss.get("/admin/autocomplete/", COMPLETION | {"term": term})

    assert answer.json()["results"] == []


def test_a_reason_for_a_pause_holds_no_nul(boss: Client, webhook: Webhook) -> None:
    boss.post(f"{ROOT}webhook/{webhook.pk}/pause/", {"action": "pause", "reason": "in\0ventory"})

    assert [hold.reason for hold in api.paused()] == ["in\ufffdventory"]


@pytest.mark.parametrize("events", [[], ["ticket.created"]])
def test_a_test_event_may_be_named_with_half_of_a_surrogate_pair(
    boss: Client, webhook: Webhook, events: list[str]
) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events=events)
    address = f"{ROOT}webhook/{webhook.pk}/test/"

    answer = boss.post(address, {"payload": '{"event": "ticket\\ud800", "data": {"id": "x\\udfff"}}'}, follow=True)

    assert answer.status_code == 200
    assert "ticket\\ud800" in answer.content.decode() or events == []


@pytest.mark.parametrize("events", [["a\u202e", "ticket.created"], {"a": 1}, "ticket.created", 7, [7, None]])
def test_pages_of_a_webhook_with_malformed_events_are_shown(boss: Client, webhook: Webhook, events: object) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events=events)

    assert boss.get(f"{ROOT}webhook/").status_code == 200
    assert boss.get(f"{ROOT}delivery/").status_code == 200
    assert boss.get(f"{ROOT}webhook/{webhook.pk}/change/").status_code == 200
    assert boss.get(f"{ROOT}webhook/{webhook.pk}/test/").status_code == 200
