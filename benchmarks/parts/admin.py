"""How long the admin's lists take on a big table: each kind of page through Django's test client, as a superuser.

Fills the database of `--database`, which must exist and be its own: it is filled when it holds no deliveries, left as
it is afterwards, and to be dropped by hand. Prints for each page the median and the slowest of some requests, all that
the server does included; the median of the processors' time alone (this process' and the database's, where both run on
one Linux), which other work on the machine does not lengthen; and the SQL statements. `--only TEXT` measures the pages
whose name contains the text; `--explain` prints the statements of each that took longer than 10 ms. For the dashboard
the clock stands at the newest delivery; `--only truth` compares its figures with those of every row.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from unittest import mock

from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.db.models import Count, Max, Q
from django.test import Client
from django.test.utils import (
    CaptureQueriesContext,
    override_settings,
    setup_test_environment,
    teardown_test_environment,
)
from django.utils import timezone

from benchmarks.database import database_seconds
from benchmarks.parts.filling import RARE_EVENT, SINGLE_ORGANIZATION, WEBHOOKS, fill
from benchmarks.results import Table
from nateq_webhooks.admin.dashboard.statistics import read_statistics
from nateq_webhooks.models import Delivery, Webhook
from nateq_webhooks.models.hourly_count import HourlyCount

DELIVERIES = "/admin/nateq_webhooks/delivery/"
RUNS = "/admin/nateq_webhooks/run/"
DASHBOARD = "/admin/nateq_webhooks/"


def pages(rows: int) -> Iterator[tuple[str, str]]:
    """Yield each page's name and address."""
    middle = rows // 2
    shop, rare = WEBHOOKS["shop"][0], WEBHOOKS["rare"][0]
    recent = "received_at__gte=2026-11-20+00:00:00Z"
    month = "received_at__gte=2026-09-01+00:00:00Z&received_at__lt=2026-10-01+00:00:00Z"
    status = "status__exact="
    every = f"{status}failed&event=ticket.created&webhook__id__exact={shop}&{month}"
    delivery = {
        "first page": "",
        "next page": f"cursor={rows - 50}",
        "page in the middle": f"cursor={middle}",
        "previous page": f"cursor=-{middle}",
        "last page": "cursor=last",
        "oldest first": "o=6",
        "facets": "_facets=True",
        "status processed": f"{status}processed",
        "status failed": f"{status}failed",
        "status dead": f"{status}dead",
        "status failed, last page": f"{status}failed&cursor=last",
        "status failed, facets": f"{status}failed&_facets=True",
        "status that none has": f"{status}nothing",
        "event frequent": "event=conversation.started",
        "event rare": "event=lead.created",
        "event in ten rows": f"event={RARE_EVENT}",
        "event that none has": "event=nothing.happened",
        "event rare, facets": f"event={RARE_EVENT}&_facets=True",
        "webhook frequent": f"webhook__id__exact={shop}",
        "webhook rare": f"webhook__id__exact={rare}",
        "webhook rare, facets": f"webhook__id__exact={rare}&_facets=True",
        "date: since the 20th": recent,
        "date: september": month,
        "date: september, last page": f"{month}&cursor=last",
        "date: september, facets": f"{month}&_facets=True",
        "status dead, event rare": f"{status}dead&event=lead.created",
        "status dead, webhook frequent": f"{status}dead&webhook__id__exact={shop}",
        "status dead, webhook rare": f"{status}dead&webhook__id__exact={rare}",
        "event frequent, webhook rare": f"event=conversation.started&webhook__id__exact={rare}",
        "status processed, september": f"{status}processed&{month}",
        "status failed, september": f"{status}failed&{month}",
        "status failed, september, facets": f"{status}failed&{month}&_facets=True",
        "all four filters": every,
        "all four filters, facets": f"{every}&_facets=True",
        "search: delivery id": f"q=dlv_{middle}",
        "search: resource id": f"q=tkt_{middle // 4}",
        "search: organization frequent": "q=org_0",
        "search: organization": "q=org_150",
        "search: organization, next page": f"q=org_150&cursor={middle}",
        "search: organization, last page": "q=org_150&cursor=last",
        "search: organization, failed": f"q=org_150&{status}failed",
        "search: organization, dead and rare event": f"q=org_150&{status}dead&event=lead.created",
        "search: organization, september": f"q=org_150&{month}",
        "search: organization, facets": "q=org_150&_facets=True",
        "search: organization of one row": f"q={SINGLE_ORGANIZATION}",
        "search: nothing": "q=nothing",
        "search: payload, found soon": f"q=data.requester.email=sara{(rows - 500) % 1000003}@example.com",
        "search: payload, not found": "q=data.requester.email=nobody@example.com",
        "search: payload, further back": f"q=data.requester.email=nobody@example.com&cursor={middle}",
        "search: payload, failed": f"q=data.requester.email=nobody@example.com&{status}failed",
        "search: payload, frequent": "q=data.status=open",
    }
    for name, query in delivery.items():
        yield name, f"{DELIVERIES}?{query}"
    yield "a delivery's page", f"{DELIVERIES}{middle}/change/"
    run = {
        "first page": "",
        "last page": "cursor=last",
        "facets": "_facets=True",
        "status dead": f"{status}dead",
        "status succeeded": f"{status}succeeded",
        "receiver rare": "receiver=shop.rare",
        "receiver that none has": "receiver=shop.nothing",
        "receiver rare, dead": f"receiver=shop.rare&{status}dead",
        "of one delivery": f"delivery__id__exact={middle}",
        "search: delivery id": f"q=dlv_{middle}",
    }
    for name, query in run.items():
        yield f"runs: {name}", f"{RUNS}?{query}"
    yield "a run's page", f"{RUNS}{middle}/change/"


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure and print a list of its own: its figures are times of pages, not rates."""
    with override_settings(ROOT_URLCONF="tests.urls", ALLOWED_HOSTS=["*"]):
        _measure(options)
    return []


def _measure(options: argparse.Namespace) -> None:
    """Fill if need be, measure and print."""
    call_command("migrate", verbosity=0, skip_checks=True)
    if not Delivery.objects.exists():
        fill(max(options.rows))
    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.get_or_create(username="bench", is_staff=True, is_superuser=True)[0])
    found = Delivery.objects.order_by("-pk").values_list("pk", flat=True)[0]
    print(f"{connection.vendor}, {found:,} deliveries: median and slowest of {options.repeat} requests,")
    print("median of the processors' time, SQL statements, rows shown and counted")
    for name, url in pages(found):
        if options.only in name:
            _measure_page(client, name, url, options)
    newest = Delivery.objects.latest("pk").received_at
    with mock.patch.object(timezone, "now", return_value=newest):
        _measure_dashboard(client, options)


def _measure_dashboard(client: Client, options: argparse.Namespace) -> None:
    """Measure the dashboard and the pages of two webhooks, with the clock at the newest delivery."""
    if options.only in "dashboard: first requests":
        HourlyCount.objects.all().delete()
        for number in range(1, 5):
            start = time.perf_counter()
            client.get(DASHBOARD)
            taken = 1000 * (time.perf_counter() - start)
            print(f"dashboard: request {number}, {HourlyCount.objects.count()} hours are stored then {taken:7.1f} ms")
    webhooks = {name: f"{DASHBOARD}webhook/{WEBHOOKS[name][0]}/change/" for name in ("shop", "rare")}
    pages = {"dashboard": DASHBOARD, "webhook frequent": webhooks["shop"], "webhook rare": webhooks["rare"]}
    for name, url in pages.items():
        if options.only in f"{name}: page with figures":
            _measure_page(client, f"{name}: page with figures", url, options)
    shop = WEBHOOKS["shop"][0]
    figures = {
        "dashboard: figures alone": lambda: read_statistics(),
        "webhook frequent: figures alone": lambda: read_statistics(shop),
    }
    for name, read in figures.items():
        if options.only in name:
            times, works = _timed(read, options.repeat)
            print(
                f"{name:44} {statistics.median(times):7.1f} ms {max(times):7.1f} ms {statistics.median(works):7.1f} ms"
            )
    if options.only in "truth":
        _compare_figures()


def _compare_figures() -> None:
    """Print some webhooks' figures as they are shown, and as every row of the table has them."""
    found = read_statistics(webhook_ids=[key for key, _share in WEBHOOKS.values()])
    in_chart = Q(received_at__gte=found.hours[0])
    number, failed = Count("pk", filter=in_chart), Count("pk", filter=in_chart & Q(status__in=Delivery.FAILING))
    rows = Delivery.objects.order_by().values("webhook_id")
    truth = {row["webhook_id"]: row for row in rows.annotate(number=number, failed=failed, last=Max("received_at"))}
    wrong = 0
    for webhook in Webhook.objects.order_by("name"):
        health, true = found.health(webhook.pk), truth.get(webhook.pk, {"number": 0, "failed": 0, "last": None})
        is_right = (health.total, health.failed, health.last) == (true["number"], true["failed"], true["last"])
        wrong += not is_right
        if webhook.name in ("shop", "site_1", "rare") or not is_right:
            print(f"{webhook.name}: truth {true['number']:,}, {true['failed']:,} failed, last {true['last']}")
            print(f"{webhook.name}: shown {health.total:,}, {health.failed:,} failed, last {health.last}")
    print(
        f"{len(truth)} webhooks, {wrong} of them with a figure that is not the truth; hours shown: {len(found.hours)}"
    )


def _measure_page(client: Client, name: str, url: str, options: argparse.Namespace) -> None:
    """Ask for a page some times and print its line."""
    setup_test_environment()  # for the first request only: it copies every template's context
    with CaptureQueriesContext(connection) as queries:
        response = client.get(url)
        statements = queries.captured_queries
    teardown_test_environment()
    if response.status_code != 200:
        raise SystemExit(f"{url}: {response.status_code}")
    times, works = _timed(lambda: client.get(url), options.repeat)
    listing = response.context.get("cl")
    shown = "" if listing is None else f"{len(listing.result_list):3} rows, {listing.count or ''}"
    print(
        f"{name:44} {statistics.median(times):7.1f} ms {max(times):7.1f} ms "
        f"{statistics.median(works):7.1f} ms {len(statements):4}  {shown}",
        flush=True,
    )
    if options.explain:
        for query in statements:
            if float(query["time"]) > 0.01:
                print(f"      {query['time']} {query['sql'][:1500]}")


def _timed(work: Callable[[], object], repeat: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds that each repetition took by the clock, and of the processors."""
    times, works = [], []
    before = database_seconds()
    for _ in range(repeat):
        start, used = time.perf_counter(), time.process_time() + before
        work()
        times.append(1000 * (time.perf_counter() - start))
        own = time.process_time()
        before = database_seconds()
        works.append(1000 * (own + before - used))
    return times, works
