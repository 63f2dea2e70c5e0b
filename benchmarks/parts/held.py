"""Workers beside a transaction that somebody holds open: dead rows can't be removed, and claims read past them.

In this process: some deliveries are stored, then a worker's step runs them, again and again, first alone and then
beside a transaction with a snapshot of its own on another connection. Autovacuum works as the server is set up.
`--seconds` is the length of each window; `--repeat` says how many windows the transaction stays open.
"""

import argparse
import sys
import time
from dataclasses import dataclass

from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections
from django.test.utils import override_settings

from benchmarks import receivers, views
from benchmarks.database import database_name, database_seconds, temporary_database
from benchmarks.parts.filling import WEBHOOKS
from benchmarks.parts.growth import _documents, _environs
from benchmarks.parts.handler import send
from benchmarks.receivers import EVENT_WITH_RECEIVER
from benchmarks.results import Table
from nateq_webhooks.dispatch.claim import claim_runs
from nateq_webhooks.dispatch.create import claim_deliveries
from nateq_webhooks.dispatch.execute import execute_claim

ALIAS = "default"
CLAIMED = 20
"""Deliveries that a claim takes."""

STORED = 100
"""Deliveries that are stored before the clock of a step starts."""


@dataclass(frozen=True)
class Window:
    """What was measured in one window."""

    name: str
    runs: int
    seconds: float
    claim_cpu: float
    run_cpu: float
    "Processor time of the database's server, in seconds: of the claims, and of the rest."

    @property
    def rate(self) -> float:
        """Runs a second."""
        return self.runs / self.seconds


def measure(options: argparse.Namespace) -> list[Table]:
    """Measure on PostgreSQL and print a table of its own."""
    if connection.vendor != "postgresql":
        raise SystemExit("held needs PostgreSQL: other databases keep old rows elsewhere.")
    receivers.connect()
    with temporary_database(), override_settings(NATEQ_WEBHOOKS={"DISPATCH": "worker"}):
        _measure(options)
    return []


def _measure(options: argparse.Namespace) -> None:
    from nateq_webhooks.models import Webhook

    Webhook.objects.create(pk=WEBHOOKS["shop"][0], name="bench", secret=views.SECRET.decode())
    handler = WSGIHandler()
    _window(handler, "warm-up", 2)
    windows = [_window(handler, "alone", options.seconds)]
    holder = connections.create_connection("default")
    try:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT 1")
        for number in range(options.repeat):
            name = f"held open, {options.seconds * (number + 1):.0f} s"
            windows.append(_window(handler, name, options.seconds))
            print(f"{windows[-1].name}: {windows[-1].rate:.0f} runs/s", file=sys.stderr)
    finally:
        holder.close()
    print(f"### Beside a transaction that is held open, {database_name()}\n")
    print("| | runs | runs/s | of alone | claiming (us of the server a run) | of alone | the rest (us) |")
    print(f"| --- |{' ---: |' * 6}")
    alone = windows[0]
    for one in windows:
        claim, rest = 1e6 * one.claim_cpu / one.runs, 1e6 * one.run_cpu / one.runs
        slower = claim / (1e6 * alone.claim_cpu / alone.runs)
        figures = f"{one.rate:.0f} | {one.rate / alone.rate:.2f} | {claim:.0f} | {slower:.2f} | {rest:.0f}"
        print(f"| {one.name} | {one.runs} | {figures} |")
    print("\nClaiming is what finds and takes work; the rest is running and finalizing it.\n")


def _window(handler: WSGIHandler, name: str, seconds: float) -> Window:
    """Store and run for so many seconds of running."""
    runs, spent, claiming, running = 0, 0.0, 0.0, 0.0
    while spent < seconds:
        send(handler, _environs(_documents(EVENT_WITH_RECEIVER, STORED, 4_000)), 1)
        started = time.perf_counter()
        done = 0
        while done < STORED:
            before = database_seconds()
            claimed = claim_runs(ALIAS, CLAIMED) or claim_deliveries(ALIAS, CLAIMED)
            between = database_seconds()
            execute_claim(claimed)
            claiming, running = claiming + between - before, running + database_seconds() - between
            done += len(claimed.runs)
        spent += time.perf_counter() - started
        runs += done
    return Window(name, runs, spent, claiming, running)
