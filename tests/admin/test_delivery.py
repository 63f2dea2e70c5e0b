"""Deliveries in the admin: the list, the exact search, the page, the download."""

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from nateq_webhooks import signals
from nateq_webhooks.admin import formatting
from nateq_webhooks.admin.deliveries.notes import SENTENCES, sentence
from nateq_webhooks.models import Delivery, Run, Webhook
from nateq_webhooks.protocol.envelope import Note
from tests.admin.listing import questions
from tests.admin.pages import shown as page
from tests.conftest import SECRET, Connect, Sender, envelope

pytestmark = pytest.mark.django_db

LIST = "/admin/nateq_webhooks/delivery/"


def result_list(client: Client, term: str) -> list[Delivery]:
    response = client.get(LIST, {"q": term})
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def test_the_list_shows_status_event_resource_organization_and_webhook(
    boss: Client, sender: Sender, connect: Connect
) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    sender.post(envelope())

    shown = page(boss, LIST)

    assert 'nateq-badge nateq-good"><span aria-hidden="true">✓</span> Processed' in shown
    for text in ("ticket.created", "tkt_1", "org_1", "shop", "nateq_webhooks/admin.css"):
        assert text in shown


def test_the_list_and_the_page_say_that_a_delivery_had_no_receiver(boss: Client, delivery: Delivery) -> None:
    """A delivery whose receivers were never imported must not look like a success."""
    said = 'nateq-badge nateq-warn"><span aria-hidden="true">⊘</span> No receiver'

    for path in (LIST, f"{LIST}{delivery.pk}/change/"):
        assert said in page(boss, path)
        assert "Processed</span>" not in page(boss, path)
    Run.objects.create(delivery=delivery, receiver="shop.send", round=1, status="succeeded", next_try_at=None)
    for path in (LIST, f"{LIST}{delivery.pk}/change/"):  # a replay has run it since
        assert "No receiver" not in page(boss, path)
        assert "Processed</span>" in page(boss, path)


def test_deliveries_are_found_by_their_exact_id(boss: Client, sender: Sender) -> None:
    for delivery_id in ("dlv_1", "dlv_10", "DLV_1", "dlv_1 ", 7, "7", "x" * 300):
        sender.post(envelope(delivery_id=delivery_id))

    def ids(term: str) -> list[str]:
        return sorted(delivery.delivery_id for delivery in result_list(boss, term))

    assert ids("dlv_1") == ["dlv_1"]
    assert ids("dlv_1 ") == ["dlv_1", "dlv_1 "]
    assert ids(" dlv_10\t") == ["dlv_10"]
    assert ids("7") == ["7", "7"]
    assert ids("07") == ids("\u0667") == []
    assert "dlv_10" in ids("dlv")  # no id, so it is looked for in the payloads
    assert ids("x" * 300) == ["x" * 200]
    assert len(ids("   ")) == 7


def test_a_number_with_too_many_digits_is_searched_for_as_text(boss: Client, sender: Sender) -> None:
    sender.post(envelope(delivery_id="9" * 5000))

    assert len(result_list(boss, "9" * 5000)) == 1


def test_the_search_goes_through_the_index_of_webhook_and_identity(boss: Client, sender: Sender) -> None:
    Sender(Webhook.objects.create(name="other", secret=SECRET)).post(envelope())
    sender.post(envelope())

    with CaptureQueriesContext(connection) as captured:
        both = result_list(boss, "dlv_1")

    assert len(both) == 2
    asked = questions(captured)
    assert len(asked) <= 8
    rows = [sql for sql in asked if "identity" in sql]
    assert rows
    assert all('"webhook_id" IN (' in sql and "SELECT U0" not in sql for sql in rows)


def test_the_events_to_filter_by_are_the_published_ones_and_those_that_a_webhook_lists(
    boss: Client, webhook: Webhook
) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events=["invoice.paid", "ticket.created"])

    shown = page(boss, LIST)

    assert shown.count("?event=ticket.created") == 1
    assert "?event=invoice.paid" in shown
    assert "?event=lead.created" in shown


def test_a_record_without_a_page_is_shown_without_a_link() -> None:
    assert formatting.link("", "<shop>") == '<bdi class="nateq-text">&lt;shop&gt;</bdi>'


def test_every_status_has_a_sign_and_every_note_a_sentence() -> None:
    assert set(formatting.STATUS_STYLES) == {*Delivery.Status.values, *Run.Status.values}
    assert set(SENTENCES) == set(Note)
    assert sentence("from_the_future") == "from_the_future"
