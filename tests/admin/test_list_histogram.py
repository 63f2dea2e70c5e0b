"""The histogram over the list, and the neighbours of a delivery in it."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone

from nateq_webhooks.admin.changelists import histogram as module
from nateq_webhooks.admin.changelists import neighbours
from nateq_webhooks.admin.changelists.histogram import Histogram, boundaries
from nateq_webhooks.database.keyset.bounded_scan import Budget
from nateq_webhooks.models import Delivery, Webhook
from tests.admin.listing import LIST, listed, pks, statements
from tests.builders import ago, build_delivery, insert, store_deliveries

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)


def numbers(found: Histogram | None) -> list[int]:
    """Return the number of each bar, as its label has it."""
    assert found is not None
    return [int(re.search(r": (?:about )?(\d+) deliver", bar.label.replace(",", ""))[1]) for bar in found.bars]  # type: ignore[index]


@pytest.fixture
def hourly(webhook: Webhook) -> list[Delivery]:
    """A delivery every twenty minutes for thirty hours; every ninth is dead."""
    return insert(
        build_delivery(webhook, ago(minutes=20 * number + 5), "dead" if number % 9 == 0 else "processed")
        for number in range(90)
    )


@pytest.mark.parametrize(
    ("since", "until", "step"),
    [
        (None, None, timedelta(hours=1)),
        (NOW - timedelta(minutes=15), None, timedelta(minutes=1)),
        (NOW - timedelta(hours=1), None, timedelta(minutes=5)),
        (NOW - timedelta(days=7), None, timedelta(hours=6)),
        (NOW - timedelta(days=7), NOW - timedelta(days=6), timedelta(hours=1)),
        (NOW - timedelta(days=365), NOW + timedelta(days=5), timedelta(days=30)),
    ],
)
def test_bars_begin_at_full_steps(since: datetime | None, until: datetime | None, step: timedelta) -> None:
    with timezone.override("UTC"):
        found = boundaries(since, until, NOW)

    inner = found[1:-1]
    assert found[0] == (since or NOW - timedelta(hours=24))
    assert found[-1] == min(until or NOW, NOW)
    assert {second - first for first, second in pairwise(inner)} == {step}
    assert inner[0].minute % max(1, step.seconds // 60 or 1) == 0 or step >= timedelta(hours=1)
    assert len(found) <= module.MAX_BARS + 2


def test_a_period_in_the_future_or_of_centuries_has_no_bars() -> None:
    assert boundaries(NOW + timedelta(days=1), None, NOW) == []
    assert boundaries(NOW - timedelta(days=365 * 50), None, NOW) == []


@pytest.mark.parametrize("query", ["", "status__exact=dead", "received_at__gte=-7d", "received_at__gte=-3h"])
def test_the_bars_count_the_rows_of_the_list(boss: Client, hourly: list[Delivery], query: str) -> None:
    found = listed(boss, query).histogram
    since = query.removeprefix("received_at__gte=") if "received" in query else "-24h"
    wanted = listed(boss, f"{query}&received_at__gte={since}")

    assert sum(numbers(found)) == wanted.count.number
    assert found.note == ""
    for bar, number in zip(found.bars, numbers(found), strict=True):
        assert listed(boss, bar.url.removeprefix("?")).result_count == number


def test_a_bar_keeps_the_other_filters_and_leads_to_smaller_bars(boss: Client, hourly: list[Delivery]) -> None:
    found = listed(boss, "status__exact=dead").histogram
    bar = found.bars[-2].url.removeprefix("?")  # a whole hour; the last one may have begun a second ago

    assert "status__exact=dead" in bar
    assert len(listed(boss, bar).histogram.bars) > 2


def test_too_many_rows_are_counted_for_the_newest_bars_only(
    boss: Client, hourly: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_KEYS", 20)

    found = listed(boss, "status__exact=processed").histogram
    unfiltered = listed(boss).histogram

    known = [bar for bar in found.bars if bar.is_known]
    assert known == list(found.bars[-len(known) :])
    assert 4 <= len(known) <= 8
    assert "the pale bars were not counted" in found.note
    assert "estimates" in unfiltered.note
    assert sum(numbers(unfiltered)) == 72
    assert all("about" in bar.label for bar in unfiltered.bars)


def test_a_search_and_further_pages_have_no_histogram(boss: Client, hourly: list[Delivery]) -> None:
    for query in ("q=tkt_1", "q=data.id=1", f"cursor={hourly[50].pk}", "received_at__gte=2100-01-01"):
        assert listed(boss, query).histogram is None
    assert 'class="nateq-bars"' in boss.get(LIST).content.decode()
    assert "style=" not in boss.get(LIST).content.decode().split("nateq-bars")[1].split("</ol>")[0]


def test_the_histogram_costs_a_few_statements(boss: Client, hourly: list[Delivery]) -> None:
    without = len(statements(boss, f"status__exact=dead&cursor={hourly[-1].pk + 1}"))
    asked = statements(boss, "status__exact=dead")

    assert len(asked) - without <= 9  # MariaDB needs six to find the keys
    times = [sql for sql in asked if '"received_at" FROM "nateq_webhooks_delivery" WHERE "nateq' in sql]
    assert all('WHERE "nateq_webhooks_delivery"."id" IN (' in sql for sql in times)  # MariaDB reads them at some keys


def links(client: Client, delivery: Delivery, filters: str = "") -> tuple[str, str, str]:
    """Return the addresses that a delivery's page leads to in the list."""
    address = f"{LIST}{delivery.pk}/change/"
    found = client.get(address, {"_changelist_filters": filters} if filters else {}).context["neighbours"]
    return found.previous_url, found.next_url, found.list_url


def pk_of(url: str) -> int:
    return int(url.removeprefix(LIST).split("/")[0])


def test_a_delivery_leads_to_its_neighbours_under_the_lists_filter(boss: Client, webhook: Webhook) -> None:
    first, _other, second, _more, third = (
        store_deliveries(webhook, status=status)[0] for status in ("dead", "processed", "dead", "failed", "dead")
    )
    filters = "status__exact=dead&cursor=99"

    newer, older, back = links(boss, second, filters)

    assert (pk_of(newer), pk_of(older)) == (third.pk, first.pk)
    assert back == f"{LIST}?status__exact=dead"
    assert f"_changelist_filters={quote('status__exact=dead', safe='')}" in newer
    assert links(boss, third, filters)[0] == links(boss, first, filters)[1] == ""
    older, newer, _back = links(boss, second, "status__exact=dead&o=3")  # the oldest first
    assert (pk_of(newer), pk_of(older)) == (third.pk, first.pk)
    assert pk_of(links(boss, second)[0]) == second.pk + 1


def test_a_delivery_that_was_searched_for_leads_to_the_others_that_were_found(boss: Client, webhook: Webhook) -> None:
    body = b'{"data": {"email": "sara@example.com"}}'
    wanted = [store_deliveries(webhook, body=body, resource_id=f"r{number % 2}")[0] for number in range(4)]
    store_deliveries(webhook, 3)

    assert pk_of(links(boss, wanted[2], "q=sara@example.com")[0]) == wanted[3].pk
    assert links(boss, wanted[3], "q=sara@example.com")[0] == ""
    assert pk_of(links(boss, wanted[2], "q=r0")[1]) == wanted[0].pk
    page = boss.get(f"{LIST}{wanted[2].pk}/change/", {"_changelist_filters": "q=r0&status__exact=processed"})
    assert "(<bdi>r0, Processed</bdi>)" in page.content.decode()


def test_a_search_that_ends_before_the_next_one_goes_on_in_the_list(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "BUDGET", Budget(50, 60))
    body = b'{"data": {"email": "sara@example.com"}}'
    (old,) = store_deliveries(webhook, body=body)
    store_deliveries(webhook, 60)
    (new,) = store_deliveries(webhook, body=body)

    further = links(boss, new, "q=sara@example.com")[1]

    assert further.startswith(f"{LIST}?")
    assert pks(boss, further.split("?")[1]) == [old.pk]


def test_invalid_filters_of_the_list_leave_a_page_without_neighbours(boss: Client, webhook: Webhook) -> None:
    (delivery,) = store_deliveries(webhook)

    for filters in ("body__contains=x", "webhook__id__exact=x", "received_at__gte=x", "q=%00"):
        page = boss.get(f"{LIST}{delivery.pk}/change/", {"_changelist_filters": filters})
        assert page.status_code == 200
        assert page.context["neighbours"] is None


def test_who_may_not_search_payloads_gets_no_neighbours_by_them(staff: Callable[..., Client], webhook: Webhook) -> None:
    first, second = store_deliveries(webhook, 2, body=b'{"data": "sara@example.com"}')

    assert links(staff("view_delivery"), first, "q=sara@example.com")[:2] == ("", "")
    assert pk_of(links(staff("view_delivery", "view_payload"), first, "q=sara@example.com")[0]) == second.pk
