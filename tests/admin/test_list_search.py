"""The search: exact ids through indexes, and paths into payloads as far as the limit allows."""

from collections.abc import Callable, Iterator
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from nateq_webhooks import payload_index
from nateq_webhooks.admin.changelists.payload_search import parse
from nateq_webhooks.admin.changelists.search import IdSearch
from nateq_webhooks.database.keyset import bounded_scan
from nateq_webhooks.database.keyset.key_queries import Union
from nateq_webhooks.models import Delivery, Webhook
from tests.admin.listing import LIST, RUNS, link, listed, pks, statements
from tests.builders import store_deliveries, store_run

pytestmark = pytest.mark.django_db

LOOSE_ON_MARIADB = ("data.number=7.0", 'data.number="7"')
"""MariaDB compares what it extracts as text: a number is the text it is written as (docs/how-to/lists.md)."""

is_postgresql = connection.vendor == "postgresql"


def test_a_search_is_for_a_delivery_a_resource_or_an_organization_and_exact(boss: Client, webhook: Webhook) -> None:
    (by_id,) = store_deliveries(webhook, delivery_id="abc", resource_id="r1", organization_id="o1")
    (by_resource,) = store_deliveries(webhook, resource_id="abc", organization_id="o2")
    (by_organization,) = store_deliveries(webhook, organization_id="abc", resource_id="r2")
    desk = Webhook.objects.create(name="desk")
    (all_three,) = store_deliveries(desk, delivery_id="abc", resource_id="abc", organization_id="abc")

    found = [all_three.pk, by_organization.pk, by_resource.pk, by_id.pk]

    assert pks(boss, "q=abc") == pks(boss, "q=+abc+") == found
    assert str(listed(boss, "q=abc").count) == "4"
    assert pks(boss, "q=r1") == [by_id.pk]
    assert pks(boss, "q=ABC") == pks(boss, "q=ab") == pks(boss, "q=abc%25") == []
    assert len(pks(boss, "q=+")) == 4


def test_a_search_of_several_kinds_has_pages(boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.DeliveryAdmin.list_per_page", 2)
    stored = [
        store_deliveries(webhook, 1, **{column: "abc"})[0].pk for column in ("resource_id", "organization_id") * 2
    ]

    assert pks(boss, "q=abc") == stored[:1:-1]
    assert pks(boss, link(boss, "q=abc", "next") or "") == pks(boss, "q=abc&cursor=last") == stored[1::-1]


@pytest.mark.parametrize(
    ("term", "matches"),
    [
        ("data.requester.email=sara@example.com", True),
        ("$.data.requester.email = sara@example.com ", True),
        ("data.requester.email=Sara@example.com", False),
        ("data.requester.email=sara", False),
        ("data.requester=sara@example.com", False),
        ("data.number=7", True),
        ("data.number=7.0", True),
        ('data.number="7"', False),
        ("data.number=07", False),
        ("data.text=7", True),
        ('data.text="7"', True),
        ("data.share=0.5", True),
        ("data.yes=true", True),
        ("data.yes=True", False),
        ("data.none=null", True),
        ("data.missing=null", False),
        ("data.lines.1.sku=b", True),
        ("data.lines.0.sku=b", False),
        ("data.word=a=b", True),
        ("data.exact=it", True),
        ("data.isnull=it", True),
        ("data.مفتاح=قيمة", True),
        ("event=ticket.created", True),
        ("data.%s=' OR 1=1 --", False),
        ('data.a"b=1', False),
        ("data.x)=1", False),
        ("data.key with space=1", True),
    ],
)
def test_a_path_finds_the_rows_with_its_value(boss: Client, webhook: Webhook, term: str, matches: bool) -> None:
    payload = {
        "event": "ticket.created",
        "data": {
            "requester": {"email": "sara@example.com"},
            "number": 7,
            "text": "7",
            "share": 0.5,
            "yes": True,
            "none": None,
            "lines": [{"sku": "a"}, {"sku": "b"}],
            "word": "a=b",
            "exact": "it",
            "isnull": "it",
            "مفتاح": "قيمة",
            "key with space": 1,
        },
    }
    store_deliveries(webhook, payload={"data": {"number": 8}})
    (wanted,) = store_deliveries(webhook, payload=payload)
    store_deliveries(webhook, payload=None)

    if connection.vendor == "mysql" and term in LOOSE_ON_MARIADB:
        matches = not matches
    response = boss.get(LIST, {"q": term})

    assert response.status_code == 200
    assert [row.pk for row in response.context["cl"].result_list] == ([wanted.pk] if matches else [])
    shown = response.content.decode()
    assert "Looked through 3 deliveries, which is all." in shown
    assert ("1 delivery was found." if matches else "Nothing was found there.") in shown


@pytest.mark.parametrize("term", ["a=", "=b", "a..b=1", ".a=1", "nothing", ".".join("a" * 17) + "=1", "1.1.1.1=x"])
def test_a_term_that_is_not_a_path_and_value_is_searched_for_as_an_id(
    boss: Client, webhook: Webhook, term: str
) -> None:
    store_deliveries(webhook, payload={"a": 1})
    (wanted,) = store_deliveries(webhook, delivery_id=term, payload={})

    assert parse(term) is None
    assert pks(boss, f"q={term}") == [wanted.pk]


def test_an_id_that_looks_like_a_path_is_found_as_an_id(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, payload={"abc": "="})
    (wanted,) = store_deliveries(webhook, delivery_id="abc==", payload={})

    assert pks(boss, "q=abc%3D%3D") == [wanted.pk]
    assert isinstance(listed(boss, "q=abc%3D%3D").list_query.search, IdSearch)


@pytest.fixture
def _three_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_scan, "MAX_ROWS", 3)
    monkeypatch.setattr(bounded_scan, "FIRST_BATCH", 1)
    monkeypatch.setattr(bounded_scan, "GROWTH", 2)
    monkeypatch.setattr(bounded_scan, "MAX_SECONDS", 60)
    for name in ("FIRST_BUDGET", "FURTHER_BUDGET"):
        monkeypatch.setattr(f"nateq_webhooks.admin.changelists.changelist.{name}", bounded_scan.Budget(3, 60))


@pytest.mark.usefixtures("_three_at_a_time")
def test_a_search_through_payloads_shows_how_far_it_looked_and_continues_there(boss: Client, webhook: Webhook) -> None:
    (old,) = store_deliveries(webhook, payload={"data": {"id": "x"}})
    others = store_deliveries(webhook, 5, payload={"data": {"id": "y"}})
    (new,) = store_deliveries(webhook, payload={"data": {"id": "x"}})

    shown = boss.get(f"{LIST}?q=data.id=x").content.decode()
    further = link(boss, "q=data.id=x", "next") or ""
    last = link(boss, further, "next") or ""

    assert pks(boss, "q=data.id=x") == [new.pk]
    assert "Looked through the 3 newest deliveries, back to 20" in shown
    assert "1 delivery was found. The rest was not looked at." in shown
    assert shown.count("Search further back") == 2
    assert f"cursor={others[3].pk}" in further
    assert pks(boss, further) == []
    assert pks(boss, last) == [old.pk]
    assert link(boss, last, "next") is None
    assert (
        "Looked through 1 further delivery, up to the end of the list." in boss.get(f"{LIST}?{last}").content.decode()
    )
    assert pks(boss, link(boss, last, "prev") or "") == []
    assert pks(boss, "q=data.id=x&cursor=last") == [old.pk]
    assert pks(boss, link(boss, "q=data.id=x&cursor=last", "prev") or "") == []


@pytest.mark.usefixtures("_three_at_a_time")
def test_filters_narrow_a_search_through_payloads(boss: Client, webhook: Webhook) -> None:
    (old,) = store_deliveries(webhook, payload={"data": {"id": "x"}}, status="dead")
    store_deliveries(webhook, 10, payload={"data": {"id": "x"}})
    store_deliveries(webhook, 2, payload={"data": {"id": "y"}}, status="dead")

    assert pks(boss, "q=data.id=x&status__exact=dead") == [old.pk]


def test_a_full_page_of_a_search_through_payloads_leads_to_the_next(
    boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nateq_webhooks.admin.DeliveryAdmin.list_per_page", 2)
    stored = [each.pk for each in store_deliveries(webhook, 5, payload={"data": {"id": "x"}})]

    second = link(boss, "q=data.id=x", "next") or ""

    assert pks(boss, "q=data.id=x") == stored[:2:-1]
    assert pks(boss, second) == stored[2:0:-1]
    assert pks(boss, link(boss, second, "prev") or "") == stored[:2:-1]
    assert "Search further back" not in boss.get(f"{LIST}?q=data.id=x").content.decode()


def test_a_search_through_payloads_ends_after_its_time_limit(webhook: Webhook) -> None:
    store_deliveries(webhook, 600, payload={"data": {"id": "y"}})
    wanted = parse("data.id=x")
    assert wanted is not None
    ticks: Iterator[float] = iter([0.0, bounded_scan.MAX_SECONDS / 2, bounded_scan.MAX_SECONDS, 99.0])
    rows = Delivery.objects.all()

    found = bounded_scan.BoundedScan(Union([rows]), rows, wanted.matching, clock=lambda: next(ticks)).find(
        10, descending=True, beyond=None
    )

    assert found.pks == []
    # Half of the time went for the first batch, so the second is no larger, and then it is over.
    assert found.rows_scanned == 2 * bounded_scan.FIRST_BATCH
    assert found.stopped_at == Delivery.objects.order_by("-pk")[2 * bounded_scan.FIRST_BATCH - 1].pk


def test_a_user_without_view_payload_can_not_search_payloads(staff: Callable[..., Client], webhook: Webhook) -> None:
    (wanted,) = store_deliveries(webhook, payload={"data": {"id": "x"}})
    may_not, may = staff("view_delivery"), staff("view_delivery", "view_payload")

    refused = may_not.get(f"{LIST}?q=data.id=x")

    assert refused.context["cl"].result_list == []
    assert "needs the permission" in refused.content.decode()
    assert not any('"payload"' in sql for sql in statements(may_not, "q=data.id=x"))
    assert "sara@example.com" not in may_not.get(LIST).content.decode()
    assert pks(may, "q=data.id=x") == [wanted.pk]
    assert "sara@example.com" in may.get(LIST).content.decode()


def test_no_counts_are_offered_for_a_search_through_payloads(boss: Client, webhook: Webhook) -> None:
    store_deliveries(webhook, payload={"data": {"id": "x"}})

    shown = boss.get(f"{LIST}?q=data.id=x&_facets=True").content.decode()

    assert "Show counts" not in shown
    assert "Processed (" not in shown
    assert "Found on this page: 1" in shown


@pytest.mark.usefixtures("_three_at_a_time")
def test_filters_on_a_search_find_its_rows(boss: Client, webhook: Webhook) -> None:
    (old,) = store_deliveries(webhook, status="dead")
    store_deliveries(webhook, 5)
    (new,) = store_deliveries(webhook, status="dead")
    store_deliveries(webhook, organization_id="org_2", resource_id="tkt_2", status="dead")

    found, query = [], "q=org_1&status__exact=dead"
    while query:
        found += pks(boss, query)
        query = link(boss, query, "next") or ""

    assert found == [new.pk, old.pk]


def test_runs_are_searched_by_their_delivery(boss: Client, webhook: Webhook) -> None:
    first, second = store_deliveries(webhook, 2)
    Delivery.objects.filter(pk=first.pk).update(organization_id="org_9")
    mine = store_run(first)
    store_run(second)

    assert pks(boss, f"q={first.delivery_id}", RUNS) == [mine.pk]
    assert pks(boss, "q=org_9", RUNS) == pks(boss, "q=data.id=1", RUNS) == []


def told(*arguments: str, **options: Any) -> str:
    out = StringIO()
    call_command("nateq_payload_index", *arguments, stdout=out, **options)
    return out.getvalue()


@pytest.mark.skipif(is_postgresql, reason="PostgreSQL has the index")
@pytest.mark.parametrize("action", [(), ("create",), ("drop",)])
def test_the_command_explains_that_other_databases_have_no_such_index(action: tuple[str, ...]) -> None:
    with pytest.raises(CommandError, match="no index for all paths of a JSON column; PostgreSQL has"):
        told(*action)


def test_an_unknown_database_is_refused() -> None:
    with pytest.raises(CommandError, match="There is no database 'nowhere'"):
        told(database="nowhere")


@pytest.fixture
def _no_index_afterwards(transactional_db: None) -> Iterator[None]:
    yield
    with connection.cursor() as cursor:
        cursor.execute(payload_index.drop_sql("default"))


@pytest.mark.skipif(not is_postgresql, reason="PostgreSQL's index")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_no_index_afterwards", "_three_at_a_time")
def test_the_optional_index_lifts_the_limit(boss: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [
        each.pk
        for each in store_deliveries(webhook, 4, payload={"data": {"lines": [{"n": 7}], "id": "x"}}, status="dead")
    ]
    store_deliveries(webhook, 12, payload={"data": {"id": "y"}})
    assert pks(boss, "q=data.id=x") == []

    assert "CREATE INDEX CONCURRENTLY" in told("create", dry_run=True)
    assert payload_index.is_there("default") is False
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda prompt: "n")
    with pytest.raises(CommandError, match="Nothing was changed"):
        told("create")
    assert "no limit" in told("create", no_input=True)
    assert "no limit" in told("create", no_input=True)
    assert "no limit" in told()

    assert pks(boss, "q=data.id=x") == pks(boss, "q=data.lines.0.n=7") == stored[::-1]
    assert pks(boss, "q=data.lines.1.n=7") == pks(boss, "q=data.id=x&status__exact=failed") == []
    assert pks(boss, "q=data.id=x&status__exact=dead") == stored[::-1]
    assert "Older ones were searched through the index." in boss.get(f"{LIST}?q=data.id=x").content.decode()
    monkeypatch.setattr("nateq_webhooks.admin.DeliveryAdmin.list_per_page", 3)
    assert pks(boss, link(boss, "q=data.id=x", "next") or "") == [stored[0]]
    assert any(" @> " in sql for sql in statements(boss, "q=data.id=x"))

    assert "DROP INDEX CONCURRENTLY" in told("drop", no_input=True)
    assert payload_index.is_there("default") is False
    assert "does not exist" in told("drop", no_input=True)


@pytest.mark.skipif(not is_postgresql, reason="PostgreSQL's index")
@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_no_index_afterwards")
def test_an_unfinished_index_is_created_again() -> None:
    told("create", no_input=True)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = to_regclass(%s)", [payload_index.NAME]
        )
    assert "is incomplete" in told()

    shown = told("create", no_input=True)

    assert shown.index("DROP INDEX") < shown.index("CREATE INDEX")
    assert payload_index.is_there("default") is True
