"""The lists page by key, and ask for nothing that grows with the table."""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from django.utils.translation import override

from nateq_webhooks.admin import DeliveryAdmin, RunAdmin, formatting
from nateq_webhooks.admin.changelists.counts import Count, Kind
from nateq_webhooks.admin.changelists.paginator import CappedPaginator
from nateq_webhooks.admin.deliveries.outcome import outcome
from nateq_webhooks.database.keyset.cursor import MAX_KEY
from nateq_webhooks.models import Delivery, Run, Webhook
from tests.admin.listing import LIST, RUNS, later, link, listed, pks, statements
from tests.admin.own_admins import ActingAdmin
from tests.builders import store_deliveries, store_rejection, store_run

ACTING = "/acting/nateq_webhooks/delivery/"
FILTERING = "/filtering/nateq_webhooks/delivery/"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _five_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DeliveryAdmin, "list_per_page", 5)
    monkeypatch.setattr(RunAdmin, "list_per_page", 5)


@pytest.fixture
def _ten_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("counts", "changelist", "facets"):
        monkeypatch.setattr(f"nateq_webhooks.admin.changelists.{module}.LIMIT", 10)


def leafed_through(client: Client, query: str, rel: str, url: str = LIST) -> list[list[int]]:
    """Return the rows of each page, from one on as far as the links lead."""
    pages = []
    following: str | None = query
    while following is not None:
        pages.append(pks(client, following, url))
        following = link(client, following, rel, url)
        assert len(pages) < 20
    return pages


@pytest.mark.parametrize("query", ["", "status__exact=processed", "event=ticket.created", "q=org_1", "o=3"])
def test_each_row_is_on_one_page_forwards_and_backwards(boss: Client, webhook: Webhook, query: str) -> None:
    stored = [each.pk for each in store_deliveries(webhook, 13)]
    expected = stored if query == "o=3" else stored[::-1]

    forwards = leafed_through(boss, query, "next")
    backwards = leafed_through(boss, f"{query}&cursor=last", "prev")

    assert forwards == [expected[:5], expected[5:10], expected[10:]]
    assert backwards == [expected[8:], expected[3:8], expected[:5]]


def test_runs_have_pages_too(boss: Client, webhook: Webhook) -> None:
    (first,) = store_deliveries(webhook)
    stored = [store_run(first, round=number).pk for number in range(7)]

    assert leafed_through(boss, "", "next", RUNS) == [stored[:1:-1], stored[1::-1]]
    assert leafed_through(boss, "receiver=shop.send&cursor=last", "prev", RUNS) == [stored[4::-1], stored[:1:-1]]
    assert pks(boss, "status__exact=dead", RUNS) == []


def test_the_page_before_a_row_near_the_beginning_is_the_first_page(boss: Client, webhook: Webhook) -> None:
    stored = [each.pk for each in store_deliveries(webhook, 13)]

    assert pks(boss, f"cursor=-{stored[-3]}") == stored[:-6:-1]


def test_a_page_between_rows_that_are_gone_is_empty_and_leads_back(boss: Client, webhook: Webhook) -> None:
    stored = store_deliveries(webhook, 7)
    Delivery.objects.filter(pk__lt=stored[5].pk).delete()

    assert pks(boss, f"cursor={stored[5].pk}") == []
    assert pks(boss, link(boss, f"cursor={stored[5].pk}", "prev") or "") == [stored[6].pk, stored[5].pk]


def test_one_page_needs_no_links_and_no_count(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 5)

    assert listed(boss).page_links() == []
    assert listed(boss).count == Count(5)
    assert not any("COUNT(" in sql for sql in statements(boss, ""))


def test_a_page_keeps_filters_and_search_and_a_filter_leaves_the_page(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 7)
    key = store_deliveries(webhook)[0].pk

    following = link(boss, "q=org_1&status__exact=processed&_facets=True", "next")
    shown = boss.get(f"{LIST}?cursor={key}").content.decode()

    assert following is not None
    assert {"q=org_1", "status__exact=processed", "_facets=True"} < set(following.split("&"))
    assert "?event=ticket.closed" in shown
    assert f"cursor={key}&amp;event" not in shown


@pytest.mark.parametrize(
    "cursor", ["x", "1.5", "--1", "9" * 19, "9" * 400, "1 ", "LAST", "\u0661", "-", "<script>", "1;drop", "%00"]
)
def test_an_invalid_cursor_is_answered_with_the_first_page_and_a_message(
    boss: Client, webhook: Webhook, cursor: str
) -> None:
    store_deliveries(webhook)

    response = boss.get(f"{LIST}?status__exact=processed&cursor={cursor}", follow=True)

    assert response.status_code == 200
    assert response.redirect_chain == [(f"{LIST}?e=1", 302)]
    assert len(response.context["cl"].result_list) == 1
    shown = response.content.decode()
    assert "This page does not exist" in shown or "NUL character" in shown
    assert "<script>" not in shown.split("<body")[1].split("messagelist")[1][:300]


def test_djangos_error_parameter_hides_no_message(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook)

    response = boss.get(f"{LIST}?cursor=x&e=1", follow=True)

    assert response.redirect_chain == [(f"{LIST}?cursor=x", 302), (f"{LIST}?e=1", 302)]
    assert "This page does not exist" in response.content.decode()


@pytest.mark.parametrize("cursor", ["", "0", "-0", "-1", str(MAX_KEY), f"-{MAX_KEY}"])
def test_a_cursor_at_or_beyond_an_end_is_a_page(boss: Client, webhook: Webhook, cursor: str) -> None:
    store_deliveries(webhook, 2)

    assert boss.get(f"{LIST}?cursor={cursor}").status_code == 200


@pytest.mark.usefixtures("_ten_are_many")
def test_counts_stop_at_the_limit_and_are_shown_as_more_than_it(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The statistics that another test's rows left behind (autovacuum) are no part of this.
    monkeypatch.setattr("nateq_webhooks.admin.changelists.changelist.estimated_rows", lambda rows: None)
    store_deliveries(webhook, 10)
    assert str(listed(boss).count) == "10"
    assert str(listed(boss, "q=org_1").count) == "10"

    store_deliveries(webhook, 1)

    assert "more than 10 deliveries" in boss.get(LIST).content.decode()
    assert str(listed(boss, "q=org_1").count) == str(listed(boss, "event=ticket.created").count) == "more than 10"


@pytest.mark.django_db(transaction=True)  # MariaDB commits before it analyses
@pytest.mark.usefixtures("_ten_are_many")
def test_the_whole_table_is_estimated_where_the_database_keeps_statistics(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 12)
    if connection.vendor == "sqlite":
        assert listed(boss).count == Count(10, Kind.MORE)
        return
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {'TABLE ' if connection.vendor == 'mysql' else ''}{Delivery._meta.db_table}")
        cursor.fetchall() if connection.vendor == "mysql" else None

    assert listed(boss).count == Count(12, Kind.ABOUT)
    assert "about 12 deliveries" in boss.get(LIST).content.decode()
    assert not any("COUNT(" in sql for sql in statements(boss, ""))


QUERIES = [
    "",
    "cursor=last",
    "cursor=3",
    "cursor=-3",
    "o=6",
    "_facets=True",
    "status__exact=failed",
    "status__exact=processed&_facets=True",
    "event=ticket.created&cursor=last",
    "webhook__id__exact=3e9c6ab2-6f0e-4d8c-9d3b-0a9f2f7a7f10",
    "received_at__gte=2020-01-01",
    "received_at__gte=2020-01-01&status__exact=processed&_facets=True",
    "q=org_1",
    "q=org_1&status__exact=processed&_facets=True",
    "q=tkt_1",
    "q=data.id=1",
    "q=data.id=1&status__exact=processed",
    "q=sara@example.com",
    "q=sara@example.com&status__exact=processed&received_at__gte=2020-01-01",
    "q=sara&in_payload=1&cursor=9",
]


@pytest.mark.usefixtures("_ten_are_many")
@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("is_small", [True, False])
def test_no_page_uses_offset_or_counts_a_table(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, query: str, is_small: bool
) -> None:
    monkeypatch.setattr("nateq_webhooks.database.keyset.date_ranges.MAX_SMALL", 10_000 if is_small else 0)
    store_deliveries(webhook, 20, payload={"data": {"id": 2}})

    asked = [sql for sql in statements(boss, query) if re.search(r'FROM "?nateq_webhooks_delivery', sql)]

    assert asked
    assert len(asked) <= 24
    for sql in asked:
        assert "OFFSET" not in sql
        is_range = '"id" >= ' in sql and '"id" <= ' in sql
        assert "LIMIT" in sql or is_range or '."id" IN (' in sql or re.match(r'SELECT MIN\("\w+"."id"\)', sql), sql
        assert len(re.findall(r"COUNT\(", sql)) <= len(re.findall(r"LIMIT 11\b", sql))


@pytest.mark.skipif(connection.vendor == "mysql", reason="MariaDB always finds an index to read; its rows are measured")
@pytest.mark.parametrize("query", QUERIES)
def test_no_page_scans_the_table(boss: Client, webhook: Webhook, query: str) -> None:
    store_deliveries(webhook, 20, payload={"data": {"id": 2}})
    asked = [sql for sql in statements(boss, query) if re.search(r'FROM "?nateq_webhooks_delivery', sql)]

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")  # as it is with many rows
        for sql in asked:
            cursor.execute(("EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN ") + sql)
            for line in cursor.fetchall():
                assert "Seq Scan on nateq_webhooks_delivery" not in str(line[-1]), sql
                if re.match(r"SCAN (nateq_webhooks_delivery|\w)$", str(line[-1])):
                    # Along the key, and stopped by the limit.
                    assert "LIMIT" in sql


@pytest.mark.parametrize(
    ("query", "limit"), [("", 18), ("status__exact=processed", 20), ("q=org_1", 10), ("_facets=True", 27)]
)
def test_a_page_needs_a_few_statements_whatever_the_number_of_rows(
    boss: Client, webhook: Webhook, query: str, limit: int
) -> None:
    store_deliveries(webhook, 6)
    few = statements(boss, query)
    for each in store_deliveries(webhook, 20):
        store_run(each)

    many = statements(boss, query)

    assert len(many) == len(few) <= limit
    for column in ("body", "payload", "headers", "secret"):
        assert not any(f'."{column}"' in sql for sql in many), column


@pytest.mark.parametrize(("model", "limit"), [("delivery", 15), ("run", 4), ("rejection", 6)])
def test_a_list_needs_as_many_statements_for_many_rows_as_for_one(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, model: str, limit: int
) -> None:
    monkeypatch.setattr(DeliveryAdmin, "list_per_page", 50)
    monkeypatch.setattr(RunAdmin, "list_per_page", 50)
    url = f"/admin/nateq_webhooks/{model}/"

    def store_one_of_each() -> None:
        store_run(store_deliveries(webhook)[0])
        store_rejection(webhook)

    store_one_of_each()
    statements(boss, "", url)
    for_one = statements(boss, "", url)
    for _ in range(20):
        store_one_of_each()
    for_many = statements(boss, "", url)

    assert len(for_many) == len(for_one) <= limit
    for column in ("body", "secret", "traceback"):
        assert not any(f'"{column}"' in sql for sql in for_many), column
    assert not any("DISTINCT" in sql for sql in for_many if "nateq_webhooks_delivery" in sql)


def test_the_list_is_sorted_by_the_key_only_newest_or_oldest_first(boss: Client, webhook: Webhook) -> None:
    stored = [each.pk for each in store_deliveries(webhook, 3)]

    assert pks(boss, "o=1.-2.4") == pks(boss, "o=-3") == pks(boss, "o=x") == pks(boss, "o=99") == stored[::-1]
    assert pks(boss, "o=3") == pks(boss, "o=2.3") == stored
    assert "?o=3" in boss.get(LIST).content.decode()


def test_processing_time_is_from_the_store_to_the_end_of_the_last_first_run(boss: Client, webhook: Webhook) -> None:
    done, going_on, without = store_deliveries(webhook, 3)
    Delivery.objects.filter(pk=going_on.pk).update(status=Delivery.Status.FAILED)
    for each in (done, going_on):
        store_run(each, "shop.quick", finished_at=later(each.received_at, 0.25))
        store_run(each, "shop.slow", finished_at=later(each.received_at, 2))
        store_run(each, "shop.slow", round=3, finished_at=later(each.received_at, 86_400))

    times = {row.pk: DeliveryAdmin(Delivery, admin.site).shown_processing_time(row) for row in listed(boss).result_list}

    assert times == {done.pk: "2.0 s", going_on.pk: None, without.pk: None}
    assert [row.pk for row in listed(boss).result_list if outcome(row) == "2.0 s"] == [done.pk]


def test_a_row_names_the_receiver_that_fails_and_its_error(
    boss: Client, staff: Callable[..., Client], webhook: Webhook
) -> None:
    dead, failed, again = store_deliveries(webhook, 3, status="dead")
    Delivery.objects.filter(pk=failed.pk).update(status="failed")
    store_run(dead, "shop.good")
    store_run(dead, "shop.retried", status="failed", error="TimeoutError: later")
    store_run(dead, "shop.worst", status="dead", error="ValueError: <b>sara@example.com</b>" + "x" * 500)
    store_run(failed, "shop.send", status="failed", error="OSError: no")
    store_run(again, "shop.send", status="dead", error="OSError: no")
    store_run(again, "shop.send", round=2, status="succeeded")

    seen = {row.pk: str(outcome(row)) for row in listed(boss).result_list}
    hidden = {row.pk: str(outcome(row)) for row in listed(staff("view_delivery")).result_list}

    assert "shop.worst</bdi>: <bdi>ValueError: &lt;b&gt;sara@example.com" in seen[dead.pk]
    assert seen[dead.pk].endswith("x</bdi> (and 1 more)</span>")
    assert "x" * 200 not in seen[dead.pk]
    assert "OSError: no" in seen[failed.pk]
    assert "shop" not in seen[again.pk]  # a replay has run it since
    assert "shop.send" in hidden[failed.pk]
    assert "OSError" not in hidden[failed.pk]
    assert not any('"error"' in sql for sql in statements(staff("view_delivery"), ""))


def test_long_ids_are_cut_by_the_style_sheet_only(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, resource_id="tkt_" + "0" * 90, event="a.very_long_event")

    shown = boss.get(LIST).content.decode()

    assert f'title="tkt_{"0" * 90}" data-nateq-copy-id="tkt_{"0" * 90}">tkt_{"0" * 90}</bdi>' in shown
    assert 'title="a.very_long_event">a.very_long_event</bdi>' in shown
    page = boss.get(f"{LIST}{Delivery.objects.get().pk}/change/").content.decode()
    assert "a.<wbr>very_<wbr>long_<wbr>event</bdi>" in page


def test_a_delivery_that_came_again_says_how_often(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, attempts_seen=3)

    assert 'title="Attempts: 3">\u00d73</span>' in boss.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("passed", "words"),
    [(-30, "just now"), (59, "just now"), (125, "2 minutes ago"), (86_400 * 3 + 5_000, "3 days ago")],
)
def test_a_time_is_shown_relative_to_now_and_exactly_on_hover(passed: int, words: str) -> None:
    moment = timezone.now() - timedelta(seconds=passed)

    shown = formatting.ago(moment).replace("\xa0", " ")

    assert f">{words}</time>" in shown
    assert f'title="{timezone.localtime(moment):%Y-%m-%d %H:%M:%S}' in shown
    assert f'datetime="{moment.isoformat()}"' in shown


def act(client: Client, query: str, *selected: int, across: bool = False) -> list[int]:
    posted = {"action": "remember", "_selected_action": selected, "select_across": int(across), "index": 0}
    assert client.post(f"{ACTING}?{query}", posted).status_code == 302
    return ActingAdmin.seen


@pytest.mark.urls("tests.admin.own_admins")
def test_an_action_gets_the_selected_rows_or_all_that_match(boss: Client, webhook: Webhook) -> None:
    stored = [each.pk for each in store_deliveries(webhook, 7)]
    dead = [each.pk for each in store_deliveries(webhook, 6, status="dead", payload={"data": {"id": "7"}})]

    assert act(boss, "", stored[0], stored[3]) == [stored[0], stored[3]]
    assert act(boss, f"status__exact=dead&cursor={dead[4]}", dead[0], across=True) == dead
    assert act(boss, "q=org_1&status__exact=processed", stored[0], across=True) == stored
    # Of a search through payloads, what it found for this page.
    assert act(boss, "q=data.id=7", dead[5], across=True) == dead[1:]

    shown = boss.get(ACTING).content.decode()
    assert "Select all that match (13)" in shown
    assert 'name="_selected_action"' in shown


def test_without_an_action_there_are_no_checkboxes(staff: Callable[..., Client], webhook: Webhook) -> None:
    store_deliveries(webhook)
    page = staff("view_delivery").get(LIST).content.decode()

    assert 'name="_selected_action"' not in page
    assert "nateq_webhooks/list.css" in page


@pytest.mark.urls("tests.admin.own_admins")
def test_a_subclass_may_have_filters_of_its_own(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, 2, version="1.0")
    (other,) = store_deliveries(webhook, version="2.0")

    for query in ("version=2.0", "version=2.0&status__exact=processed", "version=2.0&q=org_1"):
        assert pks(boss, query, FILTERING) == [other.pk]
        assert str(listed(boss, query, FILTERING).count) == "1"


def test_a_user_with_view_delivery_sees_the_list(staff: Callable[..., Client], webhook: Webhook) -> None:
    store_deliveries(webhook, 7)

    assert len(pks(staff("view_delivery"), "cursor=last&_facets=True")) == 5
    assert User.objects.filter(is_superuser=False).exists()
    assert link(staff("view_delivery", "view_webhook"), "", "next") is not None
    assert Run.objects.count() == 0


def test_djangos_own_search_and_pages_as_its_autocompletion_uses_them_are_bounded(
    webhook: Webhook, rf: RequestFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CappedPaginator, "limit", 3)
    store_deliveries(webhook, 5)
    (wanted,) = store_deliveries(webhook, organization_id="org_2", payload={"data": {"id": "x"}})
    mine, everything = DeliveryAdmin(Delivery, admin.site), Delivery.objects.order_by("pk")

    def found(term: str) -> list[int]:
        return [row.pk for row in mine.get_search_results(rf.get("/"), everything, term)[0]]

    assert mine.get_paginator(rf.get("/"), everything, 2).count == 3
    assert (found("org_2"), found("data.id=x"), len(found(" "))) == ([wanted.pk], [], 6)


@pytest.mark.parametrize(
    ("number", "words"), [(0, "لا تسليمات"), (1, "تسليم واحد"), (2, "تسليمان"), (3, "3 تسليمات"), (11, "11 تسليمًا")]
)
def test_the_count_has_the_form_of_its_noun(boss: Client, webhook: Webhook, number: int, words: str) -> None:
    store_deliveries(webhook, number)

    shown = boss.get(LIST, headers={"Accept-Language": "ar"})
    with override("ar"):
        assert shown.context["cl"].count_text() == words


def test_each_list_leads_to_the_dashboard(boss: Client, db: None) -> None:
    for url in (LIST, RUNS):
        assert '<a href="/admin/nateq_webhooks/">Dashboard</a>' in boss.get(url).content.decode()
    assert 'href="/admin/nateq_webhooks/"' in boss.get("/admin/").content.decode()
