"""How fast a delivery is received without a server: Django's WSGI handler in this process, beside bare views.

`bare row` inserts the same columns into a table like the package's: the difference is what the package's code costs.
`bare lean` inserts seven columns into a table with one unique index: the difference is what its columns cost, too.
`bare inline` inserts as `bare row` does, and then updates the row in a transaction of its own: the floor of `inline`,
where one receiver of the package's runs in the request. All views have the full middleware.
"""

import argparse
import io
import json
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection

from benchmarks import receivers, views
from benchmarks.database import database_name, temporary_database
from benchmarks.receivers import EVENT_WITH_RECEIVER, EVENT_WITHOUT_RECEIVER
from benchmarks.results import Row, Sample, Table, in_turns
from nateq_webhooks.models import Webhook
from nateq_webhooks.protocol.examples import example_envelope

WARM_UP_REQUESTS = 200


def make_environ(url: str, body: bytes) -> dict[str, Any]:
    """A WSGI environ as a server makes it for a POST of Nateq's."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": url,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_HOST": "localhost",
        "HTTP_USER_AGENT": "Nateq-Webhooks/1.0",
        "HTTP_ACCEPT": "*/*",
        "HTTP_ACCEPT_ENCODING": "gzip",
        "HTTP_X_NATEQ_SIGNATURE": f"sha256={views.sign_by_hand(body)}",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }


def prepare(url: str, count: int, event: str) -> list[dict[str, Any]]:
    """Sign `count` new deliveries, before the clock starts."""
    environs = []
    for number in range(count):
        document = example_envelope(event, number=number, delivery_id=f"dlv_{uuid.uuid4().hex}")
        environs.append(make_environ(url, json.dumps(document, ensure_ascii=False).encode()))
    return environs


def send(handler: WSGIHandler, environs: list[dict[str, Any]], threads: int) -> Sample:
    """Send all of them. Raises when one is not answered with 200."""
    statuses: list[str] = []

    def one(environ: dict[str, Any]) -> None:
        response = handler(environ, lambda status, headers, exc_info=None: statuses.append(status))
        response.close()

    start, cpu = time.perf_counter(), time.process_time()
    if threads == 1:
        for environ in environs:
            one(environ)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(one, environs, chunksize=max(1, len(environs) // threads)))
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    if set(statuses) != {"200 OK"}:
        raise SystemExit(f"not every answer was 200: {set(statuses)}")
    return Sample(rate=len(environs) / seconds, server_cpu=1000 * cpu / len(environs))


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure on PostgreSQL."""
    if connection.vendor != "postgresql":
        raise SystemExit("handler needs PostgreSQL: its floor is a copy of the package's table.")
    with temporary_database():
        return [_measure(options)]


def _measure(options: argparse.Namespace) -> Table:
    """Send turns of all ways in one process."""
    with connection.cursor() as cursor:
        for statement in views.TABLES[connection.vendor]:
            cursor.execute(statement)
    webhook = Webhook.objects.create(name="bench", secret=views.SECRET.decode())
    pruned = Webhook.objects.create(name="pruned", secret=views.SECRET.decode(), has_removed=True)
    handler = WSGIHandler()
    receivers.connect()
    own, own_pruned = webhook.get_absolute_url(), pruned.get_absolute_url()
    ways = {
        "bare lean": ("/bare/", EVENT_WITHOUT_RECEIVER, ""),
        "bare row": (f"/bare-row/{webhook.pk}/", EVENT_WITHOUT_RECEIVER, ""),
        "nateq_webhooks": (own, EVENT_WITHOUT_RECEIVER, "bare row"),
        "deliveries removed before": (own_pruned, EVENT_WITHOUT_RECEIVER, "nateq_webhooks"),
        "bare inline": (f"/bare-row-inline/{webhook.pk}/", EVENT_WITH_RECEIVER, ""),
        "inline": (own, EVENT_WITH_RECEIVER, "bare inline"),
        "inline, deliveries removed before": (own_pruned, EVENT_WITH_RECEIVER, "inline"),
    }
    for url, event, _floor in ways.values():
        send(handler, prepare(url, WARM_UP_REQUESTS, event), options.threads)
    rows = [Row(name=name, floor=floor) for name, (_url, _event, floor) in ways.items()]
    for number, row in in_turns(rows, options.rounds):
        url, event, _floor = ways[row.name]
        row.samples.append(send(handler, prepare(url, options.requests, event), options.threads))
        print(f"handler, round {number + 1} of {options.rounds}: {row.name}", file=sys.stderr)
    by_name = {row.name: row for row in rows}
    rows.append(Row(name="nateq_webhooks to lean", floor="bare lean", samples=by_name["nateq_webhooks"].samples))
    title = f"Django's handler, {options.threads} thread(s), {options.requests:,} requests a turn, {database_name()}"
    return Table(title=title, unit="requests", rows=rows)
