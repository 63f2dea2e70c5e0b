"""Deliveries in the admin: the list, the exact search, the page, the download."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

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
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202egpj.exe"


def detail_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_change", args=[delivery.pk])


def body_url(delivery: Delivery) -> str:
    return reverse("admin:nateq_webhooks_delivery_body", args=[delivery.pk])


def found(client: Client, query: dict[str, Any]) -> list[Delivery]:
    response = client.get(LIST, query)
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def fail(**kwargs: Any) -> None:
    raise LookupError("no such <customer>")


def test_the_list_shows_what_came(boss: Client, sender: Sender, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None)
    sender.post(envelope())

    shown = page(boss, LIST)

    assert 'nateq-badge nateq-good"><span aria-hidden="true">✓</span> Processed' in shown
    for text in ("ticket.created", "tkt_1", "org_1", "shop", "nateq_webhooks/admin.css"):
        assert text in shown


def test_what_nothing_ran_for_says_so_in_the_list_and_on_its_page(boss: Client, sender: Sender) -> None:
    """A module of receivers that nobody imports must not look like success."""
    sender.post(envelope())
    delivery = Delivery.objects.get()
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
        return sorted(delivery.delivery_id for delivery in found(boss, {"q": term}))

    assert ids("dlv_1") == ["dlv_1"]
    assert ids("dlv_1 ") == ["dlv_1", "dlv_1 "]
    assert ids(" dlv_10\t") == ["dlv_10"]
    assert ids("7") == ["7", "7"]
    assert ids("07") == ids("\u0667") == ids("dlv") == []
    assert ids("x" * 300) == ["x" * 200]
    assert len(ids("   ")) == 7


def test_a_number_with_too_many_digits_is_searched_for_as_text(boss: Client, sender: Sender) -> None:
    sender.post(envelope(delivery_id="9" * 5000))

    assert len(found(boss, {"q": "9" * 5000})) == 1


def test_the_search_goes_through_the_index_of_webhook_and_identity(boss: Client, sender: Sender) -> None:
    Sender(Webhook.objects.create(name="other", secret=SECRET)).post(envelope())
    sender.post(envelope())

    with CaptureQueriesContext(connection) as captured:
        both = found(boss, {"q": "dlv_1"})

    assert len(both) == 2
    asked = questions(captured)
    assert len(asked) <= 8
    rows = [sql for sql in asked if "identity" in sql]
    assert rows
    assert all('"webhook_id" IN (' in sql and "SELECT U0" not in sql for sql in rows)


def test_the_filters_find_by_status_event_webhook_and_time(boss: Client, sender: Sender, webhook: Webhook) -> None:
    sender.post(envelope())
    sender.post(envelope("invoice.paid", delivery_id="dlv_2"))
    sender.post(b"no json")
    other = Webhook.objects.create(name="other")

    assert len(found(boss, {"status__exact": "invalid"})) == 1
    assert [each.delivery_id for each in found(boss, {"event": "invoice.paid"})] == ["dlv_2"]
    assert len(found(boss, {"webhook__id__exact": str(webhook.pk)})) == 3
    assert found(boss, {"webhook__id__exact": str(other.pk)}) == []
    assert len(found(boss, {"received_at__gte": "2020-01-01 00:00:00+00:00"})) == 3


def test_the_events_to_filter_by_are_the_published_ones_and_those_that_a_webhook_lists(
    boss: Client, webhook: Webhook
) -> None:
    Webhook.objects.filter(pk=webhook.pk).update(events=["invoice.paid", "ticket.created"])

    shown = page(boss, LIST)

    assert shown.count("?event=ticket.created") == 1
    assert "?event=invoice.paid" in shown
    assert "?event=lead.created" in shown


@pytest.mark.parametrize("query", ["webhook__secret__startswith=w", "body__contains=a", "payload__data__id=1"])
def test_the_list_can_not_be_asked_for_a_scan_or_a_secret(boss: Client, sender: Sender, query: str) -> None:
    sender.post(envelope())

    assert boss.get(f"{LIST}?{query}").status_code == 400


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


def test_the_pages_bring_no_inline_script_or_style_of_their_own(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    delivery = Delivery.objects.get()

    for url in (LIST, detail_url(delivery)):
        shown = page(boss, url)
        assert " style=" not in shown
        assert "<style" not in shown
        assert " onclick=" not in shown
        assert all(" src=" in tag for tag in shown.split("<script")[1:])


def test_deliveries_can_not_be_added_changed_or_deleted(boss: Client, sender: Sender) -> None:
    sender.post(envelope())
    delivery = Delivery.objects.get()

    assert boss.get(f"{LIST}add/").status_code == 403
    assert boss.post(detail_url(delivery), {"status": "dead"}).status_code == 403
    assert boss.post(f"{LIST}{delivery.pk}/delete/", {"post": "yes"}).status_code == 403
    assert 'value="delete_selected"' not in page(boss, LIST)
    assert Delivery.objects.get().status == Delivery.Status.PROCESSED


def test_staff_without_permission_are_refused(staff: Callable[..., Client], sender: Sender) -> None:
    sender.post(envelope())
    delivery = Delivery.objects.get()
    nobody = staff("view_webhook", "view_run")

    assert [nobody.get(url).status_code for url in (LIST, detail_url(delivery), body_url(delivery))] == [403] * 3
    assert Client().get(body_url(delivery)).status_code == 302


def test_a_delivery_that_is_not_there_leads_back_to_the_index(boss: Client) -> None:
    assert boss.get(f"{LIST}1/change/").status_code == 302


def test_a_record_without_a_page_is_shown_without_a_link() -> None:
    assert formatting.link("", "<shop>") == '<bdi class="nateq-text">&lt;shop&gt;</bdi>'


def test_every_status_has_a_sign_and_every_note_a_sentence() -> None:
    assert set(formatting.SIGNS) == {*Delivery.Status.values, *Run.Status.values}
    assert set(SENTENCES) == set(Note)
    assert sentence("from_the_future") == "from_the_future"
