"""Genuine traffic beside a flood of bad signatures: its latency, and how many rejections are stored.

A real gunicorn of several processes on this machine, over loopback. Genuine deliveries come at a steady rate, each
measured from the moment it was due, so that waiting counts. Three ways, in turns: alone; with a flood from a process of
its own; and with the same flood at a site that records no rejections, to show what recording costs. `--flood 0` sends
as fast as it is answered, which measures the processors more than the receiver view.
"""

import argparse
import http.client
import json
import random
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from typing import Any

from benchmarks import views
from benchmarks.database import database_name, temporary_database
from benchmarks.load import percentile
from benchmarks.processes import SERVERS, serving
from benchmarks.results import Table

WATCH_SECONDS = 0.1
FLOOD_CONNECTIONS = 4


@dataclass
class Outcome:
    """What one run measured."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    rows: list[int] = field(default_factory=list)

    def row(self, name: str) -> str:
        """Return its line of the table."""
        ordered = sorted(self.seconds)
        times = [f"{1000 * percentile(ordered, share):.1f}" for share in (0.5, 0.95, 0.99)]
        rows = [max(self.rows, default=0), self.rows[-1] if self.rows else 0]
        return f"| {' | '.join(str(cell) for cell in (name, len(ordered), *times, self.refused, *rows))} |"


class Sender:
    """One connection that is kept, as Nateq's and a flood's are."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, body: bytes, signature: str) -> int:
        """Post once, on a new connection if the server has closed the last one."""
        headers = {"Content-Type": "application/json", "X-Nateq-Signature": signature}
        try:
            self._client.request("POST", self._path, body, headers)
            answer = self._client.getresponse()
        except (http.client.HTTPException, OSError):
            self._client.close()
            self._client.request("POST", self._path, body, headers)
            answer = self._client.getresponse()
        answer.read()
        return answer.status


def document(size: int) -> bytes:
    """Return a delivery of about `size` bytes, as any other as far as anybody can see."""
    return json.dumps(
        {
            "event": "ticket.created",
            "timestamp": "2026-06-30T12:00:00Z",
            "organization_id": "org_1",
            "data": {"id": "tkt_1", "text": "x" * max(size - 250, 0)},
            "metadata": {"delivery_id": str(uuid.uuid4()), "attempt": 1, "version": "1.0"},
        }
    ).encode()


def flood(port: int, path: str, rate: float, size: int, over: Event, refused: Any) -> None:
    """Send bad signatures until it is over; runs in a process of its own."""
    counts = [0] * FLOOD_CONNECTIONS

    def send(number: int) -> None:
        sender = Sender(port, path)
        began = time.monotonic()
        while not over.is_set():
            if rate:
                due = began + (counts[number] * FLOOD_CONNECTIONS + number) / rate
                time.sleep(max(due - time.monotonic(), 0))
            with suppress(OSError, http.client.HTTPException):
                counts[number] += sender.post(document(size), f"{random.getrandbits(256):064x}") == 401

    with ThreadPoolExecutor(FLOOD_CONNECTIONS) as pool:
        list(pool.map(send, range(FLOOD_CONNECTIONS)))
    refused.value = sum(counts)


@contextmanager
def flooding(port: int, path: str, rate: float, size: int, outcome: Outcome) -> Iterator[None]:
    """Flood the receiver view for the length of the block."""
    context = get_context("spawn")
    over, refused = context.Event(), context.Value("q", 0)
    process = context.Process(target=flood, args=(port, path, rate, size, over, refused))
    process.start()
    time.sleep(1)
    try:
        yield
    finally:
        over.set()
        process.join(30)
        outcome.refused += refused.value


def send_genuine(port: int, path: str, rate: float, seconds: float, outcome: Outcome) -> None:
    """Send genuine deliveries at a steady rate from a few connections; note how long each took since it was due."""
    local = threading.local()

    def send(due: float) -> float:
        time.sleep(max(due - time.monotonic(), 0))
        if not hasattr(local, "sender"):
            local.sender = Sender(port, path)
        body = document(600)
        status = local.sender.post(body, views.sign_by_hand(body))
        assert status == 200, status
        return time.monotonic() - due

    began = time.monotonic() + 0.1
    moments = [began + number / rate for number in range(int(rate * seconds))]
    with ThreadPoolExecutor(8) as senders:
        outcome.seconds += senders.map(send, moments)


@contextmanager
def watching(outcome: Outcome) -> Iterator[None]:
    """Count the rejections again and again during the block, and once after it."""
    from django.db import connections

    from nateq_webhooks.models import Rejection

    over = threading.Event()

    def watch() -> None:
        while not over.wait(WATCH_SECONDS):
            outcome.rows.append(Rejection.objects.count())
        connections.close_all()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    time.sleep(1.5)
    outcome.rows.append(Rejection.objects.count())


def measure_way(options: argparse.Namespace, path: str, outcome: Outcome, *, flooded: bool, recorded: bool) -> None:
    """Measure one of the three ways, on a server of its own."""
    environment = {} if recorded else {"WITHOUT_RECORDER": "1"}
    arguments = (f"--workers={options.processes}", "--threads=8", "--keep-alive=30", "--bind=127.0.0.1:{port}")
    gunicorn = replace(SERVERS["gunicorn"], arguments=(*arguments, "benchmarks.wsgi"))
    with serving(gunicorn, **environment) as (port, _session):
        send_genuine(port, path, options.rate, 1, Outcome())
        with watching(outcome):
            if not flooded:
                send_genuine(port, path, options.rate, options.seconds, outcome)
                return
            with flooding(port, path, options.flood, options.body, outcome):
                send_genuine(port, path, options.rate, options.seconds, outcome)


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure and print a table of its own: its figures are latencies, not rates."""
    with temporary_database():
        _measure(options)
    return []


def _measure(options: argparse.Namespace) -> None:
    from nateq_webhooks.models import Delivery, Rejection, Webhook

    path = Webhook.objects.create(name="bench", secret=views.SECRET.decode()).get_absolute_url()
    runs = {
        "alone": {"flooded": False, "recorded": True},
        "with a flood": {"flooded": True, "recorded": True},
        "with a flood, not recorded": {"flooded": True, "recorded": False},
    }
    outcomes = {name: Outcome() for name in runs}
    for number in range(options.rounds):
        for name in runs if number % 2 == 0 else reversed(runs):
            print(f"flood, round {number + 1} of {options.rounds}: {name}", file=sys.stderr)
            Rejection.objects.all().delete()
            measure_way(options, path, outcomes[name], **runs[name])
    heading = f"{database_name()}, gunicorn ({options.processes} processes), {options.rate:g} genuine a second"
    print(f"### A flood of bad signatures, {heading}\n")
    print("| | genuine | p50 (ms) | p95 (ms) | p99 (ms) | refused | rows at most | rows at the end |")
    print(f"| --- |{' ---: |' * 7}")
    for name, outcome in outcomes.items():
        print(outcome.row(name))
    print(f"\n{Delivery.objects.count()} genuine deliveries are stored, those before the clock started among them.\n")
