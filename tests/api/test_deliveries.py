"""The list of deliveries: every filter, its pages, and the statements that it takes."""

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from nateq_webhooks.database.keyset import bounded_scan, date_ranges
from nateq_webhooks.models import Delivery, RunTry, Webhook
from tests.api.conftest import Program, issue, staff
from tests.builders import ago, build_delivery, build_run, insert, store_deliveries, store_run

pytestmark = pytest.mark.django_db


def ids(program: Program, query: Any = None, path: str = "/deliveries") -> list[int]:
    """Follow the cursor to the end; return the ids."""
    found, query = [], dict(query or {})
    for _page in range(100):
        document = program.ask(path, query).json()
        found += [row["id"] for row in document["data"]]
        if document["meta"]["next_cursor"] is None:
            return found
        query["cursor"] = document["meta"]["next_cursor"]
    raise AssertionError("The list does not end.")


@pytest.fixture
def rows(webhook: Webhook) -> list[Delivery]:
    """Deliveries of each combination of values, oldest first, a minute apart."""
    other = Webhook.objects.create(name="other")
    values = itertools.product(
        (webhook, other),
        ("ticket.created", "lead.created"),
        ("processed", "dead"),
        ("org_1", "org_2"),
        ("tkt_1", "tkt_2"),
    )
    start = datetime(2026, 6, 30, 12, tzinfo=UTC)
    return insert(
        build_delivery(
            one, start + timedelta(minutes=number), status, event=event, organization_id=org, resource_id=resource
        )
        for number, (one, event, status, org, resource) in enumerate(values)
    )


FILTERS: dict[str, tuple[str, Callable[[Delivery], bool]]] = {
    "status": ("dead", lambda row: row.status == "dead"),
    "event": ("lead.created", lambda row: row.event == "lead.created"),
    "organization": ("org_2", lambda row: row.organization_id == "org_2"),
    "resource": ("tkt_2", lambda row: row.resource_id == "tkt_2"),
    "since": ("2026-06-30T12:10:00Z", lambda row: row.received_at.minute >= 10),
    "until": ("2026-06-30T15:20:00+03:00", lambda row: row.received_at.minute < 20),
    "webhook": ("", lambda row: row.webhook.name == "shop"),
}


@pytest.mark.parametrize("is_small", [True, False])
@pytest.mark.parametrize("bound", [None, "org_2"])
def test_every_combination_of_filters_finds_what_fulfils_them_all(
    rows: list[Delivery], is_small: bool, bound: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(date_ranges, "MAX_SMALL", 10_000 if is_small else 0)
    program = Program(issue(organization_id=bound or "", requests_per_minute=10_000))
    for names in itertools.chain.from_iterable(itertools.combinations(FILTERS, count) for count in range(4)):
        query = {name: FILTERS[name][0] or str(rows[0].webhook_id) for name in names}
        wanted = [
            row.pk
            for row in reversed(rows)
            if all(FILTERS[name][1](row) for name in names) and bound in (None, row.organization_id)
        ]

        assert ids(program, query) == wanted, query
        assert ids(program, query | {"limit": 3}) == wanted, query


def test_a_scan_that_stops_early_goes_on_with_the_next_page(
    program: Program, rows: list[Delivery], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounded_scan, "MAX_ROWS", 3)
    monkeypatch.setattr(bounded_scan, "FIRST_BATCH", 3)
    query = {"organization": "org_1", "status": "dead", "event": "lead.created"}

    document = program.ask("/deliveries", query).json()

    assert len(document["data"]) < 4
    assert document["meta"]["next_cursor"] is not None
    assert ids(program, query) == [
        row.pk for row in reversed(rows) if (row.organization_id, row.status, row.event) == tuple(query.values())
    ]


def test_a_page_has_fifty_rows_unless_it_is_told_otherwise(program: Program, webhook: Webhook) -> None:
    stored = store_deliveries(webhook, 120)

    first = program.ask("/deliveries").json()
    assert [row["id"] for row in first["data"]] == [row.pk for row in reversed(stored)][:50]
    assert first["meta"] == {"limit": 50, "next_cursor": str(stored[70].pk)}
    assert len(program.data("/deliveries", {"limit": 100})) == 100
    assert len(ids(program)) == 120


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"limit": "0"}, {"limit"}),
        ({"limit": "101"}, {"limit"}),
        ({"limit": "1e1", "cursor": "x"}, {"limit", "cursor"}),
        ({"limit": "\u0663"}, {"limit"}),
        ({"limit": "9" * 5000}, {"limit"}),
        ({"cursor": "-5"}, {"cursor"}),
        ({"cursor": "last"}, {"cursor"}),
        ({"cursor": ""}, {"cursor"}),
        ({"cursor": "9" * 19}, {"cursor"}),
        ({"offset": "0"}, {"offset"}),
        ({"page": "2"}, {"page"}),
        ({"status": "gone"}, {"status"}),
        ({"status": ""}, {"status"}),
        ({"webhook": "shop"}, {"webhook"}),
        ({"event": "\0"}, {"event"}),
        ({"event": ""}, {"event"}),
        ({"resource": "x" * 10_000}, {"resource"}),
        ({"organization": "a\0b"}, {"organization"}),
        ({"since": "yesterday"}, {"since"}),
        ({"since": "0001-01-01T00:00:00Z"}, {"since"}),
        ({"until": "9999-12-31T23:59:59-14:00"}, {"until"}),
        ({"until": "2026-13-01"}, {"until"}),
        ({"status": ["dead", "failed"]}, {"status"}),
        ({"webhook__secret__startswith": "w"}, {"webhook__secret__startswith"}),
        ({"\ud800": "1"}, {"\ufffd"}),
    ],
)
def test_what_is_unknown_or_impossible_is_named(program: Program, query: Any, names: set[str]) -> None:
    if "\ud800" in query:
        response = program.ask("/deliveries?%ED%A0%80=1", status=422)
        assert response.json()["error"]["code"] == "VALIDATION_ERROR"
        return
    error = program.error("/deliveries", query, status=422)

    assert error["code"] == "VALIDATION_ERROR"
    assert set(error["details"]) == names
    assert all(isinstance(text, str) and text for text in error["details"].values())


def test_an_unknown_status_is_refused_with_those_that_there_are(program: Program) -> None:
    details = program.error("/deliveries", {"status": "daed"}, status=422)["details"]

    assert details == {"status": "must be one of: received, processed, failed, dead, ignored, invalid."}


@pytest.mark.parametrize(
    "pk", ["0", "x", "-1", "1.0", "9" * 19, "9" * 5000, "%00", "1%00", "%ED%A0%80", "\u0661", "%2e"]
)
@pytest.mark.parametrize("rest", ["", "/body", "/runs"])
def test_a_delivery_that_is_not_there_is_404(program: Program, pk: str, rest: str) -> None:
    assert program.error(f"/deliveries/{pk}{rest}", status=404)["code"] == "NOT_FOUND"


def test_one_delivery_shows_what_is_stored_of_it(program: Program, webhook: Webhook) -> None:
    [older, newer] = (
        store_deliveries(webhook, timestamp=ago(minutes=minutes), notes=["no_version"], body=b'{"a": 1}')[0]
        for minutes in (2, 1)
    )

    shown = program.data(f"/deliveries/{older.pk}")

    assert shown["is_superseded"] is True
    assert (shown["size"], shown["notes"], shown["webhook_id"]) == (8, ["no_version"], str(webhook.pk))
    assert datetime.fromisoformat(shown["happened_at"]) == older.timestamp
    assert program.data(f"/deliveries/{newer.pk}")["is_superseded"] is False


def test_the_runs_of_a_delivery_are_paged_newest_first(program: Program, webhook: Webhook) -> None:
    first, second = store_deliveries(webhook, 2)
    runs = [store_run(first, f"shop.{number}", round=number) for number in range(5)]
    store_run(second)

    found = program.data(f"/deliveries/{first.pk}/runs")

    assert [row["id"] for row in found] == [run.pk for run in reversed(runs)]
    assert (found[0]["replay_id"], found[-1]["replay_id"]) == (4, None)
    assert ids(program, {"limit": 2}, f"/deliveries/{first.pk}/runs") == [run.pk for run in reversed(runs)]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/deliveries", {}),
        ("/deliveries", {"status": "processed", "since": "2020-01-01T00:00:00Z"}),
        ("/deliveries", {"organization": "org_1", "event": "ticket.created"}),
        ("/deliveries", {"resource": "tkt_1"}),
        ("/rejections", {}),
        ("/webhooks", {}),
    ],
)
@pytest.mark.parametrize("bound", ["", "org_1"])
def test_the_statements_do_not_depend_on_the_size_of_the_page(
    path: str, query: dict[str, str], bound: str, webhook: Webhook
) -> None:
    webhook.organization_id = "org_1"
    webhook.save()
    stored = store_deliveries(webhook, 60)
    for row in stored:
        build_run(row).save()
    program = Program(issue(organization_id=bound))
    program.ask(path, query)
    counts = []
    for limit in (1, 50):
        with CaptureQueriesContext(connection) as caught:
            program.ask(path, query | {"limit": limit})
        counts.append(len(caught))

    assert counts[0] == counts[1] <= 8


def test_a_run_has_its_failed_tries_and_so_has_the_log(program: Program, webhook: Webhook) -> None:
    [delivery] = store_deliveries(webhook)
    run = store_run(delivery, tries=3)
    for number in (1, 2):
        RunTry.objects.create(
            run=run, number=number, finished_at=timezone.now(), duration=timedelta(milliseconds=12), error="broken"
        )

    [shown] = program.data(f"/deliveries/{delivery.pk}/runs")

    assert [(each["number"], each["duration_ms"], each["error"]) for each in shown["failed_tries"]] == [
        (2, 12.0, "broken"),
        (1, 12.0, "broken"),
    ]
    [entry] = program.data(f"/webhooks/{webhook.pk}/logs")
    assert entry["receivers"][0]["failed_tries"] == shown["failed_tries"]
    [hidden] = staff("view_delivery", "view_run").data(f"/deliveries/{delivery.pk}/runs")
    assert [each["error"] for each in hidden["failed_tries"]] == [None, None]
