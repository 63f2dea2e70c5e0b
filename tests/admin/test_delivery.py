"""Deliveries in the admin: the list, the exact search, the page, the download."""

from typing import Any

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
from tests.admin.pages import HOSTILE, detail_url
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


def test_the_list_takes_as_many_queries_for_many_rows_as_for_one(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    page(boss, LIST)
    with CaptureQueriesContext(connection) as for_one:
        page(boss, LIST)
    for number in range(30):
        sender.post(envelope(delivery_id=number))

    with CaptureQueriesContext(connection) as for_many:
        page(boss, LIST)

    assert len(questions(for_many)) == len(questions(for_one)) <= 7
    assert not any('"body"' in query["sql"] or '"secret"' in query["sql"] for query in _of_deliveries(for_many))
    assert not any("DISTINCT" in query["sql"] for query in _of_deliveries(for_many))


def _of_deliveries(queries: CaptureQueriesContext) -> list[dict[str, str]]:
    return [query for query in queries.captured_queries if "nateq_webhooks_delivery" in query["sql"]]


def test_deliveries_are_found_by_their_exact_id(boss: Client, sender: Sender) -> None:
    for delivery_id in ("dlv_1", "dlv_10", "DLV_1", "dlv_1 ", 7, "7", "x" * 300):
        sender.post(envelope(delivery_id=delivery_id))

    def ids(term: str) -> list[str]:
        return sorted(delivery.delivery_id for delivery in result_list(boss, term))

    assert ids("dlv_1") == ["dlv_1"]
    assert ids("dlv_1 ") == ["dlv_1", "dlv_1 "]
    assert ids(" dlv_10\t") == ["dlv_10"]
    assert ids("7") == ["7", "7"]
    assert ids("07") == ids("\u0667") == ids("dlv") == []
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


def test_a_hostile_delivery_is_shown_as_text(boss: Client, sender: Sender, connect: Connect) -> None:
    def fail_with_its_words(event: Any, **kwargs: Any) -> None:
        raise LookupError(event.data["id"])

    connect(signals.event_received, fail_with_its_words, "shop.hostile")
    sender.post(
        envelope(HOSTILE, delivery_id=HOSTILE, organization_id=HOSTILE, data={"id": HOSTILE, HOSTILE: [HOSTILE]}),
        headers={"X-Hostile": "</script><script>alert(1)</script>"},
    )
    delivery = Delivery.objects.get()
    assert delivery.event == HOSTILE

    for url in (LIST, detail_url(delivery), "/admin/nateq_webhooks/run/", f"{LIST}{delivery.pk}/history/"):
        shown = page(boss, url)
        assert "<script>alert" not in shown
        assert "<img src=x" not in shown
    shown = page(boss, detail_url(delivery))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "\\u202egpj.exe" in shown


def test_the_page_has_no_inline_script_or_style(boss: Client, delivery: Delivery) -> None:
    shown = page(boss, detail_url(delivery))

    assert " style=" not in shown
    assert "<style" not in shown
    assert " onclick=" not in shown
    assert all(" src=" in tag for tag in shown.split("<script")[1:])


def test_a_record_without_a_page_is_shown_without_a_link() -> None:
    assert formatting.link("", "<shop>") == '<bdi class="nateq-text">&lt;shop&gt;</bdi>'


def test_every_status_has_a_sign_and_every_note_a_sentence() -> None:
    assert set(formatting.SIGNS) == {*Delivery.Status.values, *Run.Status.values}
    assert set(SENTENCES) == set(Note)
    assert sentence("from_the_future") == "from_the_future"
