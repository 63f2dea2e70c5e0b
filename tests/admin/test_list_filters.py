"""The lists' filters, alone and together, and the counts beside them."""

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks import signals
from nateq_webhooks.admin.changelists.period_filter import moment_of
from nateq_webhooks.database.keyset import date_ranges, skip_scan
from nateq_webhooks.models import Delivery, Webhook
from tests.admin.listing import LIST, RUNS, listed, pks, statements
from tests.builders import ago, build_delivery, store_deliveries, store_run
from tests.conftest import Connect

pytestmark = pytest.mark.django_db

STATUSES = ("processed", "failed", "dead")
EVENTS = ("ticket.created", "ticket.closed", "invoice.paid")


@pytest.fixture
def other(db: None) -> Webhook:
    return Webhook.objects.create(name="desk")


@pytest.fixture
def mixed(webhook: Webhook, other: Webhook) -> list[Delivery]:
    """Three deliveries of each combination but one, in no order."""
    made = []
    for _ in range(3):
        for status, event, of in itertools.product(STATUSES, EVENTS, (webhook, other)):
            if (status, event, of) != ("dead", "invoice.paid", other):
                made += store_deliveries(of, status=status, event=event)
    return made


def facets(client: Client, query: str, url: str = LIST) -> dict[str, str]:
    """Return the counts beside the filters' choices."""
    cl = listed(client, f"{query}&_facets=True", url)
    choices = [choice["display"] for spec in cl.filter_specs for choice in spec.choices(cl)]
    found = (re.fullmatch(r"(.*) \((.*)\)", str(choice)) for choice in choices)
    return {match[1]: match[2] for match in found if match}


@pytest.mark.parametrize(("branches", "most"), [(300, 1_000), (1, 1_000), (300, 2)])
def test_each_filter_finds_its_rows_alone_and_with_others(
    boss: Client,
    webhook: Webhook,
    other: Webhook,
    mixed: list[Delivery],
    monkeypatch: pytest.MonkeyPatch,
    branches: int,
    most: int,
) -> None:
    monkeypatch.setattr(skip_scan, "MAX_BRANCHES", branches)
    monkeypatch.setattr(skip_scan, "MAX_COMBINATIONS", most)
    for status, event, of in itertools.product(("", "failed", "dead"), ("", *EVENTS[1:]), (None, webhook, other)):
        query = "&".join(
            [
                *([f"status__exact={status}"] if status else []),
                *([f"event={event}"] if event else []),
                *([f"webhook__id__exact={of.pk}"] if of else []),
            ]
        )
        expected = [
            row.pk
            for row in reversed(mixed)
            if status in ("", row.status) and event in ("", row.event) and (of is None or row.webhook_id == of.pk)
        ]

        cl = listed(boss, query)

        assert [row.pk for row in cl.result_list] == expected[:50]
        assert str(cl.count) == str(len(expected)) or (not query and cl.count is not None)
        assert pks(boss, f"{query}&cursor=last") == expected[-50:]


def test_two_statuses_are_either_of_them(boss: Client, mixed: list[Delivery]) -> None:
    found = {row.status for row in listed(boss, "status__exact=dead&status__exact=failed").result_list}

    assert found == {"dead", "failed"}


def test_a_value_that_no_row_has_finds_nothing(boss: Client, mixed: list[Delivery]) -> None:
    for query in ("status__exact=nothing", "event=nothing", "status__exact=dead&event=lead.created"):
        assert pks(boss, query) == []
        assert "0 deliveries" in boss.get(f"{LIST}?{query}").content.decode()


def test_the_chosen_event_is_among_the_choices_even_if_no_webhook_lists_it(boss: Client, mixed: list[Delivery]) -> None:
    assert (
        '<li class="selected">\n    <a href="?event=invoice.paid">'
        in boss.get(f"{LIST}?event=invoice.paid").content.decode()
    )


def test_the_only_webhook_can_be_filtered_by_and_another_key_finds_nothing(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook)

    assert len(pks(boss, f"webhook__id__exact={webhook.pk}")) == 1
    assert pks(boss, "webhook__id__exact=00000000-0000-0000-0000-000000000009") == []


BAD = [
    "webhook__id__exact=x",
    "webhook__id__exact=",
    "status__exact=%00",
    "event=%00",
    "q=%00",
    "received_at__gte=yesterday",
    "received_at__gte=2026-13-45",
    "received_at__lt=0001-01-01+00:00:00%2B14:00",
    "received_at__gte=9999-12-31+23:59:59-12:00",
    f"received_at__gte={'9' * 400}",
]


@pytest.mark.parametrize("query", BAD)
def test_an_invalid_value_is_answered_with_a_message(boss: Client, webhook: Webhook, query: str) -> None:
    store_deliveries(webhook)

    response = boss.get(f"{LIST}?{query}", follow=True)

    assert response.status_code == 200
    shown = response.content.decode()
    assert "understood" in shown or "NUL character" in shown
    assert len(response.context["cl"].result_list) == 1


@pytest.mark.parametrize(
    "query",
    ["received_at__year=2026", "body__contains=a", "payload__data__id=1", "webhook__secret__startswith=w", "foo=1"],
)
def test_a_parameter_that_is_not_a_filter_is_refused(boss: Client, webhook: Webhook, query: str) -> None:
    assert boss.get(f"{LIST}?{query}").status_code == 400


def test_facets_count_the_rows_of_each_choice(boss: Client, webhook: Webhook, mixed: list[Delivery]) -> None:
    everything = facets(boss, "")
    dead = facets(boss, "status__exact=dead")
    narrow = facets(boss, f"event=invoice.paid&webhook__id__exact={webhook.pk}")

    assert everything["Processed"] == everything["Retrying"] == "18"
    assert (everything["Failed for good"], everything["Ignored"]) == ("15", "0")
    assert (everything["ticket.created"], everything["lead.created"]) == ("18", "0")
    assert (everything["shop"], everything["desk"]) == ("27", "24")
    assert everything["Any date"] == everything["Today"] == everything["This year"] == "51"
    assert (dead["Processed"], dead["Failed for good"], dead["ticket.created"], dead["desk"]) == ("18", "15", "6", "6")
    assert dead["Any date"] == "15"
    assert (narrow["Failed for good"], narrow["invoice.paid"], narrow["ticket.closed"]) == ("3", "9", "9")
    assert (narrow["shop"], narrow["desk"], narrow["Today"]) == ("9", "6", "9")


def test_facets_stop_at_the_limit(boss: Client, mixed: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("counts", "facets", "changelist"):
        monkeypatch.setattr(f"nateq_webhooks.admin.changelists.{module}.LIMIT", 17)

    found = facets(boss, "")

    assert (found["Processed"], found["Failed for good"], found["Any date"]) == ("more than 17", "15", "more than 17")


def test_facets_of_a_search_are_counted_among_its_newest_rows(
    boss: Client, webhook: Webhook, mixed: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    store_deliveries(webhook, 2, organization_id="org_2", status="dead")

    whole = facets(boss, "q=org_1&event=ticket.created")
    monkeypatch.setattr("nateq_webhooks.admin.changelists.facets.SAMPLE", 20)
    part = facets(boss, "q=org_1&event=ticket.created")

    assert (whole["Failed for good"], whole["ticket.created"], whole["ticket.closed"]) == ("6", "18", "18")
    assert (whole["shop"], whole["Today"], whole["This year"]) == ("9", "18", "18")
    assert re.fullmatch(r"\d or more", part["Failed for good"])


def test_too_many_combinations_are_not_counted(
    boss: Client, mixed: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skip_scan, "MAX_COMBINATIONS", 2)

    found = facets(boss, "")

    assert (found["Processed"], found["Any date"]) == ("?", "51")


def test_the_webhooks_to_choose_from_are_read_without_their_secrets(boss: Client, mixed: list[Delivery]) -> None:
    assert not any('"secret"' in sql for sql in statements(boss, "_facets=True"))


def test_runs_are_filtered_and_counted_by_status_and_receiver(boss: Client, webhook: Webhook, connect: Connect) -> None:
    connect(signals.ticket_created, lambda **kwargs: None, "shop.send")
    first, second = store_deliveries(webhook, 2)
    store_run(first, "shop.send", status="dead")
    mine = store_run(first, "shop.send", round=1)
    store_run(second, "shop.audit")

    assert pks(boss, "receiver=shop.send&status__exact=succeeded", RUNS) == [mine.pk]
    assert pks(boss, f"delivery__id__exact={first.pk}&status__exact=succeeded", RUNS) == [mine.pk]
    assert facets(boss, "", RUNS)["Succeeded"] == "2"
    assert facets(boss, "receiver=shop.send", RUNS)["Succeeded"] == "1"
    narrow = facets(boss, f"delivery__id__exact={first.pk}", RUNS)
    assert (narrow["Succeeded"], narrow["Failed for good"], narrow["shop.send"]) == ("1", "1", "2")
    assert boss.get(f"{RUNS}?delivery__id__exact=x", follow=True).status_code == 200
    assert pks(boss, f"delivery__id__exact={'9' * 30}", RUNS) == []


START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def hourly(webhook: Webhook) -> list[Delivery]:
    """Forty deliveries, one an hour, with gaps between their keys."""
    made = []
    for hour in range(40):
        made += store_deliveries(webhook, received_at=START + timedelta(hours=hour))
        if hour % 3 == 0:
            store_deliveries(webhook)[0].delete()
    return made


@pytest.mark.parametrize("small", [10_000, 0])
def test_a_period_is_found_by_its_times_or_by_the_keys_that_hold_it(
    boss: Client, hourly: list[Delivery], monkeypatch: pytest.MonkeyPatch, small: int
) -> None:
    monkeypatch.setattr(date_ranges, "MAX_SMALL", small)
    moments = (-2, 0, 0.5, 1, 7, 20.25, 39, 40, 90)
    for since, until in {*itertools.pairwise(moments), *itertools.combinations(moments[::2], 2)}:
        ends = [(START + timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S%%2B00:00") for hours in (since, until)]
        expected = [row.pk for hour, row in enumerate(hourly) if since <= hour < until][::-1]

        cl = listed(boss, f"received_at__gte={ends[0]}&received_at__lt={ends[1]}")

        assert [row.pk for row in cl.result_list] == expected
        assert str(cl.count) == str(len(expected))
        assert pks(boss, f"received_at__gte={ends[0]}&received_at__lt={ends[1]}&status__exact=processed") == expected
    assert len(pks(boss, "received_at__gte=2026-03-02")) == 22  # midnight of the site's time zone, 06:00 UTC
    assert pks(boss, "received_at__lt=2026-03-01") == []


def test_a_row_that_came_a_little_out_of_order_is_found(
    boss: Client, hourly: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(date_ranges, "MAX_SMALL", 0)
    earlier, later = hourly[9], hourly[10]
    moment = START + timedelta(hours=10)
    Delivery.objects.filter(pk=earlier.pk).update(received_at=moment + timedelta(seconds=2))
    Delivery.objects.filter(pk=later.pk).update(received_at=moment - timedelta(seconds=2))

    since = pks(boss, f"received_at__gte={moment:%Y-%m-%dT%H:%M:%SZ}&cursor=last")
    until = pks(boss, f"received_at__lt={moment:%Y-%m-%dT%H:%M:%SZ}")

    assert (earlier.pk in since, later.pk in since) == (True, False)
    assert (earlier.pk in until, later.pk in until) == (False, True)


def test_a_period_in_an_empty_table_is_empty(boss: Client, db: None) -> None:
    assert pks(boss, "received_at__gte=2026-03-02&_facets=True") == []


def test_the_form_of_a_custom_period_keeps_the_other_filters(boss: Client, hourly: list[Delivery]) -> None:
    shown = boss.get(f"{LIST}?status__exact=processed&received_at__gte=2026-03-02&cursor=9999").content.decode()

    clock, both_ends = (part.split("</form>")[0] for part in shown.split('class="nateq-period"')[1:3])
    for form in (clock, both_ends):
        assert '<input type="hidden" name="status__exact" value="processed">' in form
        assert "cursor" not in form
    assert '<input type="time" name="received_at__gte" required>' in clock
    assert 'name="received_at__gte" value="2026-03-02T00:00"' in both_ends


NOW = datetime(2026, 3, 2, 10, 30, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("-15m", NOW - timedelta(minutes=15)),
        ("-1h", NOW - timedelta(hours=1)),
        ("-7d", NOW - timedelta(days=7)),
        ("today", NOW.replace(hour=0, minute=0, second=0)),
        ("10:30", NOW.replace(second=0)),
        ("9:05", NOW.replace(hour=9, minute=5, second=0)),
        ("22:00", NOW.replace(day=1, hour=22, minute=0, second=0)),
        ("24:00", None),
        ("-1y", None),
        ("2026-03-02", None),
    ],
)
def test_a_relative_time_means_another_moment_each_time(text: str, moment: datetime | None) -> None:
    with timezone.override("UTC"):
        assert moment_of(text, NOW) == moment


def test_presets_of_the_date_filter_are_addresses_that_can_be_bookmarked(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, received_at=ago(hours=30))
    store_deliveries(webhook, received_at=ago(minutes=30))
    (newest,) = store_deliveries(webhook, received_at=ago(minutes=5))

    shown = boss.get(LIST).content.decode()

    for preset, number in (("-15m", 1), ("-1h", 2), ("-7d", 3)):
        assert f"?received_at__gte={preset}" in shown
        assert len(pks(boss, f"received_at__gte={preset}")) == number
    assert "Filter: <bdi>Last hour</bdi>" in " ".join(boss.get(f"{LIST}?received_at__gte=-1h").content.decode().split())
    assert pks(boss, "received_at__gte=-9999m&received_at__lt=-10m")[0] != newest.pk


def test_saved_views_are_plain_links_and_the_current_one_is_marked(boss: Client, webhook: Webhook) -> None:
    desk = Webhook.objects.create(name="desk")
    (dead,) = store_deliveries(webhook, status="dead")
    (failed,) = store_deliveries(desk, status="failed")
    store_deliveries(webhook, status="dead", received_at=ago(days=3))
    store_deliveries(webhook, status="received")

    views = {view.label: view for view in listed(boss).views()}
    failing = views["Failing, last 24 hours"].url.removeprefix("?")

    assert list(views) == ["All", "Failing, last 24 hours", "In progress", "Today", "desk", "shop"]
    assert [view.label for view in views.values() if view.is_current] == ["All"]
    assert pks(boss, failing) == [failed.pk, dead.pk]
    assert [view.label for view in listed(boss, failing).views() if view.is_current] == ["Failing, last 24 hours"]
    assert [view.label for view in listed(boss, "q=x").views() if view.is_current] == []
    assert len(pks(boss, views["shop"].url.removeprefix("?"))) == 3


def test_a_period_costs_few_statements(boss: Client, hourly: list[Delivery], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(date_ranges, "MAX_SMALL", 0)

    asked = statements(boss, "received_at__gte=2026-03-02&received_at__lt=2026-03-03")

    assert len(asked) <= (16 if connection.vendor == "mysql" else 12)
    assert timezone.now() > START


@pytest.fixture
def many(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> list[Webhook]:
    """More webhooks than are to choose from."""
    monkeypatch.setattr("nateq_webhooks.admin.changelists.filters.MAX_WEBHOOKS", 2)
    return Webhook.objects.bulk_create([Webhook(name=f"branch {number}") for number in range(5)])


def test_a_few_of_many_webhooks_are_choices_and_the_others_are_found_by_name(boss: Client, many: list[Webhook]) -> None:
    for address in (LIST, "/admin/nateq_webhooks/rejection/"):
        shown = boss.get(address).content.decode()
        found = boss.get(address, {"find_webhook": "ANCH 4"}).content.decode()

        assert shown.count("branch") == 2
        assert 'name="find_webhook"' in shown
        assert ">branch 4<" in found
        assert ">branch 0<" not in found


def test_the_chosen_webhook_is_among_the_choices_and_the_search_is_no_filter(
    boss: Client, webhook: Webhook, many: list[Webhook]
) -> None:
    store_deliveries(many[4])
    store_deliveries(webhook)
    query = f"webhook__id__exact={many[4].pk}&find_webhook=branch"

    assert ">branch 4<" in boss.get(f"{LIST}?{query}").content.decode()
    assert len(pks(boss, query)) == 1
    assert len(pks(boss, "find_webhook=nothing")) == 2


def test_all_rows_of_the_filters_can_be_selected_during_a_search_for_webhooks(
    boss: Client, webhook: Webhook, many: list[Webhook]
) -> None:
    store_deliveries(webhook, 3)
    posted = {"action": "export_selected", "select_across": "1", "_selected_action": ["1"], "index": "0"}

    page = boss.post(f"{LIST}?status__exact=processed&find_webhook=x", posted)

    assert b'name="status" value="processed"' in page.content


def test_the_first_keys_are_found_among_more_combinations_than_keys(mixed: list[Delivery]) -> None:
    read = skip_scan.read_combinations(Delivery, "default", ("status", "event", "webhook_id"))
    assert read is not None
    scan = skip_scan.SkipScan(Delivery.objects.all(), read.only({"status": ["processed", "dead"]}))
    found = sorted(row.pk for row in mixed if row.status in ("processed", "dead"))
    middle = found[len(found) // 2]

    assert len(scan.combinations) > 3
    assert scan.pks(3, descending=True) == found[:-4:-1]
    assert scan.pks(3, descending=False) == found[:3]
    assert scan.pks(3, descending=True, beyond=middle) == [pk for pk in reversed(found) if pk < middle][:3]


def test_combinations_are_read_by_a_skip_scan(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skip_scan, "MAX_COMBINATIONS", 1_000)
    webhooks = Webhook.objects.bulk_create([Webhook(name=f"branch {number}") for number in range(300)])
    Delivery.objects.bulk_create(
        [
            build_delivery(one, status=status, event=event)
            for one in webhooks
            for status in ("dead", "processed")
            for event in "ab"
        ]
    )
    expected = set(Delivery.objects.values_list("status", "event", "webhook_id").order_by().distinct())

    with CaptureQueriesContext(connection) as captured:
        found = skip_scan.read_combinations(Delivery, "default", ("status", "event", "webhook_id"))
        found_few = skip_scan.read_combinations(Delivery, "default", ("status", "event"))

    assert found is not None
    assert (len(found), found.are_few) == (4 * 301, False)
    # The webhook without deliveries is among them: the other table says which there are.
    of_event = {each for each in expected if each[1] == "a"} | {
        (status, "a", webhook.pk) for status in ("dead", "processed")
    }
    assert set(found.only({"event": ["a"]})) == of_event
    assert found.only({"event": ["a"]}).are_few
    one = webhooks[7].pk
    assert set(found.only({"webhook_id": [one]})) == {each for each in expected if each[2] == one}
    assert found_few is not None
    assert set(found_few) == {each[:2] for each in expected}
    assert sum(float(entry["time"]) for entry in captured.captured_queries) < 15


def test_several_values_of_a_filter_are_no_condition_beside_the_combinations(
    boss: Client, mixed: list[Delivery]
) -> None:
    query = "status__exact=failed&status__exact=dead&event=ticket.closed"
    expected = [each.pk for each in mixed if each.status in ("failed", "dead") and each.event == "ticket.closed"]

    assert pks(boss, query) == sorted(expected, reverse=True)
    assert not any("status\" IN ('failed', 'dead')" in sql for sql in statements(boss, query) if "LATERAL" in sql)
